#include "core/objects/resources.h"

#include <algorithm>
#include <string_view>

namespace pygc::objects {
namespace {

using cpython::Field;
using Kind = Resource::Kind;

constexpr std::size_t kMaxBases = 64;
constexpr std::size_t kMostFrames = 1u << 16;     // of a thread that are looked at for with blocks
constexpr Address kLargestStack = 1u << 20;       // bytes of a stack that are looked through for a lock
constexpr std::uint64_t kFutexCall = 202;         // Linux, x86-64
constexpr std::size_t kRdi = 14, kOrigRax = 15;   // of target::Thread::registers
// glibc: struct _IO_FILE, _fileno, x86-64, the same since 2.0.
constexpr Address kFileNumber = 112;

struct NamedKind {
  std::string_view type;
  Kind kind;
};
constexpr NamedKind kKinds[] = {{"file", Kind::kFile},          {"_io.FileIO", Kind::kFile},        {"_socket.socket", Kind::kSocket},    {"thread.lock", Kind::kLock},
                                {"_thread.lock", Kind::kLock},  {"_thread.RLock", Kind::kRLock},    {"threading._RLock", Kind::kRLock},   {"threading._PyRLock", Kind::kRLock}};

// RLocks of Python code: inner lock, owner, count.
constexpr const char* kOldNames[3] = {"_RLock__block", "_RLock__owner", "_RLock__count"};  // 2.7
constexpr const char* kNewNames[3] = {"_block", "_owner", "_count"};                       // 3.x

}  // namespace

ResourceReader::ResourceReader(const ObjectReader& reader)
    : reader_(reader), memory_(reader.process().memory), layout_(reader.runtime().layout), attributes_(reader) {}

std::optional<Kind> ResourceReader::KindOf(Address type) const {
  const auto [found, fresh] = kinds_.try_emplace(type, std::nullopt);
  if (!fresh) return found->second;
  Address base = type;
  for (std::size_t depth = 0; base != 0 && depth < kMaxBases; ++depth) {
    const TypeFacts* const facts = reader_.Type(base);
    if (facts == nullptr) break;
    for (const NamedKind& k : kKinds) {
      if (facts->name == k.type) return found->second = k.kind;
    }
    base = facts->tp_base;
  }
  return std::nullopt;
}

std::uint64_t ResourceReader::Get(Address object, Field f) const {
  const std::uint32_t width = layout_.Width(f);
  const std::byte* const p = layout_.Has(f) ? memory_.At(object + layout_.Offset(f), width) : nullptr;
  if (p == nullptr) return 0;
  return width == 8 ? LoadUnchecked<std::uint64_t>(p) : width == 4 ? LoadUnchecked<std::uint32_t>(p) : static_cast<std::uint64_t>(LoadUnchecked<std::uint8_t>(p));
}

std::optional<Resource> ResourceReader::Of(Address object) const {
  const Result<Address> type = memory_.ReadPointer(object + layout_.Offset(Field::PyObject_ob_type));
  const std::optional<Kind> kind = type ? KindOf(*type) : std::nullopt;
  const std::uint32_t header = layout_.Size(cpython::Struct::PyObject);
  if (!kind || memory_.At(object, header + 8) == nullptr) return std::nullopt;
  Resource out;
  out.kind = *kind;
  switch (*kind) {
    case Kind::kFile: {
      if (layout_.Has(Field::PyFileObject_f_fp) && reader_.Type(*type)->name != "_io.FileIO" && Get(object, Field::PyFileObject_f_fp) != 0) {
        out.fd = memory_.ReadValue<std::int32_t>(Get(object, Field::PyFileObject_f_fp) + kFileNumber).value_or(-1);
      } else if (!layout_.Has(Field::PyFileObject_f_fp) || reader_.Type(*type)->name == "_io.FileIO") {
        // PyObject_HEAD, then `int fd`: the same in every release.
        out.fd = memory_.ReadValue<std::int32_t>(object + (layout_.Has(Field::fileio_fd) ? layout_.Offset(Field::fileio_fd) : header)).value_or(-1);
      }
      return out;
    }
    case Kind::kSocket:
      if (!layout_.Has(Field::PySocketSockObject_sock_fd)) return std::nullopt;
      out.fd = static_cast<std::int32_t>(Get(object, Field::PySocketSockObject_sock_fd));
      out.family = static_cast<std::int32_t>(Get(object, Field::PySocketSockObject_sock_family));
      out.type = static_cast<std::int32_t>(Get(object, Field::PySocketSockObject_sock_type));
      return out;
    case Kind::kLock:
      if (layout_.Has(Field::lockobject_mutex)) {  // a PyMutex: bit 0 says that it is locked
        out.word = object + layout_.Offset(Field::lockobject_mutex);
        out.locked = (Get(object, Field::lockobject_mutex) & 1) != 0;
      } else if (layout_.Has(Field::lockobject_lock_lock)) {
        out.word = Get(object, Field::lockobject_lock_lock);
        // A semaphore: its value is what is left to take. Without a flag of its own [2.7] that says it.
        out.locked = layout_.Has(Field::lockobject_locked) ? Get(object, Field::lockobject_locked) != 0 : memory_.ReadValue<std::uint32_t>(out.word).value_or(1) == 0;
      } else {
        return std::nullopt;
      }
      return out;
    case Kind::kRLock:
      if (reader_.Type(*type)->is_heap_type && attributes_.Attribute(object, kOldNames[0]) != 0) return PythonRLock(object, kOldNames);
      if (reader_.Type(*type)->is_heap_type && attributes_.Attribute(object, kNewNames[0]) != 0) return PythonRLock(object, kNewNames);
      if (!layout_.Has(Field::rlockobject_rlock_owner)) return std::nullopt;
      out.owner = Get(object, Field::rlockobject_rlock_owner);
      if (layout_.Has(Field::rlockobject_mutex)) {
        out.word = object + layout_.Offset(Field::rlockobject_mutex);
        out.locked = (Get(object, Field::rlockobject_mutex) & 1) != 0;
        out.count = out.locked ? Get(object, Field::rlockobject_level) + 1 : 0;
      } else {
        out.word = Get(object, Field::rlockobject_rlock_lock);
        out.count = Get(object, Field::rlockobject_rlock_count);
        out.locked = out.count > 0;
      }
      if (!out.locked) out.owner = 0;
      return out;
  }
  return std::nullopt;
}

std::optional<Resource> ResourceReader::PythonRLock(Address object, const char* const (&names)[3]) const {
  const Address block = attributes_.Attribute(object, names[0]);
  const std::optional<Resource> inner = Of(block);
  if (!inner || inner->kind != Kind::kLock) return std::nullopt;
  Resource out = *inner;
  out.kind = Kind::kRLock;
  const auto number = [&](const char* name) { return static_cast<std::uint64_t>(attributes_.Int(attributes_.Attribute(object, name)).value_or(0)); };
  out.owner = number(names[1]);
  out.count = number(names[2]);
  out.locked = out.count > 0;
  if (!out.locked) out.owner = 0;
  return out;
}

namespace {

// What a thread sleeps on: the futex itself (a semaphore), or, where it sleeps on a semaphore of its own inside a wait_entry, the address that this says.
// CPython: struct wait_entry, Python/parking_lot.c [3.13+]: addr stands before the semaphore.
bool SleepsOn(const target::MemoryImage& memory, const target::Thread& thread, Address word) {
  if (!thread.has_registers || thread.registers[kOrigRax] != kFutexCall || word == 0) return false;
  const Address futex = thread.registers[kRdi];
  return futex == word || memory.ReadPointer(futex - 8).value_or(0) == word;
}

}  // namespace

std::vector<const target::Thread*> ResourceReader::WaitersOf(const Resource& lock) const {
  std::vector<const target::Thread*> out;
  if (!lock.IsLock() || !lock.locked) return out;
  for (const target::Thread& t : reader_.process().threads) {
    if (SleepsOn(memory_, t, lock.word)) out.push_back(&t);
  }
  return out;
}

// The lock that `with manager` acquires: itself, or that of a condition.
Address ResourceReader::LockOf(Address manager) const {
  const Result<Address> type = memory_.ReadPointer(manager + layout_.Offset(Field::PyObject_ob_type));
  const TypeFacts* const facts = type ? reader_.Type(*type) : nullptr;
  if (facts == nullptr) return 0;
  const std::optional<Kind> kind = KindOf(*type);
  if (kind) return *kind == Kind::kLock || *kind == Kind::kRLock ? manager : 0;
  if (facts->name != "threading.Condition" && facts->name != "threading._Condition") return 0;
  const Address lock = attributes_.Attribute(manager, "_lock");
  return lock != 0 ? lock : attributes_.Attribute(manager, "_Condition__lock");  // 2.7
}

// `self` of a method of threading.py that is called one of `names`; 0: the frame is none.
Address ResourceReader::SelfOfThreading(const PythonFrame& frame, std::initializer_list<std::string_view> names) const {
  const FrameReader& frames = attributes_.frames();
  const std::string function = frames.FunctionName(frame.code);
  if (std::find(names.begin(), names.end(), function) == names.end() || !frames.FileName(frame.code).ends_with("threading.py")) return 0;
  for (const FrameSlot& slot : frames.Slots(frame)) {
    if (slot.name == "self") return frames.ValueOf(slot);
  }
  return 0;
}

Address ResourceReader::AskedFor(const PythonFrame& frame, Address lock) const {
  const Address self = SelfOfThreading(frame, {"acquire", "__enter__"});
  const std::optional<Resource> around = self == 0 ? std::nullopt : Of(self), inner = Of(lock);
  return around && inner && around->kind == Kind::kRLock && around->word == inner->word ? self : lock;
}

void ResourceReader::FindHolders() const {
  holders_.emplace();
  Limits limits;
  limits.max_frames = kMostFrames;
  const FrameReader& frames = attributes_.frames();
  for (const cpython::Interpreter& interpreter : reader_.runtime().interpreters) {
    for (const cpython::PyThread& thread : interpreter.threads) {
      std::vector<Address> let_go;  // by Condition.wait(), however many blocks around it hold the lock
      for (const PythonFrame& frame : frames.StackOf(thread, limits).frames) {
        for (const Address manager : frames.EnteredBy(frame)) {
          const Address lock = LockOf(manager);
          const bool held = lock != 0 && std::find(let_go.begin(), let_go.end(), lock) == let_go.end();
          if (held) (*holders_)[lock].push_back({thread.thread_id, thread.native_thread_id, frame});
        }
        if (const Address self = SelfOfThreading(frame, {"wait"})) let_go.push_back(LockOf(self));
      }
    }
  }
}

std::optional<LockHolder> ResourceReader::HolderOf(Address lock) const {
  const std::optional<Resource> state = Of(lock);
  if (!state || !state->IsLock() || !state->locked) return std::nullopt;
  if (!holders_) FindHolders();
  const auto found = holders_->find(lock);
  if (found == holders_->end()) return std::nullopt;
  const std::vector<LockHolder>& all = found->second;
  const bool one = std::all_of(all.begin(), all.end(), [&](const LockHolder& h) { return h.thread_id == all.front().thread_id; });
  return one ? std::optional(all.front()) : std::nullopt;
}

Address ResourceReader::AwaitedBy(const target::Thread& thread) const {
  if (!thread.has_registers || thread.registers[kOrigRax] != kFutexCall) return 0;
  const auto is_it = [&](Address object) {
    if (object == 0 || object % 8 != 0) return false;
    const Result<Address> type = memory_.ReadPointer(object + layout_.Offset(Field::PyObject_ob_type));
    const target::Segment* const place = type ? memory_.Find(*type) : nullptr;
    if (place == nullptr || *type % 8 != 0) return false;
    const std::optional<Kind> kind = KindOf(*type);
    if (!kind || (*kind != Kind::kLock && *kind != Kind::kRLock)) return false;
    const std::optional<Resource> lock = Of(object);
    return lock && SleepsOn(memory_, thread, lock->word);
  };
  // Where a lock is a PyMutex, the wait_entry says its address.
  const Address mutex = memory_.ReadPointer(thread.registers[kRdi] - 8).value_or(0);
  for (const Field f : {Field::lockobject_mutex, Field::rlockobject_mutex}) {
    if (layout_.Has(f) && is_it(mutex - layout_.Offset(f))) return mutex - layout_.Offset(f);
  }
  for (const std::uint64_t word : thread.registers) {
    if (is_it(word)) return word;
  }
  for (Address at = (thread.stack_pointer() + 7) & ~Address{7}, end = at + kLargestStack; at < end; at += 8) {
    const std::byte* const p = memory_.At(at, 8);
    if (p == nullptr) break;
    if (is_it(LoadUnchecked<std::uint64_t>(p))) return LoadUnchecked<std::uint64_t>(p);
  }
  return 0;
}

}  // namespace pygc::objects
