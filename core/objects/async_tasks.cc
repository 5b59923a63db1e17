#include "core/objects/async_tasks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace pygc::objects {
namespace {

constexpr std::size_t kMaxCallbacks = 10000;
constexpr std::size_t kMaxBases = 64, kMaxName = 200;
constexpr std::int64_t kMaxBody = 4096;  // bytes of a TaskObj; it has some 200

}  // namespace

AsyncReader::AsyncReader(const ObjectReader& reader)
    : reader_(reader),
      frames_(reader),
      offsets_(reader.runtime().layout),
      values_(reader.process().memory, offsets_, reader.runtime().lookdict),
      header_bytes_(reader.runtime().layout.Size(cpython::Struct::PyObject)) {}

const TypeFacts* AsyncReader::FactsOf(Address object) const {
  const Address type = values_.TypeOf(object);
  return type == 0 ? nullptr : reader_.Type(type);
}

std::string AsyncReader::TypeName(Address object) const {
  const TypeFacts* const facts = FactsOf(object);
  return facts == nullptr ? "(unreadable)" : facts->name;
}

Address AsyncReader::Word(Address object, std::uint64_t offset) const { return object == 0 ? 0 : values_.Pointer(object + offset); }

const TypeFacts* AsyncReader::Base(Address type, std::string_view name) const {
  for (std::size_t depth = 0; type != 0 && depth < kMaxBases; ++depth) {
    const TypeFacts* const facts = reader_.Type(type);
    if (facts == nullptr) return nullptr;
    if (facts->name == name) return facts;
    type = facts->tp_base;
  }
  return nullptr;
}

AsyncKind AsyncReader::KindOf(Address type) const {
  for (const std::string_view name : {"_asyncio.Task", "asyncio.tasks.Task"}) {
    if (Base(type, name) != nullptr) return AsyncKind::kTask;
  }
  for (const std::string_view name : {"_asyncio.Future", "asyncio.futures.Future"}) {
    if (Base(type, name) != nullptr) return AsyncKind::kFuture;
  }
  return Base(type, "asyncio.events.TimerHandle") != nullptr ? AsyncKind::kTimer : AsyncKind::kNone;
}

bool AsyncReader::IsCoroutine(Address object) const {
  const TypeFacts* const facts = FactsOf(object);
  return facts != nullptr && (facts->name == "coroutine" || facts->name == "generator" || facts->name == "async_generator");
}

Address AsyncReader::SharedKeyValue(Address keys, Address values, std::string_view name) const {
  const std::optional<DictTable> table = values_.Keys(keys);
  for (std::uint64_t i = 0; table && i < table->count; ++i) {
    if (values_.TextEquals(table->Key(i), name)) return values_.Pointer(values + i * 8);
  }
  return 0;
}

// Attributes that lie before or behind the object, also where the tp_traverse of a C base visits them (subclasses of Future).
// CPython: PyObject_VisitManagedDict(), Objects/dictobject.c [3.12+].
Address AsyncReader::ManagedAttribute(Address object, const TypeFacts& type, std::string_view name) const {
  if (!type.managed_dict || offsets_.managed_values_offset != 0) return 0;
  const Address word = values_.Pointer(object + static_cast<Address>(std::int64_t{offsets_.managed_dict_offset}));
  if (offsets_.managed_dict_tagged && (word & 1)) return SharedKeyValue(type.cached_keys, word + 1 + offsets_.values_array, name);
  const Address values = object + (offsets_.inline_values_at_basicsize ? static_cast<Address>(type.basicsize) : Address{offsets_.object_size});
  const std::byte* const valid = values_.memory().At(values + offsets_.values_valid, 1);
  if (!offsets_.managed_dict_tagged && type.inline_values && valid != nullptr && LoadUnchecked<std::uint8_t>(valid) != 0) {
    return SharedKeyValue(type.cached_keys, values + offsets_.values_array, name);
  }
  return values_.DictGet(word, name);
}

Address AsyncReader::Attribute(Address object, std::string_view name) const {
  const TypeFacts* const facts = FactsOf(object);
  if (facts == nullptr) return 0;
  if (const Address value = ManagedAttribute(object, *facts, name)) return value;
  std::vector<LabelledReferent> referents;
  (void)reader_.LabelledReferents(object, *facts, referents);
  for (const LabelledReferent& r : referents) {
    if ((r.kind == SlotKind::kAttribute && values_.TextEquals(r.key, name)) || (r.kind == SlotKind::kSlot && r.text == name)) return r.referent;
  }
  // An attribute dictionary of its own: the place that the type names, or the one dict among the referents that is labelled so.
  for (const LabelledReferent& r : referents) {
    const TypeFacts* const type = FactsOf(r.referent);
    if (type == nullptr || type->name != "dict" || r.kind == SlotKind::kItem || r.kind == SlotKind::kAttribute) continue;
    if (const Address value = values_.DictGet(r.referent, name)) return value;
  }
  return facts->dictoffset > 0 ? values_.DictGet(Word(object, static_cast<std::uint64_t>(facts->dictoffset)), name) : 0;
}

std::vector<Address> AsyncReader::Elements(Address container, std::size_t max) const {
  std::vector<Address> out;
  const TypeFacts* const facts = FactsOf(container);
  if (facts == nullptr) return out;
  std::vector<LabelledReferent> referents;
  ReferentFilter filter;
  filter.max = max;
  (void)reader_.LabelledReferents(container, *facts, referents, filter);
  for (const LabelledReferent& r : referents) {
    if (r.kind == SlotKind::kItem || r.kind == SlotKind::kSetEntry) out.push_back(r.referent);
  }
  return out;
}

// CPython: fut_callback0, fut_callbacks of FutureObj, Modules/_asynciomodule.c; _callbacks, Lib/asyncio/futures.py: functions [3.6], tuples of function and context [3.7+].
std::vector<CallbackCell> AsyncReader::CallbackCells(Address future) const {
  std::vector<Address> callbacks, lists = {Attribute(future, "_callbacks")};
  std::vector<LabelledReferent> referents;
  const TypeFacts* const facts = FactsOf(future);
  if (facts != nullptr) (void)reader_.LabelledReferents(future, *facts, referents);
  for (const LabelledReferent& r : referents) (TypeName(r.referent) == "list" ? lists : callbacks).push_back(r.referent);
  for (const Address list : lists) {
    for (const Address entry : Elements(list, kMaxCallbacks)) {
      callbacks.push_back(TypeName(entry) == "tuple" ? values_.Pointer(entry + reader_.runtime().layout.Offset(cpython::Field::PyTupleObject_ob_item)) : entry);
    }
  }
  std::vector<CallbackCell> out;
  const cpython::Layout& layout = reader_.runtime().layout;
  for (const Address callback : callbacks) {
    if (TypeName(callback) != "function") continue;
    const Address code = Word(callback, layout.Offset(cpython::Field::PyFunctionObject_func_code));
    if (!frames_.FileName(code).ends_with("asyncio/tasks.py")) continue;
    for (const Address cell : values_.TupleItems(Word(callback, layout.Offset(cpython::Field::PyFunctionObject_func_closure)), kMaxCallbacks)) {
      out.push_back({frames_.FunctionName(code), Word(cell, layout.Offset(cpython::Field::PyCellObject_ob_ref))});
    }
  }
  return out;
}

// From 3.12 on the number of a task becomes its name only when somebody asks for it.
std::string AsyncReader::NameText(Address name) const {
  if (name == 0) return "";
  if (values_.IsText(name)) return values_.Text(name, kMaxName).value_or("");
  const std::optional<std::int64_t> number = values_.Int(name);
  return number ? fmt::format("Task-{}", *number) : "";
}

// A TaskObj begins like a FutureObj, then come the future that it waits for and its coroutine, one behind the other, then (3.8+) the name. Where exactly differs
// from release to release; the coroutine is known by its type.
void AsyncReader::ReadCTask(const TypeFacts& base, AsyncTask& task) const {
  task.loop = Word(task.address, header_bytes_);
  const TypeFacts* const future = reader_.Type(base.tp_base);
  const std::int64_t from = future != nullptr ? future->basicsize : header_bytes_;
  for (std::int64_t at = from; at + 8 <= std::min(base.basicsize, kMaxBody); at += 8) {
    const Address word = Word(task.address, static_cast<std::uint64_t>(at));
    if (word == 0 || !IsCoroutine(word)) continue;
    task.coroutine = word;
    const Address before = at - 8 >= from ? Word(task.address, static_cast<std::uint64_t>(at - 8)) : 0;
    if (before != 0 && FactsOf(before) != nullptr) task.waiter = before;
    const Address name = Word(task.address, static_cast<std::uint64_t>(at + 8));
    if (const TypeFacts* const type = FactsOf(name); type != nullptr && (type->name == "str" || type->name == "int")) task.name = NameText(name);
    return;
  }
}

void AsyncReader::ReadPythonTask(AsyncTask& task) const {
  // The Python class may have the C future as its base [3.6].
  task.loop = Base(values_.TypeOf(task.address), "_asyncio.Future") != nullptr ? Word(task.address, header_bytes_) : Attribute(task.address, "_loop");
  task.coroutine = Attribute(task.address, "_coro");
  task.waiter = Attribute(task.address, "_fut_waiter");
  task.name = NameText(Attribute(task.address, "_name"));
}

AsyncTimer AsyncReader::ReadTimer(Address handle) const {
  constexpr std::size_t kMaxArguments = 16;
  const cpython::Layout& layout = reader_.runtime().layout;
  AsyncTimer timer;
  timer.loop = Attribute(handle, "_loop");
  timer.cancelled = values_.Int(Attribute(handle, "_cancelled")).value_or(0) != 0;
  timer.scheduled = values_.Int(Attribute(handle, "_scheduled")).value_or(0) != 0;
  const Address when = Attribute(handle, "_when");
  const TypeFacts* const when_type = FactsOf(when);
  if (when_type != nullptr && Base(when_type->address, "float") != nullptr) {
    const Result<double> value = reader_.process().memory.ReadValue<double>(when + layout.Offset(cpython::Field::PyFloatObject_ob_fval));
    if (value && std::isfinite(*value)) timer.due = *value;
  } else if (const std::optional<std::int64_t> whole = values_.Int(when)) {
    timer.due = static_cast<double>(*whole);
  }
  for (const Address argument : values_.TupleItems(Attribute(handle, "_args"), kMaxArguments)) {
    const AsyncKind kind = KindOf(values_.TypeOf(argument));
    if (kind == AsyncKind::kTask || kind == AsyncKind::kFuture) timer.wakes = argument;
  }
  const Address callback = Attribute(handle, "_callback");
  const TypeFacts* const callback_type = FactsOf(callback);
  if (callback_type == nullptr || callback_type->name != "method") return timer;
  const Address self = Word(callback, static_cast<std::uint64_t>(layout.Offset(cpython::Field::PyMethodObject_im_self)));
  if (Base(values_.TypeOf(self), "asyncio.timeouts.Timeout") != nullptr) timer.limits = Attribute(self, "_task");
  return timer;
}

AsyncTask AsyncReader::ReadTask(Address address) const {
  AsyncTask task;
  task.address = address;
  const TypeFacts* const base = Base(values_.TypeOf(address), "_asyncio.Task");
  base != nullptr ? ReadCTask(*base, task) : ReadPythonTask(task);
  if (task.waiter == reader_.runtime().none_object) task.waiter = 0;
  if (!IsCoroutine(task.coroutine)) {
    task.readable = task.coroutine != 0;
    return task;
  }
  switch (frames_.StateOf(task.coroutine)) {
    case GeneratorState::kFinished: task.state = AsyncTask::State::kDone; break;
    case GeneratorState::kRunning: task.state = AsyncTask::State::kRunning; break;
    case GeneratorState::kCreated:
    case GeneratorState::kSuspended: task.state = task.waiter != 0 ? AsyncTask::State::kWaiting : AsyncTask::State::kReady; break;
  }
  return task;
}

// What an object of the chain hands every request on to.
Address AsyncReader::Next(Address object, const std::string& type) const {
  if (type == "coroutine" || type == "generator" || type == "async_generator") return frames_.StateOf(object) == GeneratorState::kSuspended ? frames_.Awaited(object) : 0;
  // CPython: PyCoroWrapper.cw_coroutine, PyAsyncGenASend.ags_gen, PyAsyncGenAThrow.agt_gen, Objects/genobject.c; FutureIter.future, Modules/_asynciomodule.c:
  // each the first member.
  if (type == "coroutine_wrapper" || type == "async_generator_asend" || type == "async_generator_athrow" || type == "_asyncio.FutureIter") return Word(object, header_bytes_);
  return 0;
}

std::vector<AwaitStep> AsyncReader::Chain(Address coroutine, std::size_t max) const {
  std::vector<AwaitStep> out;
  for (Address at = coroutine; at != 0 && at != reader_.runtime().none_object && out.size() < max;) {
    if (std::any_of(out.begin(), out.end(), [&](const AwaitStep& s) { return s.object == at; })) break;
    AwaitStep& step = out.emplace_back();
    step.object = at;
    step.type = TypeName(at);
    if (IsCoroutine(at)) step.frame = frames_.FromGenerator(at);
    at = Next(at, step.type);
  }
  return out;
}

}  // namespace pygc::objects
