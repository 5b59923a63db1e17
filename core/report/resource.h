// What an object owns beside memory, as reports show it: a descriptor, a socket, a lock and who holds it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/address.h"
#include "core/report/json_writer.h"
#include "core/report/text_writer.h"

namespace pygc::report {

struct ResourceRow {
  std::string kind;  // "file", "socket", "lock", "rlock"
  Address address = 0;
  std::string type;  // of the object
  std::int32_t fd = -1;                        // files, sockets; -1: closed
  std::string family;                          // sockets: "AF_INET SOCK_STREAM"
  bool locked = false;
  std::uint64_t owner = 0, count = 0;          // rlocks: pthread_self() of the thread that holds it, 0: none; how often it has acquired it
  std::optional<std::uint64_t> owner_native_id;
  std::uint64_t holder = 0;                    // locks: pthread_self() of the thread whose `with` block it is in, or its owner; 0: not known
  std::optional<std::uint64_t> holder_native_id;
  std::string holder_place;                    // "f() at app.py:12": the frame with that block, where it stands; empty: known by `owner` only
  std::vector<std::uint64_t> waiters;          // kernel's ids of the threads that wait for it
  std::string state;                           // of the object: "reachable", ...; empty: not known
  std::string path;                            // who holds the object: an expression where one can be written; empty: not asked for, or nobody
};

/// "fd 7", "socket, fd 9, AF_INET SOCK_STREAM", "locked by thread 4711 (acquired 2 times), 1 thread waits".
[[nodiscard]] std::string ResourceText(const ResourceRow& row);
/// A member of an array.
void WriteResource(const ResourceRow& row, JsonWriter& json);
void WriteResources(const std::vector<ResourceRow>& rows, TextWriter& out);

}  // namespace pygc::report
