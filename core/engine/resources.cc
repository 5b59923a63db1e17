#include "core/engine/resources.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "core/engine/derived.h"
#include "core/engine/findings.h"
#include "core/engine/labels.h"
#include "core/engine/node_path.h"
#include "core/objects/frames.h"

namespace pygc::engine {
namespace {

using Kind = objects::Resource::Kind;

const char* KindName(Kind kind) { return kind == Kind::kFile ? "file" : kind == Kind::kSocket ? "socket" : kind == Kind::kLock ? "lock" : "rlock"; }

// Linux: include/linux/socket.h, include/linux/net.h.
std::string FamilyName(const objects::Resource& r) {
  const char* const family = r.family == 1 ? "AF_UNIX" : r.family == 2 ? "AF_INET" : r.family == 10 ? "AF_INET6" : r.family == 16 ? "AF_NETLINK" : r.family == 17 ? "AF_PACKET" : nullptr;
  const int type = r.type & 0xF;  // without SOCK_CLOEXEC and SOCK_NONBLOCK
  const char* const style = type == 1 ? "SOCK_STREAM" : type == 2 ? "SOCK_DGRAM" : type == 3 ? "SOCK_RAW" : type == 5 ? "SOCK_SEQPACKET" : nullptr;
  return fmt::format("{} {}", family != nullptr ? family : fmt::format("family {}", r.family), style != nullptr ? style : fmt::format("type {}", r.type));
}

std::optional<std::uint64_t> NativeIdOf(const CommandInput& in, std::uint64_t thread_id) {
  for (const cpython::Interpreter& interpreter : in.reader.runtime().interpreters) {
    for (const cpython::PyThread& t : interpreter.threads) {
      if (t.thread_id == thread_id && t.native_thread_id) return t.native_thread_id;
    }
  }
  for (const target::Thread& t : in.reader.process().threads) {
    if (t.has_registers && t.fs_base() == thread_id) return static_cast<std::uint64_t>(t.tid);
  }
  return std::nullopt;
}

// The collector does not know of untracked objects: those that no root leads to go with the unreachable ones that refer to them.
bool IsLost(const CommandInput& in, heap::NodeId n) {
  return in.derived != nullptr && in.derived->paths && !in.heap.IsTracked(n) && !in.derived->paths->Reaches(n);
}

}  // namespace

std::optional<report::ResourceRow> ResourceAt(const CommandInput& in, const objects::ResourceReader& reader, Address address) {
  const std::optional<objects::Resource> found = reader.Of(address);
  if (!found) return std::nullopt;
  report::ResourceRow row;
  row.kind = KindName(found->kind);
  row.address = address;
  row.type = Labels(in.reader, in.request.redact).TypeName(address);
  row.fd = found->fd;
  if (found->kind == Kind::kSocket) row.family = FamilyName(*found);
  row.locked = found->locked;
  row.owner = found->owner;
  row.count = found->count;
  if (found->owner != 0) row.owner_native_id = NativeIdOf(in, found->owner);
  if (const std::optional<objects::LockHolder> holder = found->IsLock() ? reader.HolderOf(address) : std::nullopt) {
    const objects::FrameReader frames(in.reader);
    row.holder = holder->thread_id;
    row.holder_native_id = holder->native_id ? holder->native_id : NativeIdOf(in, holder->thread_id);
    row.holder_place = fmt::format("{}() at {}:{}", frames.QualifiedName(holder->frame.code), frames.FileName(holder->frame.code), holder->frame.line);
  }
  if (row.owner != 0 && row.owner != row.holder) {  // what the lock itself says is surer
    row.holder = row.owner;
    row.holder_native_id = row.owner_native_id;
    row.holder_place.clear();
  }
  for (const target::Thread* t : reader.WaitersOf(*found)) row.waiters.push_back(static_cast<std::uint64_t>(t->tid));
  std::sort(row.waiters.begin(), row.waiters.end());
  const heap::NodeId node = in.heap.index.Find(address);
  if (node != heap::kNoNode) row.state = in.verdict.StateText(node);
  if (row.state == "reachable" && IsLost(in, node)) row.state = "unreachable";
  return row;
}

ResourcesFound FindResources(const CommandInput& in, std::uint64_t max) {
  const objects::ResourceReader reader(in.reader);
  std::vector<bool> owns(in.heap.types.size());
  for (std::size_t t = 0; t < in.heap.types.size(); ++t) owns[t] = in.heap.types[t].address != 0 && reader.KindOf(in.heap.types[t].address).has_value();
  struct Held {
    std::tuple<int, int, std::int64_t, Address> order;
    Address address = 0;
  };
  std::vector<Held> held;
  (void)RootPathsOf(in);  // kept in `in`; where it was stopped, states are those of the collector alone
  ResourcesFound out;
  in.heap.index.ForEach(0, in.heap.size(), [&](heap::NodeId n, Address address) {
    if (!owns[in.heap.type[n]]) return;
    const std::optional<objects::Resource> r = reader.Of(address);
    if (!r) return;
    if (!r->IsHeld()) {
      ++(r->IsLock() ? out.free_locks : out.closed);
      return;
    }
    held.push_back({{in.verdict.state[n] == analysis::State::kReachable && !IsLost(in, n) ? 1 : 0, r->IsLock() ? 1 : 0, r->IsLock() ? 0 : r->fd, address}, address});
  });
  std::sort(held.begin(), held.end(), [](const Held& a, const Held& b) { return a.order < b.order; });
  out.count = held.size();
  for (const Held& h : held) {
    if (out.rows.size() == max) break;
    std::optional<report::ResourceRow> row = ResourceAt(in, reader, h.address);
    if (!row) continue;
    if (row->state == "reachable") {
      if (const std::optional<report::RootPath> path = FindShortestPath(in, h.address)) row->path = report::PlacedPathOf(*path);
    }
    out.rows.push_back(std::move(*row));
  }
  return out;
}

}  // namespace pygc::engine
