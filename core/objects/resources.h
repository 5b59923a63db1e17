// What objects own beside memory: files, sockets, locks; and who waits for a lock. For whoever looks for leaked descriptors and for deadlocks.
// CPython: Modules/_io/fileio.c, Modules/socketmodule.h, Modules/_threadmodule.c; 2.7 also Objects/fileobject.c and the class threading._RLock.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "core/objects/async_tasks.h"
#include "core/objects/object_reader.h"

namespace pygc::objects {

struct Resource {
  enum class Kind : std::uint8_t { kFile, kSocket, kLock, kRLock } kind = Kind::kFile;
  std::int32_t fd = -1;              // files, sockets; -1: closed
  std::int32_t family = 0, type = 0;  // sockets: AF_*, SOCK_* of the target's kernel
  bool locked = false;               // locks
  std::uint64_t owner = 0;           // RLocks that are locked: what threading.get_ident() says in the thread; 0: not recorded
  std::uint64_t count = 0;           // RLocks: how often that thread has acquired it
  Address word = 0;                  // locks: the memory that a thread waits on; 0: not known

  [[nodiscard]] bool IsLock() const noexcept { return kind == Kind::kLock || kind == Kind::kRLock; }
  /// True where something would be given back if the object were freed: a descriptor, or a lock that is locked.
  [[nodiscard]] bool IsHeld() const noexcept { return IsLock() ? locked : fd >= 0; }
};

/// The thread that holds a lock, known from a `with` block that one of its frames is inside of: a plain Lock does not record who has it.
struct LockHolder {
  std::uint64_t thread_id = 0;
  std::optional<std::uint64_t> native_id;
  PythonFrame frame;
};

/// Not thread-safe: remembers what types are.
class ResourceReader {
 public:
  /// `reader` must outlive it.
  explicit ResourceReader(const ObjectReader& reader);

  /// What instances of the type at `type` own, by its chain of bases; nullopt: nothing that is known here.
  [[nodiscard]] std::optional<Resource::Kind> KindOf(Address type) const;
  /// nullopt for objects of other types, and where it cannot be read.
  [[nodiscard]] std::optional<Resource> Of(Address object) const;
  /// The threads that sleep until this lock is let go of, as far as their registers say it. An RLock of Python code [2.7] waits by its inner lock.
  [[nodiscard]] std::vector<const target::Thread*> WaitersOf(const Resource& lock) const;
  /// Who holds a lock that is locked, where exactly one thread is inside of a `with` block of it, or of a threading.Condition around it. nullopt: acquired by
  /// acquire(), or not known.
  [[nodiscard]] std::optional<LockHolder> HolderOf(Address lock) const;
  /// The lock that a thread sleeps on: found among the words of its stack. 0: it sleeps on none, or the lock was not found.
  [[nodiscard]] Address AwaitedBy(const target::Thread& thread) const;
  /// Where `frame`, a thread's innermost, is in the method of an RLock of Python code [2.7] whose inner lock is `lock`: that RLock. Else `lock`.
  [[nodiscard]] Address AskedFor(const PythonFrame& frame, Address lock) const;

 private:
  [[nodiscard]] std::optional<Resource> PythonRLock(Address object, const char* const (&names)[3]) const;
  [[nodiscard]] std::uint64_t Get(Address object, cpython::Field field) const;

  const ObjectReader& reader_;
  const target::MemoryImage& memory_;
  const cpython::Layout& layout_;
  AsyncReader attributes_;
  void FindHolders() const;
  [[nodiscard]] Address LockOf(Address manager) const;
  [[nodiscard]] Address SelfOfThreading(const PythonFrame& frame, std::initializer_list<std::string_view> names) const;

  mutable std::map<Address, std::optional<Resource::Kind>> kinds_;
  mutable std::optional<std::map<Address, std::vector<LockHolder>>> holders_;  // by lock
};

}  // namespace pygc::objects
