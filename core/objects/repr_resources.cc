// Files, sockets, locks, and what the module threading makes of locks, as repr() writes them. Where a member lies is what the type itself says (tp_members),
// the layout, or the order of a structure that has been the same in all releases.
#include <fmt/format.h>

#include <algorithm>

#include "core/objects/repr_writer.h"

namespace pygc::objects {

using cpython::Field;

namespace {

constexpr std::size_t kMaxDeclared = 256, kMaxMemberName = 64, kMaxLayers = 16, kMaxFamilies = 4096;

}  // namespace

// Where a member that C code declares lies: the first type of the MRO that names it. CPython: PyMemberDef, type_add_members(), Objects/typeobject.c.
std::optional<std::uint64_t> ReprWriter::MemberOffset(const TypeFacts& type, std::string_view name) const {
  for (const Address base : t_.values.TupleItems(t_.values.Pointer(type.address + t_.offsets.tp_mro), kMaxMro)) {
    Address member = Pointer(base, Field::PyTypeObject_tp_members);
    for (std::size_t i = 0; member != 0 && i < kMaxDeclared; ++i, member += t_.offsets.member_size) {
      const Address name_at = t_.values.Pointer(member + t_.offsets.member_name);
      if (name_at == 0) break;
      if (t_.values.memory().ReadCString(name_at, kMaxMemberName).value_or("") == name) return t_.values.Pointer(member + t_.offsets.member_offset);
    }
  }
  return std::nullopt;
}

Address ReprWriter::Member(Address object, const TypeFacts& type, std::string_view name) const {
  const std::optional<std::uint64_t> offset = MemberOffset(type, name);
  return offset ? t_.values.Pointer(object + *offset) : 0;
}

// What a text file writes to. CPython: textio, Modules/_io/textio.c: `buffer` lies before `encoding`, and is itself no declared member from 3.14 on.
Address ReprWriter::FileBelowText(Address object, const TypeFacts& type) const {
  const std::optional<std::uint64_t> encoding = MemberOffset(type, "encoding");
  return encoding ? t_.values.Pointer(object + *encoding - sizeof(Address)) : 0;
}

// What `object.name` gives of a file and of what lies below it: the property of a layer asks the next one. 0: it has none. Where other code answers, `known` is
// false. CPython: textiowrapper_name_get_impl(), Modules/_io/textio.c; _io__Buffered_name_get_impl(), Modules/_io/bufferedio.c.
Address ReprWriter::FileAttribute(Address object, std::string_view name, bool* known) const {
  for (std::size_t layer = 0; layer < kMaxLayers; ++layer) {
    const TypeFacts* const type = object == 0 ? nullptr : FactsOf(object);
    if (type == nullptr || type->name == "NoneType") return 0;
    *known = *known && !type->is_classic_instance && ClassAttribute(*type, "__getattribute__") == 0;
    Address found = 0;
    const TypeFacts* owner = nullptr;
    for (const Address base : t_.values.TupleItems(t_.values.Pointer(type->address + t_.offsets.tp_mro), kMaxMro)) {
      owner = t_.reader.Type(base);
      found = owner == nullptr ? 0 : t_.values.DictGet(t_.values.Pointer(base + t_.offsets.tp_dict), name);
      if (found != 0) break;
    }
    const TypeFacts* const found_type = found == 0 ? nullptr : FactsOf(found);
    if (found_type == nullptr || found_type->name != "getset_descriptor") {
      const Address own = Attribute(object, *type, name);
      const bool plain = found_type == nullptr || found_type->name == "member_descriptor" || t_.values.IsText(found) || t_.values.Int(found);
      *known = *known && plain && (own != 0 || found != 0 || ClassAttribute(*type, "__getattr__") == 0);
      return own != 0 ? own : found_type != nullptr && found_type->name == "member_descriptor" ? 0 : found;
    }
    const bool text = owner->name == "_io.TextIOWrapper", buffered = owner->name.starts_with("_io.Buffered");
    if (!text && !buffered) {
      *known = false;
      return 0;
    }
    object = text ? FileBelowText(object, *type) : Member(object, *type, "raw");
  }
  *known = false;
  return 0;
}

// CPython: textiowrapper_repr(), Modules/_io/textio.c: <_io.TextIOWrapper name='f' mode='r' encoding='UTF-8'>; without the mode in 2.7.
void ReprWriter::TextFile(Address object, const TypeFacts& type) {
  const Address encoding = Member(object, type, "encoding");
  bool known = encoding != 0;
  const Address name = FileAttribute(object, "name", &known), mode = t_.old() ? 0 : FileAttribute(object, "mode", &known);
  if (!known) return UnknownRepr(object, type);
  if (!Enter(object, "…")) return;
  Put(fmt::format("<{}", t_.style.own_file_names ? NameInC(type) : "_io.TextIOWrapper"));
  PutPart(" name=", name);
  PutPart(" mode=", mode);
  PutPart(" encoding=", encoding);
  Put(">");
  Leave();
}

// CPython: buffered_repr(), Modules/_io/bufferedio.c: <_io.BufferedReader name='f'>.
void ReprWriter::BufferedFile(Address object, const TypeFacts& type) {
  bool known = true;
  const Address name = FileAttribute(object, "name", &known);
  if (!known) return UnknownRepr(object, type);
  if (!Enter(object, "…")) return;
  Put("<" + NameInC(type));
  PutPart(" name=", name);
  Put(">");
  Leave();
}

// CPython: _TemporaryFileWrapper.__repr__ [3.14+], TemporaryDirectory.__repr__, Lib/tempfile.py.
void ReprWriter::TemporaryFile(Address object, const TypeFacts& type) {
  const Address file = PlainAttribute(object, type, "file");
  if (file == 0) return UnknownRepr(object, type);
  if (!Enter(object, "…")) return;
  Put(fmt::format("<{}", LastPart(type.name)));
  PutPart(" file=", file);
  Put(">");
  Leave();
}

void ReprWriter::TemporaryDirectory(Address object, const TypeFacts& type) {
  const Address name = PlainAttribute(object, type, "name");
  if (name == 0) return UnknownRepr(object, type);
  Put(fmt::format("<{}", LastPart(type.name)));
  PutPart(" ", name);
  Put(">");
}

void ReprWriter::PutPart(std::string_view label, Address value) {
  if (value == 0) return;
  Put(label);
  Object(value);
}

// CPython: fileio_repr(), mode_string(), Modules/_io/fileio.c. Behind `fd` bits: created [3.3+], readable, writable, appending, two for seekable, truncate [3.15+],
// closefd.
void ReprWriter::RawFile(Address object, const TypeFacts& type) {
  const Address fd_at = object + (t_.layout.Has(Field::fileio_fd) ? t_.layout.Offset(Field::fileio_fd) : t_.offsets.object_size);
  const std::byte* const fields = Bytes(fd_at, 2 * sizeof(std::uint32_t));
  bool known = fields != nullptr;
  const Address name = FileAttribute(object, "name", &known);
  if (!known) return UnknownRepr(object, type);
  const auto fd = LoadUnchecked<std::int32_t>(fields);
  const std::string own(t_.style.own_file_names ? NameInC(type) : "_io.FileIO");
  if (fd < 0) return Put(fmt::format("<{} [closed]>", own));
  const std::uint32_t word = LoadUnchecked<std::uint32_t>(fields + sizeof(std::int32_t)), bits = t_.old() ? word << 1 : word;
  const bool created = bits & 1, readable = bits & 2, writable = bits & 4, appending = bits & 8;
  const bool truncated = t_.style.file_truncates && (bits & 64), closes = bits & (t_.style.file_truncates ? 128 : 64);
  const char* const mode = created ? (readable ? "xb+" : "xb") : appending ? (readable ? "ab+" : "ab") : !readable ? "wb" : !writable ? "rb" : truncated ? "wb+" : "rb+";
  if (!Enter(object, "…")) return;
  Put("<" + own);
  name != 0 ? PutPart(" name=", name) : Put(fmt::format(" fd={}", fd));
  Put(fmt::format(" mode='{}'", mode));
  Put(t_.old() ? ">" : closes ? " closefd=True>" : " closefd=False>");
  Leave();
}

// CPython: file_repr(), Objects/fileobject.c [2.7]: <open file 'f', mode 'r' at 0x...>.
void ReprWriter::OldFile(Address object, const TypeFacts& type) {
  const Address name = Pointer(object, Field::PyFileObject_f_name), mode = Pointer(object, Field::PyFileObject_f_mode);
  if (name == 0 || mode == 0) return UnknownRepr(object, type);
  Put(Pointer(object, Field::PyFileObject_f_fp) == 0 ? "<closed file " : "<open file ");
  Object(name);
  Put(fmt::format(", mode '{}'", Text(mode)));
  At(object);
}

// CPython: sock_repr(), Modules/socketmodule.c. Behind sock_type lies sock_proto.
void ReprWriter::RawSocket(Address object, const TypeFacts& type) {
  const std::optional<Resource> socket = t_.resources.Of(object);
  const std::optional<std::int32_t> protocol = SocketProtocol(object);
  if (!socket || !protocol) return UnknownRepr(object, type);
  Put(fmt::format("<socket object, fd={}, family={}, type={}, {}={}>", socket->fd, socket->family, socket->type, t_.old() ? "protocol" : "proto", *protocol));
}

std::optional<std::int32_t> ReprWriter::SocketProtocol(Address object) const {
  if (!t_.layout.Has(Field::PySocketSockObject_sock_type)) return std::nullopt;
  const std::byte* const at = Bytes(object + t_.layout.Offset(Field::PySocketSockObject_sock_type) + sizeof(std::int32_t), sizeof(std::int32_t));
  return at == nullptr ? std::nullopt : std::optional(LoadUnchecked<std::int32_t>(at));
}

// CPython: socket.__repr__, Lib/socket.py [3.x]. Whom an open one is bound and connected to is what the kernel would say: that is left out, and the text not exact.
void ReprWriter::Socket(Address object, const TypeFacts& type) {
  const std::optional<Resource> socket = t_.resources.Of(object);
  const std::optional<std::int32_t> protocol = SocketProtocol(object);
  const Address closed = PlainAttribute(object, type, "_closed"), function = ClassAttribute(type, "__repr__");
  if (!socket || !protocol || closed == 0) return UnknownRepr(object, type);
  const auto named = [&](const char* enumeration, std::int32_t number) {
    const std::string name = t_.style.socket_names ? EnumMemberOf(t_.values.DictGet(Pointer(function, Field::PyFunctionObject_func_globals), enumeration), number) : "";
    return name.empty() ? std::to_string(number) : fmt::format("{}.{}", enumeration, name);
  };
  Put(fmt::format("<{}{} fd={}, family={}, type={}, proto={}", type.name, t_.values.Int(closed).value_or(0) != 0 ? " [closed]" : "", socket->fd,
                  named("AddressFamily", socket->family), named("SocketKind", socket->type), *protocol));
  if (socket->fd < 0) return Put(">");
  exact_ = false;
  Put(", …>");
}

// The name of the member of an enum class that has this number; "" where it has none.
std::string ReprWriter::EnumMemberOf(Address enumeration, std::int64_t number) const {
  const TypeFacts* const facts = enumeration == 0 ? nullptr : t_.reader.Type(enumeration);
  const std::optional<DictTable> table = facts == nullptr ? std::nullopt : t_.values.Dict(ClassAttribute(*facts, "_value2member_map_"));
  for (std::uint64_t i = 0; table && i < std::min<std::uint64_t>(table->count, kMaxFamilies); ++i) {
    const Address key = table->Key(i), member = table->Value(i);
    const TypeFacts* const member_type = key == 0 || member == 0 || t_.values.Int(key) != number ? nullptr : FactsOf(member);
    if (member_type != nullptr) return Text(Attribute(member, *member_type, "_name_"));
  }
  return "";
}

// CPython: lock_repr() [3.4+], rlock_repr() [3.2+], Modules/_threadmodule.c: <locked _thread.RLock object owner=1 count=2 at 0x...>.
void ReprWriter::Lock(Address object, const TypeFacts& type) {
  const std::optional<Resource> lock = t_.resources.Of(object);
  if (!lock || !lock->IsLock()) return UnknownRepr(object, type);
  Put(fmt::format("<{} {} object", lock->locked ? "locked" : "unlocked", NameInC(type)));
  if (lock->kind == Resource::Kind::kRLock) Put(fmt::format(" owner={} count={}", lock->owner, lock->count));
  At(object);
}

// ---- threading, which is written in Python. Its attributes have one underscore [3.x], or are private to a class [2.7].

Address ReprWriter::ThreadingAttribute(Address object, const TypeFacts& type, std::string_view owner, std::string_view name) const {
  return PlainAttribute(object, type, t_.old() ? fmt::format("_{}__{}", owner, name) : fmt::format("_{}", name));
}

// CPython: _RLock.__repr__, Lib/threading.py [2.7]: <_RLock owner='MainThread' count=1>, the owner by its name where threading has it among the active ones.
void ReprWriter::OldRLock(Address object, const TypeFacts& type) {
  const Address owner = ThreadingAttribute(object, type, "RLock", "owner"), count = ThreadingAttribute(object, type, "RLock", "count");
  if (owner == 0 || count == 0) return UnknownRepr(object, type);
  const std::optional<std::int64_t> number = t_.values.Int(owner);
  const Address thread = number ? ActiveThread(type, *number) : 0;
  const TypeFacts* const thread_type = thread == 0 ? nullptr : FactsOf(thread);
  const Address name = thread_type == nullptr ? owner : ThreadingAttribute(thread, *thread_type, "Thread", "name");
  if (name == 0) return UnknownRepr(object, type);
  Put(fmt::format("<{} owner=", LastPart(type.name)));
  Object(name);
  PutPart(" count=", count);
  Put(">");
}

// CPython: Condition.__repr__, Lib/threading.py: <Condition(<lock>, 0)>.
void ReprWriter::Condition(Address object, const TypeFacts& type) {
  const Address lock = ThreadingAttribute(object, type, "Condition", "lock"), waiters = ThreadingAttribute(object, type, "Condition", "waiters");
  const TypeFacts* const waiters_type = waiters == 0 ? nullptr : FactsOf(waiters);
  const std::optional<std::uint64_t> count = waiters_type == nullptr ? std::nullopt : Length(waiters, *waiters_type);
  if (lock == 0 || !count) return UnknownRepr(object, type);
  if (!Enter(object, "…")) return;
  Put("<Condition(");
  Object(lock);
  Put(fmt::format(", {})>", *count));
  Leave();
}

// CPython: Event.__repr__, Semaphore.__repr__, BoundedSemaphore.__repr__, Barrier.__repr__, Lib/threading.py [3.10+].
void ReprWriter::Event(Address object, const TypeFacts& type) {
  const Address flag = PlainAttribute(object, type, "_flag");
  if (flag == 0 || ClassAttribute(type, "is_set") == 0) return UnknownRepr(object, type);
  Put(fmt::format("<{} at {:#x}: {}>", type.name, object, t_.values.Int(flag).value_or(0) != 0 ? "set" : "unset"));
}

void ReprWriter::Semaphore(Address object, const TypeFacts& type) {
  const Address value = PlainAttribute(object, type, "_value");
  if (value == 0) return UnknownRepr(object, type);
  Put(fmt::format("<{} at {:#x}: value=", type.name, object));
  Object(value);
  const TypeFacts* owner = nullptr;
  if (ClassAttribute(type, "__repr__", &owner) != 0 && owner->qualname == "BoundedSemaphore") PutPart("/", PlainAttribute(object, type, "_initial_value"));
  Put(">");
}

void ReprWriter::Barrier(Address object, const TypeFacts& type) {
  constexpr std::int64_t kBroken = -2;
  const std::optional<std::int64_t> state = t_.values.Int(PlainAttribute(object, type, "_state")), count = t_.values.Int(PlainAttribute(object, type, "_count")),
                                    parties = t_.values.Int(PlainAttribute(object, type, "_parties"));
  if (!state || !count || !parties) return UnknownRepr(object, type);
  Put(fmt::format("<{} at {:#x}: ", type.name, object));
  Put(*state == kBroken ? "broken>" : fmt::format("waiters={}/{}>", *state == 0 ? *count : 0, *parties));
}

// CPython: Thread.__repr__, Lib/threading.py: <Thread(name, started daemon 140123)>. That a thread has ended is said by _is_stopped, or by its _tstate_lock, which is
// free then [<= 3.12]. From 3.13 on C code keeps that: what threading still has among the active ones and runs Python code has not ended; of any other it is not exact.
void ReprWriter::Thread(Address object, const TypeFacts& type) {
  const auto own = [&](std::string_view name) { return ThreadingAttribute(object, type, "Thread", name); };
  const auto is_true = [&](Address value) { return value != 0 && t_.values.Int(value).value_or(0) != 0; };
  const Address started = own("started"), name = own("name"), ident = own("ident");
  const TypeFacts* const started_type = started == 0 ? nullptr : FactsOf(started);
  if (started_type == nullptr || name == 0 || !t_.values.IsText(name)) return UnknownRepr(object, type);
  const bool has_started = is_true(ThreadingAttribute(started, *started_type, "Event", "flag"));
  const std::optional<std::int64_t> number = t_.values.Int(ident);
  bool stopped = is_true(own(t_.old() ? "stopped" : "is_stopped"));
  if (has_started && !stopped && !t_.old()) {
    const Address lock = own("tstate_lock");
    const std::optional<Resource> state = lock == 0 ? std::nullopt : t_.resources.Of(lock);
    const bool active = number && ActiveThread(type, *number) == object && RunsPython(static_cast<std::uint64_t>(*number));
    stopped = state ? !state->locked : !active;
    exact_ = exact_ && (state || active);
  }
  Put(fmt::format("<{}({}, {}{}{})>", LastPart(type.name), Text(name), stopped ? "stopped" : has_started ? "started" : "initial", is_true(own("daemonic")) ? " daemon" : "",
                  number ? fmt::format(" {}", *number) : ""));
}

// threading._active[ident], by the module of the class that has the __repr__; 0: none. An ident serves another thread once the first has ended.
Address ReprWriter::ActiveThread(const TypeFacts& type, std::int64_t ident) const {
  const Address active = t_.values.DictGet(Pointer(ClassAttribute(type, "__repr__"), Field::PyFunctionObject_func_globals), "_active");
  const std::optional<DictTable> table = active == 0 ? std::nullopt : t_.values.Dict(active);
  for (std::uint64_t i = 0; table && i < table->count; ++i) {
    if (table->Key(i) != 0 && table->Value(i) != 0 && t_.values.Int(table->Key(i)) == ident) return table->Value(i);
  }
  return 0;
}

// True where the thread has a Python frame.
bool ReprWriter::RunsPython(std::uint64_t thread_id) const {
  Limits one;
  one.max_frames = 1;
  for (const cpython::Interpreter& interpreter : t_.reader.runtime().interpreters) {
    for (const cpython::PyThread& thread : interpreter.threads) {
      if (thread.thread_id == thread_id) return !t_.frames.StackOf(thread, one).frames.empty();
    }
  }
  return false;
}

}  // namespace pygc::objects
