#include "core/audit/c_variables.h"

#include <algorithm>
#include <unordered_map>

namespace pygc::audit {

namespace {

using heap::kNoNode;
using heap::NodeId;
using heap::UnreachedObject;

constexpr std::uint64_t kMostMemberBytes = 4096;  // LIMIT: of an object's fixed part
constexpr std::size_t kMostMembers = 1u << 22;    // LIMIT: words of all types' instances that are kept in mind
constexpr NodeId kNodesPerUpdate = 1u << 16;
constexpr std::uint64_t kMemberSamples = 4;
constexpr std::uint32_t kLeastMembers = 3;        // instances whose member leads to an object: one or two may be chance

class VariableFinder {
 public:
  VariableFinder(const AuditInput& in, const heap::ReferenceAudit& audit) : in_(in), audit_(audit), of_unreached_(audit.unreached.size()) {}

  void SearchStatics(const MemoryCover& cover, const StaticData& statics, std::span<const Address> known) {
    auto next = known.begin();  // places come in the order of addresses
    cover.ForEachOpen(0, cover.part_count(), [&](Address at, const std::byte* p, std::uint64_t count) {
      if (!statics.HoldsSome(at)) return;
      for (std::uint64_t i = 0; i < count; ++i) {
        const Address slot = at + i * 8;
        next = std::lower_bound(next, known.end(), slot);
        if (next != known.end() && *next == slot) continue;
        const auto word = LoadUnchecked<std::uint64_t>(p + i * 8);
        if (word != 0 && (IsOpen(in_.heap.index.Find(word)) || UnreachedAt(word) != nullptr) && statics.Holds(slot)) Add(word);
      }
    });
  }

  void AddNode(NodeId n) {
    if (IsOpen(n)) ++of_nodes_[n];
  }

  void SearchMembers(const std::vector<bool>& open_types, ProgressSink& progress) {
    bool stopped = false;
    std::vector<Members> members(open_types.size());
    std::size_t words = 0;
    for (std::size_t t = 0; t < members.size() && words < kMostMembers; ++t) {
      if (open_types[t]) members[t] = MembersOf(in_.reader.Type(in_.heap.types[t].address));
      words += members[t].offsets.size();
    }
    const auto each = [&](auto&& f) {
      in_.heap.index.ForEach(0, in_.heap.size(), [&](NodeId n, Address a) {
        if (n % kNodesPerUpdate == 0 && !progress.Update("looking at members of C types", n, in_.heap.size())) stopped = true;
        if (stopped) return;
        Members& of = members[in_.heap.type[n]];
        const std::byte* const p = of.type == nullptr || of.offsets.empty() || audit_.auditable[n] == heap::Auditable::kFreed ? nullptr : in_.reader.process().memory.At(a, of.bytes);
        if (p != nullptr) f(a, p, of);
      });
    };
    std::vector<Address> counted;
    const auto count = [&](Address a, const Members& of) {  // where references of the instance lie that are known, or none
      counted.clear();
      owned_.clear();
      in_.ownership.VisitedSlots(a, *of.type, counted);
      in_.ownership.NotVisited(a, *of.type, owned_);
      in_.ownership.BorrowedSlots(a, *of.type, counted);
      for (const objects::OwnedSlot& o : owned_) counted.push_back(o.slot);
      std::sort(counted.begin(), counted.end());
    };
    const auto is_counted = [&](Address slot) { return std::binary_search(counted.begin(), counted.end(), slot); };
    each([&](Address a, const std::byte* p, Members& of) {
      if (of.looked_at++ < kMemberSamples) {  // most are the same in all instances: for types whose members are all known one look is enough
        count(a, of);
        std::erase_if(of.offsets, [&](const Members::Offset& o) { return is_counted(a + o.at); });
      }
      std::erase_if(of.offsets, [&](Members::Offset& o) {
        const auto word = LoadUnchecked<std::uint64_t>(p + o.at);
        if (word == 0) return false;
        ++o.lead;
        return word == a || (in_.heap.index.Find(word) == kNoNode && UnreachedAt(word) == nullptr);
      });
    });
    for (Members& of : members) {
      std::erase_if(of.offsets, [](const Members::Offset& o) { return o.lead < kLeastMembers; });
    }
    each([&](Address a, const std::byte* p, Members& of) {
      count(a, of);
      for (const Members::Offset& o : of.offsets) {
        if (!is_counted(a + o.at)) Add(LoadUnchecked<std::uint64_t>(p + o.at));
      }
    });
  }

  // What is lost refers to what it did when it was in use.
  void FollowHeld() {
    for (std::size_t i = 0; i < audit_.unreached.size(); ++i) {
      const UnreachedObject& u = audit_.unreached[i];
      if (u.possible == 0 && !u.by_head) held_.push_back(i);
    }
    while (!held_.empty()) {
      const UnreachedObject& u = audit_.unreached[held_.back()];
      held_.pop_back();
      Follow(u);
    }
  }

  [[nodiscard]] std::vector<std::pair<NodeId, std::uint32_t>> OfNodes() const {
    std::vector<std::pair<NodeId, std::uint32_t>> found(of_nodes_.begin(), of_nodes_.end());
    std::sort(found.begin(), found.end());
    return found;
  }

 private:
  // Words of a type's instances that may be members that lead to objects.
  struct Members {
    struct Offset {
      std::uint32_t at = 0, lead = 0;  // how many instances lead to an object there
    };
    const objects::TypeFacts* type = nullptr;
    std::uint64_t bytes = 0;
    std::uint64_t looked_at = 0;  // instances
    std::vector<Offset> offsets;
  };
  [[nodiscard]] Members MembersOf(const objects::TypeFacts* type) const {
    Members of;
    if (type == nullptr) return of;
    of.type = type;
    of.bytes = std::min<std::uint64_t>(type->fixed_bytes, kMostMemberBytes);
    for (std::uint32_t at = object_bytes_; at + 8 <= of.bytes; at += 8) {
      of.offsets.push_back({at, 0});
    }
    return of;
  }
  [[nodiscard]] bool IsOpen(NodeId n) const { return n != kNoNode && audit_.auditable[n] == heap::Auditable::kYes && in_.heap.refcount[n] > audit_.known[n]; }
  [[nodiscard]] const UnreachedObject* UnreachedAt(Address a) const {
    const auto at = std::lower_bound(audit_.unreached.begin(), audit_.unreached.end(), a, [](const UnreachedObject& u, Address x) { return u.object < x; });
    return at != audit_.unreached.end() && at->object == a ? &*at : nullptr;
  }
  void Add(Address referent) {
    if (referent == 0) return;
    if (const NodeId n = in_.heap.index.Find(referent); IsOpen(n)) {
      ++of_nodes_[n];
    } else if (const UnreachedObject* const u = n == kNoNode ? UnreachedAt(referent) : nullptr; u != nullptr) {
      const auto i = static_cast<std::size_t>(u - audit_.unreached.data());
      if (++of_unreached_[i] == u->recorded && !u->by_head && u->possible != 0) held_.push_back(i);  // once, at most
    }
  }
  void Follow(const UnreachedObject& u) {
    const objects::TypeFacts* const type = in_.reader.Type(u.type);
    referents_.clear();
    owned_.clear();
    if (type == nullptr || !IsExact(in_.reader.Referents(u.object, *type, referents_))) return;
    in_.ownership.NotVisited(u.object, *type, owned_);
    for (const Address a : referents_) Add(a);
    for (const objects::OwnedSlot& o : owned_) Add(o.referent);
  }

  const AuditInput& in_;
  const heap::ReferenceAudit& audit_;
  const std::uint32_t object_bytes_ = static_cast<std::uint32_t>(in_.reader.runtime().layout.Size(cpython::Struct::PyObject));
  std::unordered_map<NodeId, std::uint32_t> of_nodes_;
  std::vector<std::uint32_t> of_unreached_;
  std::vector<std::size_t> held_;  // of audit_.unreached: all of its count is found, what it refers to is not looked at yet
  objects::ReferentBuffer referents_;
  std::vector<objects::OwnedSlot> owned_;
};

}  // namespace

std::vector<std::pair<NodeId, std::uint32_t>> FindInVariables(const AuditInput& in, const heap::ReferenceAudit& audit, const MemoryCover& cover, const StaticData& statics,
                                                              std::span<const Address> known, std::span<const NodeId> texts, const std::vector<bool>& open_types, ProgressSink& progress) {
  VariableFinder finder(in, audit);
  finder.SearchStatics(cover, statics, known);
  for (const NodeId n : texts) finder.AddNode(n);
  if (std::find(open_types.begin(), open_types.end(), true) != open_types.end()) finder.SearchMembers(open_types, progress);
  finder.FollowHeld();
  return finder.OfNodes();
}

}  // namespace pygc::audit
