#include "core/snapshot/python_roots.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/objects/frames.h"
#include "core/objects/values.h"
#include "core/snapshot/signal_handlers.h"

namespace pygc::snapshot {
namespace {

using cpython::Field;
using heap::RootKind;

constexpr std::size_t kMaxModules = 1u << 20, kMaxModuleName = 512;

struct NamedField {
  Field field;
  const char* name;
  const char* expression;
};

constexpr NamedField kInterpreterFields[] = {
    {Field::PyInterpreterState_modules, "sys.modules", "sys.modules"},
    {Field::PyInterpreterState_sysdict, "the dict of sys", "sys.__dict__"},
    {Field::PyInterpreterState_builtins, "the dict of builtins", ""},
    {Field::PyInterpreterState_modules_by_index, "modules by index", ""},
    {Field::PyInterpreterState_dict, "the interpreter's dict", ""},
    {Field::PyInterpreterState_sysdict_copy, "the copy of sys's dict", ""},
    {Field::PyInterpreterState_builtins_copy, "the copy of builtins' dict", ""},
    {Field::PyInterpreterState_codec_search_path, "codec search path", ""},
    {Field::PyInterpreterState_codec_search_cache, "codec search cache", ""},
    {Field::PyInterpreterState_codec_error_registry, "codec error registry", ""},
    {Field::PyInterpreterState_import_func, "__import__", ""},
    {Field::PyInterpreterState_importlib, "importlib", ""},
    {Field::PyInterpreterState_before_forkers, "os.register_at_fork(before=...)", ""},
    {Field::PyInterpreterState_after_forkers_parent, "os.register_at_fork(after_in_parent=...)", ""},
    {Field::PyInterpreterState_after_forkers_child, "os.register_at_fork(after_in_child=...)", ""},
    {Field::PyInterpreterState_audit_hooks, "sys.addaudithook", ""},
    {Field::PyInterpreterState_pyexitmodule, "the module of atexit", ""},
};

constexpr NamedField kThreadFields[] = {
    {Field::PyThreadState_dict, "the thread's dict", ""},
    {Field::PyThreadState_curexc_type, "the exception being raised (type)", ""},
    {Field::PyThreadState_curexc_value, "the exception being raised", ""},
    {Field::PyThreadState_curexc_traceback, "the exception being raised (traceback)", ""},
    {Field::PyThreadState_current_exception, "the exception being raised", ""},
    {Field::PyThreadState_exc_type, "exc_info (type)", ""},
    {Field::PyThreadState_exc_value, "exc_info", ""},
    {Field::PyThreadState_exc_traceback, "exc_info (traceback)", ""},
    {Field::PyThreadState_async_exc, "an exception set for the thread", ""},
    {Field::PyThreadState_async_gen_firstiter, "sys.set_asyncgen_hooks(firstiter=...)", ""},
    {Field::PyThreadState_async_gen_finalizer, "sys.set_asyncgen_hooks(finalizer=...)", ""},
    {Field::PyThreadState_context, "the thread's contextvars.Context", ""},
    {Field::PyThreadState_c_profileobj, "sys.setprofile", ""},
    {Field::PyThreadState_c_traceobj, "sys.settrace", ""},
    {Field::PyThreadState_threading_local_key, "threading.local's key", ""},
    {Field::PyThreadState_threading_local_sentinel, "threading.local's sentinel", ""},
};

constexpr NamedField kHandledFields[] = {
    {Field::PyErr_StackItem_exc_type, "exc_info (type)", ""},
    {Field::PyErr_StackItem_exc_value, "exc_info", ""},
    {Field::PyErr_StackItem_exc_traceback, "exc_info (traceback)", ""},
};

constexpr NamedField kStaticTypeFields[] = {
    {Field::PyTypeObject_tp_dict, "__dict__", ""},   {Field::PyTypeObject_tp_mro, "__mro__", ""},     {Field::PyTypeObject_tp_bases, "__bases__", ""},
    {Field::PyTypeObject_tp_cache, "tp_cache", ""},  {Field::PyTypeObject_tp_subclasses, "tp_subclasses", ""},
};

class Finder {
 public:
  Finder(const objects::ObjectReader& reader, const Limits& limits)
      : reader_(reader),
        runtime_(reader.runtime()),
        layout_(runtime_.layout),
        limits_(limits),
        offsets_(layout_),
        values_(reader.process().memory, offsets_, runtime_.lookdict),
        frames_(reader) {}

  heap::RootSet Run() {
    for (const cpython::Interpreter& interpreter : runtime_.interpreters) {
      for (const cpython::PyThread& thread : interpreter.threads) Frames(thread);
    }
    for (const cpython::Interpreter& interpreter : runtime_.interpreters) Modules(interpreter);
    set_.roots.insert(set_.roots.end(), bodies_.begin(), bodies_.end());
    for (const cpython::Interpreter& interpreter : runtime_.interpreters) {
      for (const cpython::PyThread& thread : interpreter.threads) Thread(thread);
    }
    for (const cpython::Interpreter& interpreter : runtime_.interpreters) State(interpreter);
    for (const objects::TypeFacts* type : StaticTypes()) StaticType(*type);
    return std::move(set_);
  }

 private:
  [[nodiscard]] Address Pointer(Address at, Field field) const { return at != 0 && layout_.Has(field) ? values_.Pointer(at + layout_.Offset(field)) : 0; }

  void Add(Address object, RootKind kind, std::uint32_t place, std::string name, std::string expression = {},
           heap::Root::Shape shape = heap::Root::Shape::kPlain) {
    if (object != 0) set_.roots.push_back({object, kind, place, std::move(name), std::move(expression), shape});
  }
  std::uint32_t Place(std::string text) {
    if (text.empty()) return 0;
    set_.places.push_back(std::move(text));
    return static_cast<std::uint32_t>(set_.places.size() - 1);
  }
  [[nodiscard]] std::string ThreadName(const cpython::PyThread& thread) const {
    return fmt::format("thread {}", thread.native_thread_id ? *thread.native_thread_id : thread.thread_id);
  }

  // Frames that are objects keep their variables themselves, and each is held by the function that runs it. From 3.11 on each variable is a root, also of a
  // generator that runs: its frame says nothing of how high its stack is while it does, so that gen_traverse() does not visit it (Objects/genobject.c [3.11-3.13]).
  void Frames(const cpython::PyThread& thread) {
    const objects::ThreadStack stack = frames_.StackOf(thread, limits_);
    if (!stack.complete) set_.notes.push_back(fmt::format("frames of {}: the chain could not be followed to its end", ThreadName(thread)));
    const bool objects = layout_.Has(Field::PyThreadState_frame);
    for (const objects::PythonFrame& frame : stack.frames) {
      const std::uint32_t place =
          Place(fmt::format("{}() at {}:{}, {}", frames_.FunctionName(frame.code), frames_.FileName(frame.code), frame.line, ThreadName(thread)));
      if (objects) {
        Add(frame.address, RootKind::kFrame, place, "the frame", "", heap::Root::Shape::kFrameObject);
        continue;
      }
      FrameSlots(frame, place);
    }
  }
  void FrameSlots(const objects::PythonFrame& frame, std::uint32_t place) {
    for (const objects::FrameSlot& slot : frames_.Slots(frame)) {
      const bool variable = slot.kind == objects::FrameSlot::Kind::kLocal || slot.kind == objects::FrameSlot::Kind::kCell;
      if (slot.kind == objects::FrameSlot::Kind::kField && slot.name == "globals") continue;  // borrowed from the function
      if (slot.kind == objects::FrameSlot::Kind::kField && slot.referent == frame.globals) {  // a module's body: what it holds is better said by the module
        bodies_.push_back({slot.referent, RootKind::kFrame, place, slot.name, "", heap::Root::Shape::kPlain});
        continue;
      }
      const bool cell = slot.kind == objects::FrameSlot::Kind::kCell;
      Add(slot.referent, RootKind::kFrame, place, (variable ? "local " : "") + slot.name, variable && IsIdentifier(slot.name) ? slot.name : "",
          cell ? heap::Root::Shape::kCell : heap::Root::Shape::kPlain);
    }
  }

  [[nodiscard]] static bool IsIdentifier(const std::string& name) {
    return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); });
  }

  // Each module is a root of its own, and so is its dict: what is in use is understood by the module's name, not by way of sys.modules.
  void Modules(const cpython::Interpreter& interpreter) {
    const std::optional<objects::DictTable> table = interpreter.modules == 0 ? std::nullopt : values_.Dict(interpreter.modules);
    if (!table) {
      set_.notes.push_back(fmt::format("sys.modules of interpreter {} cannot be read", interpreter.id));
      return;
    }
    const std::uint32_t place = Place(interpreter.id == 0 ? "" : fmt::format("interpreter {}", interpreter.id));
    for (std::uint64_t i = 0; i < table->count && i < kMaxModules; ++i) {
      const Address key = table->Key(i), module = table->Value(i);
      if (key == 0 || module == 0) continue;
      const std::string name = reader_.Text(key, kMaxModuleName).value_or("?");
      const std::string expression = name.find_first_of("'\\\n\r") == std::string::npos ? fmt::format("sys.modules['{}']", name) : "";
      Add(module, RootKind::kModule, place, "module " + name, expression);
      const objects::TypeFacts* const type = reader_.Type(values_.TypeOf(module));
      if (type == nullptr || !IsModule(*type)) continue;
      Add(Pointer(module, Field::PyModuleObject_md_dict), RootKind::kModule, place, "the dict of module " + name, expression.empty() ? "" : expression + ".__dict__");
    }
  }
  [[nodiscard]] bool IsModule(const objects::TypeFacts& type) const {
    return type.reader == objects::ReaderKind::kModule || type.base_reader == objects::ReaderKind::kModule;
  }

  void Fields(Address at, std::span<const NamedField> fields, RootKind kind, std::uint32_t place) {
    for (const NamedField& f : fields) Add(Pointer(at, f.field), kind, place, f.name, f.expression);
  }
  void Thread(const cpython::PyThread& thread) {
    const std::uint32_t place = Place(ThreadName(thread));
    Fields(thread.tstate, kThreadFields, RootKind::kThread, place);
    if (layout_.Has(Field::PyThreadState_exc_state)) {
      Fields(thread.tstate + layout_.Offset(Field::PyThreadState_exc_state), kHandledFields, RootKind::kThread, place);
    }
  }
  void State(const cpython::Interpreter& interpreter) {
    const std::uint32_t place = Place(interpreter.id == 0 ? "" : fmt::format("interpreter {}", interpreter.id));
    if (interpreter.id == 0) {
      Fields(interpreter.address, kInterpreterFields, RootKind::kInterpreter, place);
    } else {
      for (const NamedField& f : kInterpreterFields) Add(Pointer(interpreter.address, f.field), RootKind::kInterpreter, place, f.name);
    }
    Add(interpreter.garbage, RootKind::kInterpreter, place, "gc.garbage", interpreter.id == 0 ? "gc.garbage" : "");
    Add(interpreter.callbacks, RootKind::kInterpreter, place, "gc.callbacks", interpreter.id == 0 ? "gc.callbacks" : "");
    AtExit(interpreter, place);
    if (interpreter.id == 0) Signals();
    StaticTypeStates(interpreter);
  }
  // CPython: struct atexit_state, Include/internal/pycore_interp.h [3.10, 3.11], pycore_atexit.h [3.12, 3.13]: an array of pointers, NULL where a callback was
  // unregistered. Before, they lie in the module's state; later in a list.
  void AtExit(const cpython::Interpreter& interpreter, std::uint32_t place) {
    if (!layout_.Has(Field::PyInterpreterState_atexit_ncallbacks) || !layout_.Has(Field::atexit_callback_func)) return;
    const Address array = Pointer(interpreter.address, Field::PyInterpreterState_atexit_callbacks);
    const std::byte* const p = values_.memory().At(interpreter.address + layout_.Offset(Field::PyInterpreterState_atexit_ncallbacks), sizeof(std::int32_t));
    const std::int32_t said = p == nullptr ? 0 : LoadUnchecked<std::int32_t>(p);
    const std::uint64_t count = said > 0 && array != 0 ? values_.ReadableWords(array, static_cast<std::uint64_t>(said)) : 0;
    for (std::uint64_t i = 0; i < count; ++i) {
      const Address callback = values_.Pointer(array + i * sizeof(std::uint64_t));
      if (callback == 0) continue;
      for (const auto& [field, what] : {std::pair(Field::atexit_callback_func, "a callback of atexit"), std::pair(Field::atexit_callback_args, "the arguments of a callback of atexit"),
                                        std::pair(Field::atexit_callback_kwargs, "the arguments of a callback of atexit")}) {
        Add(Pointer(callback, field), RootKind::kInterpreter, place, what);
      }
    }
  }

  void Signals() {
    const std::string module = SignalModule(reader_);
    for (const SignalHandler& handler : FindSignalHandlers(reader_)) {
      Add(handler.function, RootKind::kInterpreter, 0, "the signal handler of " + SignalText(handler.signal), fmt::format("sys.modules['{}'].getsignal({})", module, handler.signal));
    }
  }

  // From 3.12 on the dict and the subclasses of a built-in static type lie in the interpreter.
  void StaticTypeStates(const cpython::Interpreter& interpreter) {
    const std::uint32_t size = layout_.Size(cpython::Struct::static_type_state);
    if (size == 0) return;
    for (const Field array : {Field::PyInterpreterState_static_types, Field::PyInterpreterState_static_extension_types}) {
      if (!layout_.Has(array)) continue;
      for (std::uint32_t i = 0; i < layout_.Width(array) / size; ++i) {
        const Address state = interpreter.address + layout_.Offset(array) + std::uint64_t{i} * size;
        const objects::TypeFacts* const type = reader_.Type(Pointer(state, Field::static_type_state_type));
        if (type == nullptr) continue;
        const std::uint32_t place = Place(fmt::format("type {}", type->name));
        Add(Pointer(state, Field::static_type_state_tp_dict), RootKind::kStatic, place, "__dict__");
        Add(Pointer(state, Field::static_type_state_tp_subclasses), RootKind::kStatic, place, "tp_subclasses");
      }
    }
  }
  [[nodiscard]] std::vector<const objects::TypeFacts*> StaticTypes() const {
    std::vector<const objects::TypeFacts*> types;
    for (const objects::TypeFacts* type : reader_.Types()) {
      if (type != nullptr && type->valid && !type->is_heap_type) types.push_back(type);
    }
    std::sort(types.begin(), types.end(), [](const auto* a, const auto* b) { return a->address < b->address; });
    return types;
  }
  void StaticType(const objects::TypeFacts& type) {
    const std::uint32_t place = Place(fmt::format("type {}", type.name));
    Fields(type.address, kStaticTypeFields, RootKind::kStatic, place);
  }

  const objects::ObjectReader& reader_;
  const cpython::Runtime& runtime_;
  const cpython::Layout& layout_;
  const Limits& limits_;
  objects::Offsets offsets_;
  objects::Values values_;
  objects::FrameReader frames_;
  heap::RootSet set_;
  std::vector<heap::Root> bodies_;  // frames of modules
};

}  // namespace

heap::RootSet FindPythonRoots(const objects::ObjectReader& reader, const Limits& limits) { return Finder(reader, limits).Run(); }

}  // namespace pygc::snapshot
