#include "core/objects/frames.h"

#include <algorithm>
#include <unordered_set>

#include "core/cpython/exception_table.h"
#include "core/cpython/line_table.h"

namespace pygc::objects {

using cpython::Constant;
using cpython::Field;

namespace {

constexpr std::uint64_t kMaxVariables = 1u << 16, kMaxStack = 1u << 16;
constexpr std::size_t kMaxText = 4096, kMaxLineTable = 1u << 26;
constexpr std::uint8_t kKindLocal = 0, kKindCell = 1;  // our own, of VariableKinds()

}  // namespace

FrameReader::FrameReader(const ObjectReader& reader)
    : reader_(reader), layout_(reader.runtime().layout), offsets_(layout_), values_(reader.process().memory, offsets_, reader.runtime().lookdict) {}

Address FrameReader::Pointer(Address at, Field field) const { return at != 0 && layout_.Has(field) ? values_.Pointer(at + layout_.Offset(field)) : 0; }

std::int64_t FrameReader::Signed(Address at, Field field, std::int64_t otherwise) const {
  if (at == 0 || !layout_.Has(field)) return otherwise;
  const std::uint32_t width = layout_.Width(field);
  const std::byte* const p = values_.memory().At(at + layout_.Offset(field), width);
  if (p == nullptr) return otherwise;
  switch (width) {
    case 1: return LoadUnchecked<std::int8_t>(p);
    case 2: return LoadUnchecked<std::int16_t>(p);
    case 4: return LoadUnchecked<std::int32_t>(p);
    default: return LoadUnchecked<std::int64_t>(p);
  }
}

std::string FrameReader::TextOf(Address str_object) const { return str_object == 0 ? "" : reader_.Text(str_object, kMaxText).value_or(""); }

Address FrameReader::Strong(Address bits) const noexcept {
  if (!offsets_.stackref_tagged) return bits;
  return (bits & 3) == 3 || (bits & 3) == 2 ? 0 : bits & ~Address{3};
}

std::string FrameReader::FunctionName(Address code) const { return TextOf(Pointer(code, Field::PyCodeObject_co_name)); }
std::string FrameReader::QualifiedName(Address code) const {
  return layout_.Has(Field::PyCodeObject_co_qualname) ? TextOf(Pointer(code, Field::PyCodeObject_co_qualname)) : FunctionName(code);
}
std::string FrameReader::FileName(Address code) const { return TextOf(Pointer(code, Field::PyCodeObject_co_filename)); }
std::int64_t FrameReader::FirstLine(Address code) const { return Signed(code, Field::PyCodeObject_co_firstlineno, -1); }

bool FrameReader::HasFastLocals(const PythonFrame& frame) const {
  constexpr std::int64_t kOptimized = 1;  // CPython: CO_OPTIMIZED, Include/cpython/code.h
  return (Signed(frame.code, Field::PyCodeObject_co_flags) & kOptimized) != 0;
}

// ---- where the chain starts, and its links

std::optional<Address> FrameReader::CurrentFrame(Address tstate) const {
  const auto read = [this](Address at, Field f) -> std::optional<Address> {
    const Result<Address> value = reader_.process().memory.ReadPointer(at + layout_.Offset(f));
    return value ? std::optional(*value) : std::nullopt;
  };
  if (layout_.Has(Field::PyThreadState_frame)) return read(tstate, Field::PyThreadState_frame);
  if (layout_.Has(Field::PyThreadState_current_frame)) return read(tstate, Field::PyThreadState_current_frame);
  const std::optional<Address> border = read(tstate, Field::PyThreadState_cframe);  // 3.11, 3.12: on the C stack
  return border && *border != 0 ? read(*border, Field::PyCFrame_current_frame) : border;
}

ThreadStack FrameReader::StackOf(const cpython::PyThread& thread, const Limits& limits) const {
  ThreadStack stack;
  const bool objects = layout_.Has(Field::PyThreadState_frame);
  std::unordered_set<Address> seen;
  const std::optional<Address> current = CurrentFrame(thread.tstate);
  stack.complete = current.has_value();
  for (Address at = current.value_or(0); at != 0;) {
    const std::optional<PythonFrame> frame = objects ? FromObject(at) : Interpreter(at);
    if (!frame || seen.size() >= limits.max_frames || !seen.insert(at).second) {
      stack.complete = false;
      break;
    }
    if (frame->is_python) {
      stack.frames.push_back(*frame);
      // Up to 3.10 each call runs one frame; 3.11 says which is the last; later a frame of the interpreter's own stands behind it.
      stack.frames.back().is_entry = objects || Signed(at, Field::PyInterpreterFrame_is_entry) != 0;
    } else if (!stack.frames.empty()) {
      stack.frames.back().is_entry = true;
      if (stack.frames.back().entry == 0) stack.frames.back().entry = at;  // 3.14+: the thread's own last one may follow
    }
    at = frame->previous;
  }
  if (!stack.frames.empty() && stack.complete) stack.frames.back().is_entry = true;
  // One that called another without the loop's help, which C code began anew, runs too.
  for (std::size_t i = 0; i < stack.frames.size(); ++i) stack.frames[i].is_running = i == 0 || stack.frames[i - 1].is_entry;
  return stack;
}

std::optional<PythonFrame> FrameReader::FromObject(Address object) const {
  if (layout_.Has(Field::PyFrameObject_f_frame)) {
    std::optional<PythonFrame> frame = Interpreter(Pointer(object, Field::PyFrameObject_f_frame));
    if (frame) frame->frame_object = object;
    return frame;
  }
  const Address code = Pointer(object, Field::PyFrameObject_f_code);
  if (code == 0) return std::nullopt;
  PythonFrame frame;
  frame.address = frame.frame_object = object;
  frame.code = code;
  frame.globals = Pointer(object, Field::PyFrameObject_f_globals);
  frame.builtins = Pointer(object, Field::PyFrameObject_f_builtins);
  frame.locals = Pointer(object, Field::PyFrameObject_f_locals);
  frame.previous = Pointer(object, Field::PyFrameObject_f_back);
  // CPython: PyFrame_GetLineNumber(), Objects/frameobject.c: f_lineno counts while the frame is traced; from 3.10 on wherever it is not 0.
  const std::int64_t traced = Signed(object, Field::PyFrameObject_f_lineno);
  const bool ranges = layout_.Value(Constant::LINETABLE_FORMAT) != 0;
  if (ranges ? traced != 0 : Pointer(object, Field::PyFrameObject_f_trace) != 0) {
    frame.line = traced;
  } else {
    const std::int64_t last = Signed(object, Field::PyFrameObject_f_lasti, -1);
    frame.line = LineOf(code, last < 0 ? -1 : last * std::max<std::int64_t>(1, layout_.Value(Constant::LASTI_UNIT_BYTES, 1)));
  }
  return frame;
}

GeneratorState FrameReader::StateOf(Address generator) const {
  std::int64_t state = 0;
  if (layout_.Has(Field::PyGenObject_gi_frame_state)) {
    state = Signed(generator, Field::PyGenObject_gi_frame_state, layout_.Value(Constant::FRAME_CLEARED));
  } else {
    const Address frame = Pointer(generator, Field::PyGenObject_gi_frame);
    if (frame == 0) return GeneratorState::kFinished;
    if (!layout_.Has(Field::PyFrameObject_f_state)) {
      if (Signed(generator, Field::PyGenObject_gi_running) != 0) return GeneratorState::kRunning;
      return Signed(frame, Field::PyFrameObject_f_lasti, -1) < 0 ? GeneratorState::kCreated : GeneratorState::kSuspended;
    }
    state = Signed(frame, Field::PyFrameObject_f_state);
  }
  if (state == layout_.Value(Constant::FRAME_CREATED)) return GeneratorState::kCreated;
  if (state == layout_.Value(Constant::FRAME_EXECUTING)) return GeneratorState::kRunning;
  return state == layout_.Value(Constant::FRAME_COMPLETED, layout_.Value(Constant::FRAME_CLEARED)) || state == layout_.Value(Constant::FRAME_CLEARED)
             ? GeneratorState::kFinished
             : GeneratorState::kSuspended;
}

std::optional<PythonFrame> FrameReader::FromGenerator(Address generator) const {
  if (StateOf(generator) == GeneratorState::kFinished) return std::nullopt;
  if (layout_.Has(Field::PyGenObject_gi_iframe)) return Interpreter(generator + layout_.Offset(Field::PyGenObject_gi_iframe));
  return FromObject(Pointer(generator, Field::PyGenObject_gi_frame));
}

Address FrameReader::Awaited(Address generator) const {
  const std::optional<PythonFrame> frame = FromGenerator(generator);
  if (!frame) return 0;
  Address top = 0;
  if (layout_.Has(Field::PyGenObject_gi_iframe)) {
    for (const FrameSlot& slot : Slots(*frame)) {
      if (slot.kind == FrameSlot::Kind::kStack) top = slot.referent;
    }
    return top;
  }
  const TypeFacts* const type = reader_.Type(values_.TypeOf(frame->frame_object));
  if (type == nullptr) return 0;
  std::vector<LabelledReferent> referents;
  ReferentFilter filter;
  filter.kind = SlotKind::kStackItem;
  (void)reader_.LabelledReferents(frame->frame_object, *type, referents, filter);
  return referents.empty() ? 0 : referents.back().referent;
}

std::optional<PythonFrame> FrameReader::Interpreter(Address at) const {
  if (at == 0 || values_.memory().At(at, offsets_.if_localsplus) == nullptr) return std::nullopt;
  PythonFrame frame;
  frame.address = at;
  frame.previous = Pointer(at, Field::PyInterpreterFrame_previous);
  const std::int64_t owner = Signed(at, Field::PyInterpreterFrame_owner);
  frame.is_python = !layout_.Has(Constant::FRAME_OWNER_ENTRY) || owner < layout_.Value(Constant::FRAME_OWNER_ENTRY);
  if (!frame.is_python) return frame;
  frame.code = Strong(Pointer(at, Field::PyInterpreterFrame_f_executable));
  frame.function = Strong(Pointer(at, Field::PyInterpreterFrame_f_funcobj));
  frame.frame_object = Pointer(at, Field::PyInterpreterFrame_frame_obj);
  frame.globals = Pointer(at, Field::PyInterpreterFrame_f_globals);
  frame.builtins = Pointer(at, Field::PyInterpreterFrame_f_builtins);
  frame.locals = Pointer(at, Field::PyInterpreterFrame_f_locals);
  const TypeFacts* const code_type = reader_.Type(values_.TypeOf(frame.code));
  if (code_type == nullptr || code_type->name != "code") return std::nullopt;
  const std::int64_t traced = frame.frame_object != 0 ? Signed(frame.frame_object, Field::PyFrameObject_f_lineno) : 0;
  frame.line = traced > 0 ? traced : LineOf(frame.code, CodeOffset(at, frame.code));
  return frame;
}

// ---- lines

Address FrameReader::CodeStart(Address frame, Address code, Address instruction) const {
  const std::int64_t copy = Signed(frame, Field::PyInterpreterFrame_tlbc_index);
  const Address plain = code + layout_.Offset(Field::PyCodeObject_co_code_adaptive);
  if (copy <= 0 || !layout_.Has(Field::PyCodeObject_co_tlbc)) return plain;
  // CPython: _PyCodeArray, Include/cpython/code.h [3.14t+]: a count, then one copy of the bytecode for each thread that ran it.
  const Address copies = Pointer(code, Field::PyCodeObject_co_tlbc);
  const Address start = static_cast<std::uint64_t>(copy) < values_.Pointer(copies) ? values_.Pointer(copies + 8 + static_cast<std::uint64_t>(copy) * 8) : 0;
  return start != 0 && start <= instruction ? start : plain;
}

std::int64_t FrameReader::CodeOffset(Address frame, Address code) const {
  const Address instruction = layout_.Has(Field::PyInterpreterFrame_instr_ptr) ? Pointer(frame, Field::PyInterpreterFrame_instr_ptr)
                                                                                : Pointer(frame, Field::PyInterpreterFrame_prev_instr);
  return static_cast<std::int64_t>(instruction - CodeStart(frame, code, instruction));
}

std::int64_t FrameReader::LineOf(Address code, std::int64_t code_offset) const {
  const Address table = Pointer(code, Field::PyCodeObject_co_linetable);
  const std::byte* const head = table == 0 ? nullptr : values_.memory().At(table, offsets_.bytes_data);
  if (head == nullptr) return -1;
  const auto size = LoadUnchecked<std::int64_t>(head + offsets_.ob_size);
  if (size < 0 || static_cast<std::uint64_t>(size) > kMaxLineTable) return -1;
  const std::byte* const bytes = values_.memory().At(table + offsets_.bytes_data, static_cast<std::uint64_t>(size));
  if (bytes == nullptr) return -1;
  return cpython::LineAt(layout_, {bytes, static_cast<std::size_t>(size)}, FirstLine(code), code_offset);
}

// CPython: tb_lineno is -1 where nobody asked for it yet. tb_lineno_get(), Python/traceback.c [3.12+].
std::vector<TracebackEntry> FrameReader::TracebackOf(Address traceback, std::size_t max) const {
  std::vector<TracebackEntry> entries;
  for (Address at = traceback; at != 0 && entries.size() < max; at = Pointer(at, Field::PyTracebackObject_tb_next)) {
    const std::optional<PythonFrame> frame = FromObject(Pointer(at, Field::PyTracebackObject_tb_frame));
    if (!frame || frame->code == 0) break;
    const std::int64_t line = Signed(at, Field::PyTracebackObject_tb_lineno, -1);
    entries.push_back({frame->code, line > 0 ? line : LineOf(frame->code, Signed(at, Field::PyTracebackObject_tb_lasti, -1))});
  }
  return entries;
}

// ---- what a frame holds

Address FrameReader::FirstSlot(const PythonFrame& frame) const {
  const Field slots = layout_.Has(Field::PyInterpreterFrame_localsplus) ? Field::PyInterpreterFrame_localsplus : Field::PyFrameObject_f_localsplus;
  return frame.address + layout_.Offset(slots);
}

std::vector<Address> FrameReader::VariableNames(Address code) const {
  if (layout_.Has(Field::PyCodeObject_co_localsplusnames)) return values_.TupleItems(Pointer(code, Field::PyCodeObject_co_localsplusnames), kMaxVariables);
  std::vector<Address> names;
  for (const Field part : {Field::PyCodeObject_co_varnames, Field::PyCodeObject_co_cellvars, Field::PyCodeObject_co_freevars}) {
    const std::vector<Address> some = values_.TupleItems(Pointer(code, part), kMaxVariables);
    names.insert(names.end(), some.begin(), some.end());
  }
  return names;
}

std::vector<std::uint8_t> FrameReader::VariableKinds(Address code, std::size_t count) const {
  std::vector<std::uint8_t> kinds(count, kKindLocal);
  if (layout_.Has(Field::PyCodeObject_co_localspluskinds)) {
    const std::int64_t cell = layout_.Value(Constant::CO_KIND_CELL) | layout_.Value(Constant::CO_KIND_FREE);
    const Address bytes = Pointer(code, Field::PyCodeObject_co_localspluskinds);
    const std::byte* const p = bytes == 0 ? nullptr : values_.memory().At(bytes + offsets_.bytes_data, count);
    for (std::size_t i = 0; p != nullptr && i < count; ++i) kinds[i] = (static_cast<std::uint8_t>(p[i]) & cell) != 0 ? kKindCell : kKindLocal;
    return kinds;
  }
  const std::size_t plain = values_.TupleItems(Pointer(code, Field::PyCodeObject_co_varnames), kMaxVariables).size();
  std::fill(kinds.begin() + static_cast<std::ptrdiff_t>(std::min(plain, count)), kinds.end(), kKindCell);
  return kinds;
}

void FrameReader::AppendVariables(const PythonFrame& frame, std::vector<FrameSlot>& out) const {
  const std::vector<Address> names = VariableNames(frame.code);
  const std::vector<std::uint8_t> kinds = VariableKinds(frame.code, names.size());
  const Address first = FirstSlot(frame);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Address referent = Strong(values_.Pointer(first + i * 8));
    if (referent == 0) continue;
    const TypeFacts* const type = kinds[i] == kKindCell ? reader_.Type(values_.TypeOf(referent)) : nullptr;
    const bool cell = type != nullptr && type->name == "cell";  // an argument becomes one only when its function starts to run
    out.push_back({cell ? FrameSlot::Kind::kCell : FrameSlot::Kind::kLocal, TextOf(names[i]), referent});
  }
}

// How many values lie on the frame's stack; 0 also where it is not known because the frame runs.
std::uint64_t FrameReader::StackHeight(const PythonFrame& frame, std::uint64_t variables) const {
  const Address first = FirstSlot(frame) + variables * 8;
  const std::int64_t room = std::clamp<std::int64_t>(Signed(frame.code, Field::PyCodeObject_co_stacksize), 0, static_cast<std::int64_t>(kMaxStack));
  std::int64_t height = 0;
  if (layout_.Has(Field::PyInterpreterFrame_stackpointer)) {
    const Address top = Pointer(frame.address, Field::PyInterpreterFrame_stackpointer);
    height = top < first ? 0 : static_cast<std::int64_t>((top - first) / 8);
  } else if (layout_.Has(Field::PyInterpreterFrame_stacktop) && !frame.is_running) {
    // CPython: TRACE_FUNCTION_ENTRY() of 3.11 before 3.11.4 leaves the height that the frame had when a profiler was called.
    height = Signed(frame.address, Field::PyInterpreterFrame_stacktop) - static_cast<std::int64_t>(variables);
  }
  return height > 0 && height <= room ? static_cast<std::uint64_t>(height) : 0;
}

FrameReader::ValueStack FrameReader::ValueStackOf(const PythonFrame& frame) const {
  ValueStack stack;
  const std::int64_t variables = Signed(frame.code, Field::PyCodeObject_co_nlocalsplus, -1), slots = Signed(frame.code, Field::PyCodeObject_co_stacksize, -1);
  if (!layout_.Has(Field::PyInterpreterFrame_stacktop) || variables < 0 || slots < 0 || variables > static_cast<std::int64_t>(kMaxStack) || slots > static_cast<std::int64_t>(kMaxStack)) return stack;
  stack.room.begin = FirstSlot(frame) + static_cast<std::uint64_t>(variables) * 8;
  stack.room.end = stack.room.begin + static_cast<std::uint64_t>(slots) * 8;
  const std::int64_t top = Signed(frame.address, Field::PyInterpreterFrame_stacktop, -1) - variables;
  if (!frame.is_running && top >= 0 && top <= slots) stack.height = static_cast<std::uint64_t>(top);
  return stack;
}

std::optional<std::uint8_t> FrameReader::InstructionArgument(const PythonFrame& frame) const {
  if (!layout_.Has(Field::PyCodeObject_co_code_adaptive)) return std::nullopt;
  const Address instruction = frame.code + layout_.Offset(Field::PyCodeObject_co_code_adaptive) + static_cast<std::uint64_t>(CodeOffset(frame.address, frame.code));
  const std::byte* const unit = values_.memory().At(instruction, 2);  // {opcode, argument}
  if (unit == nullptr) return std::nullopt;
  return static_cast<std::uint8_t>(unit[1]);
}

void FrameReader::AppendStack(const PythonFrame& frame, std::uint64_t variables, std::vector<FrameSlot>& out) const {
  const std::uint64_t height = StackHeight(frame, variables);
  for (std::uint64_t i = 0; i < height; ++i) {
    const Address referent = Strong(values_.Pointer(FirstSlot(frame) + (variables + i) * 8));
    if (referent != 0) out.push_back({FrameSlot::Kind::kStack, "value stack", referent});
  }
}

std::uint64_t FrameReader::BlockDepth(const PythonFrame& frame) const {
  if (layout_.Has(Field::PyFrameObject_f_blockstack) && !layout_.Has(Field::PyInterpreterFrame_owner)) {
    // CPython: PyTryBlock { int b_type, b_handler, b_level; }, Include/cpython/frameobject.h; CO_MAXBLOCKS of them.
    constexpr std::int64_t kMaxBlocks = 20;
    constexpr std::uint64_t kBlockBytes = 12, kLevel = 8;
    const std::int64_t blocks = Signed(frame.address, Field::PyFrameObject_f_iblock);
    if (blocks <= 0 || blocks > kMaxBlocks) return 0;
    const Address last = frame.address + layout_.Offset(Field::PyFrameObject_f_blockstack) + static_cast<std::uint64_t>(blocks - 1) * kBlockBytes;
    const std::byte* const level = values_.memory().At(last + kLevel, 4);
    return level == nullptr ? 0 : static_cast<std::uint64_t>(std::max(0, LoadUnchecked<std::int32_t>(level)));
  }
  const Address table = Pointer(frame.code, Field::PyCodeObject_co_exceptiontable);
  const std::byte* const head = table == 0 ? nullptr : values_.memory().At(table, offsets_.bytes_data);
  const auto size = head == nullptr ? 0 : LoadUnchecked<std::int64_t>(head + offsets_.ob_size);
  const std::byte* const bytes = size <= 0 || static_cast<std::uint64_t>(size) > kMaxLineTable ? nullptr : values_.memory().At(table + offsets_.bytes_data, static_cast<std::uint64_t>(size));
  return bytes == nullptr ? 0 : cpython::HandlerDepthAt({bytes, static_cast<std::size_t>(size)}, CodeOffset(frame.address, frame.code));
}

std::vector<Address> FrameReader::EnteredBy(const PythonFrame& frame) const {
  constexpr std::int64_t kMostBlocks = 256;  // values below the blocks; a compiler nests 20
  const std::int64_t room = std::clamp<std::int64_t>(Signed(frame.code, Field::PyCodeObject_co_stacksize), 0, kMostBlocks);
  const std::uint64_t depth = std::min(BlockDepth(frame), static_cast<std::uint64_t>(room));
  const Address first = FirstSlot(frame) + VariableNames(frame.code).size() * 8;
  std::vector<Address> out;
  std::string below;  // type of the value below
  for (std::uint64_t i = 0; i < depth; ++i) {
    const Address value = Strong(values_.Pointer(first + i * 8));
    const TypeFacts* const type = value == 0 ? nullptr : reader_.Type(values_.TypeOf(value));
    const std::string name = type == nullptr ? "" : type->name;
    // A bound __exit__ [<= 3.13], or an unbound one and behind it what it is of [3.14+].
    Address manager = 0;
    if (name == "method" || name == "instancemethod") manager = Pointer(value, Field::PyMethodObject_im_self);
    else if (name == "builtin_function_or_method") manager = Pointer(value, Field::PyCFunctionObject_m_self);
    else if (below == "method_descriptor" || below == "function") manager = value;
    if (manager != 0) out.push_back(manager);
    below = name;
  }
  return out;
}

std::vector<FrameSlot> FrameReader::Slots(const PythonFrame& frame) const {
  std::vector<FrameSlot> out;
  AppendVariables(frame, out);
  AppendStack(frame, VariableNames(frame.code).size(), out);
  const std::pair<const char*, Address> fields[] = {{"f_locals", frame.locals}, {"function", frame.function}, {"code", frame.code}, {"frame object", frame.frame_object},
                                                    {"globals", frame.globals}};
  for (const auto& [name, referent] : fields) {
    if (referent != 0) out.push_back({FrameSlot::Kind::kField, name, referent});
  }
  return out;
}

Address FrameReader::ValueOf(const FrameSlot& slot) const {
  return slot.kind == FrameSlot::Kind::kCell ? Pointer(slot.referent, Field::PyCellObject_ob_ref) : slot.referent;
}

}  // namespace pygc::objects
