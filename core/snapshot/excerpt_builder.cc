#include "core/snapshot/excerpt_builder.h"

#include <algorithm>
#include <map>
#include <new>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "core/cpython/object_header.h"
#include "core/graph/reachability.h"
#include "core/graph/scc.h"
#include "core/snapshot/object_source.h"
#include "core/snapshot/type_columns.h"

namespace pygc::snapshot {
namespace {

using graph::NodeSet;
using heap::kNoNode;
using heap::NodeId;
using objects::TypeFacts;

// Label texts by what makes them, so that an attribute name that a hundred thousand objects share is spelled once.
class LabelTable {
 public:
  explicit LabelTable(const objects::ObjectReader& reader) : reader_(reader) { texts_.emplace_back(); }

  std::uint32_t IdOf(const objects::LabelledReferent& referent) {
    if (!referent.text.empty()) return Intern(reader_.LabelText(referent));
    const Key key{referent.kind, referent.name, referent.key, referent.index};
    const auto [found, fresh] = ids_.try_emplace(key, 0);
    if (fresh) found->second = Intern(reader_.LabelText(referent));
    return found->second;
  }
  [[nodiscard]] std::vector<std::string> Take() { return std::move(texts_); }

 private:
  struct Key {
    objects::SlotKind kind;
    const char* name;
    Address key;
    std::uint64_t index;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct Hash {
    std::size_t operator()(const Key& k) const noexcept {
      std::uint64_t h = k.key * 0x9E3779B97F4A7C15ull ^ (k.index + static_cast<std::uint64_t>(k.kind)) * 0xC2B2AE3D27D4EB4Full;
      h ^= reinterpret_cast<std::uintptr_t>(k.name);  // NOLINT: an address of this program, as a number
      return static_cast<std::size_t>(h ^ h >> 29);
    }
  };

  std::uint32_t Intern(std::string text) {
    const auto [found, fresh] = by_text_.try_emplace(std::move(text), static_cast<std::uint32_t>(texts_.size()));
    if (fresh) texts_.push_back(found->first);
    return found->second;
  }

  const objects::ObjectReader& reader_;
  std::unordered_map<Key, std::uint32_t, Hash> ids_;
  std::unordered_map<std::string, std::uint32_t> by_text_;
  std::vector<std::string> texts_;
};

class ExcerptBuilder {
 public:
  ExcerptBuilder(const objects::ObjectReader& reader, const heap::HeapSnapshot& heap, const NodeSet& nodes, const Limits& limits,
                 ProgressSink& progress)
      : reader_(reader), process_(reader.process()), heap_(heap), nodes_(nodes), limits_(limits), progress_(progress), header_(reader.runtime()) {}

  Result<heap::Excerpt> Run() {
    if (!FindObjects()) return Cancelled();
    if (index_.size() > limits_.max_objects)
      return Fail(ErrorCode::kLimit, "the unreachable part has {} objects; at most {} can be numbered", index_.size(), limits_.max_objects);
    if (!ReadReferences()) return Cancelled();
    if (edges_.size() > 0xFFFFFFFFu)
      return Fail(ErrorCode::kLimit, "the unreachable part has {} references; at most {} can be numbered", edges_.size(), 0xFFFFFFFFu);
    DropShared();
    MakeColumns();
    if (!LabelCycles()) return Cancelled();
    return std::move(excerpt_);
  }

 private:
  [[nodiscard]] static tl::unexpected<Error> Cancelled() { return Fail(ErrorCode::kCancelled, "stopped while reading the unreachable part"); }
  bool Tick(std::string_view stage, std::uint64_t total) { return ++steps_ % 16384 != 0 || progress_.Update(stage, steps_, total); }

  [[nodiscard]] const TypeFacts* TypeAt(Address object) const {
    const std::byte* const p = process_.memory.At(object, header_.size());
    return p == nullptr ? nullptr : reader_.Type(header_.Type(p));
  }
  [[nodiscard]] bool IsMember(Address object) const {
    const NodeId n = heap_.index.Find(object);
    return n != kNoNode && nodes_.Contains(n);
  }
  void AppendReferents(Address object, const TypeFacts& type, bool member, objects::ReferentBuffer& out) const {
    if (member || (type.have_gc && reader_.IsGc(object, type))) reader_.Referents(object, type, out);
  }

  // Members, and every untracked object that they lead to and that could be theirs alone.
  bool FindObjects() {
    const std::uint8_t shift = reader_.runtime().gc_head.size > 16 ? 3 : 4;
    const std::vector<heap::ObjectIndex::Range> ranges = ObjectRanges(process_, shift, true);
    index_ = heap::ObjectIndex(ranges);
    std::vector<Address> work;
    if (!nodes_.Empty()) {
      heap_.index.ForEach(0, heap_.size(), [&](NodeId n, Address a) {
        if (nodes_.Contains(n) && index_.Mark(a)) work.push_back(a);
      });
    }
    const std::size_t members = work.size();
    objects::ReferentBuffer referents;
    const auto expand = [&](Address object, bool member) {
      const TypeFacts* const type = TypeAt(object);
      if (type == nullptr) return;
      referents.clear();
      AppendReferents(object, *type, member, referents);
      for (const Address r : referents) {
        if (index_.IsMarked(r)) continue;
        const NodeId n = heap_.index.Find(r);
        if (n != kNoNode && heap_.IsTracked(n)) continue;  // a tracked object that is not leaked
        const std::byte* const p = process_.memory.At(r, header_.size());
        if (p == nullptr || header_.Refcount(p) >= heap::kSaturated || reader_.Type(header_.Type(p)) == nullptr) continue;
        if (index_.Mark(r)) work.push_back(r);
      }
    };
    for (std::size_t i = 0; i < members; ++i) {
      if (!Tick("reading the unreachable part", members)) return false;
      expand(work[i], true);
    }
    while (work.size() > members) {
      if (!Tick("reading the unreachable part", 0)) return false;
      const Address object = work.back();
      work.pop_back();
      expand(object, false);
    }
    index_.Seal();
    return true;
  }

  bool ReadReferences() {
    offsets_.reserve(std::size_t{index_.size()} + 1);
    offsets_.push_back(0);
    objects::ReferentBuffer referents;
    bool go_on = true;
    index_.ForEach(0, index_.size(), [&](NodeId, Address object) {
      go_on = go_on && Tick("reading references of the unreachable part", 0);
      const TypeFacts* const type = go_on ? TypeAt(object) : nullptr;
      const bool member = IsMember(object);
      member_.push_back(member);
      referents.clear();
      if (type != nullptr) AppendReferents(object, *type, member, referents);
      for (const Address r : referents) {
        if (const NodeId target = index_.Find(r); target != kNoNode) edges_.push_back(target);
      }
      offsets_.push_back(static_cast<std::uint32_t>(edges_.size()));
    });
    return go_on;
  }

  // Untracked objects whose count is not explained from inside belong to others too, and so does what they lead to.
  void DropShared() {
    const NodeId count = index_.size();
    std::vector<std::uint32_t> found(count);
    for (const NodeId target : edges_) ++found[target];
    graph::CsrGraph all(std::move(offsets_), std::move(edges_));
    NodeSet shared(count);
    std::vector<NodeId> roots;
    index_.ForEach(0, count, [&](NodeId n, Address object) {
      if (member_[n]) {
        shared.Insert(n);  // closed: members stay whatever refers to them
        return;
      }
      const std::byte* const p = process_.memory.At(object, header_.size());
      if (p == nullptr || header_.Refcount(p) > found[n]) roots.push_back(n);
    });
    graph::MarkReachable(all, roots, shared);
    local_.assign(count, kNoNode);
    NodeId kept = 0;
    for (NodeId n = 0; n < count; ++n) {
      if (member_[n] || !shared.Contains(n)) local_[n] = kept++;
    }
    std::vector<std::uint32_t> offsets{0};
    std::vector<NodeId> edges;
    offsets.reserve(std::size_t{kept} + 1);
    for (NodeId n = 0; n < count; ++n) {
      if (local_[n] == kNoNode) continue;
      for (const NodeId target : all.Successors(n)) {
        if (local_[target] != kNoNode) edges.push_back(local_[target]);
      }
      offsets.push_back(static_cast<std::uint32_t>(edges.size()));
    }
    edges.shrink_to_fit();
    excerpt_.graph = graph::CsrGraph(std::move(offsets), std::move(edges));
    excerpt_.components = graph::StronglyConnectedComponents(excerpt_.graph);
  }

  void MakeColumns() {
    std::vector<const TypeFacts*> facts;
    index_.ForEach(0, index_.size(), [&](NodeId n, Address object) {
      if (local_[n] == kNoNode) return;
      const NodeId in_heap = heap_.index.Find(object);
      const TypeFacts* const type = TypeAt(object);
      const std::byte* const p = process_.memory.At(object, header_.size());
      excerpt_.address.push_back(object);
      excerpt_.node.push_back(in_heap);
      excerpt_.refcount.push_back(p != nullptr ? header_.Refcount(p) : heap::kSaturated);
      excerpt_.flags.push_back(in_heap != kNoNode ? heap_.flags[in_heap] : heap::kUntracked);
      excerpt_.type.push_back(type == nullptr ? TypeOf(TypeUse::kNoType) : TypeOf(object, *type));
      excerpt_.size_bytes.push_back(type == nullptr ? heap::kUnknownSize : reader_.SizeOf(object, *type).value_or(heap::kUnknownSize));
    });
    index_of_type_.clear();
  }

  // The index into excerpt_.types: by type and shown name, because all classic instances of 2.7 have the one type `instance`.
  std::uint32_t TypeOf(Address object, const TypeFacts& type) {
    if (!type.is_classic_instance) return Record(type, nullptr);
    const std::string name = reader_.DisplayTypeName(object, type);
    return Record(type, &name);
  }
  std::uint32_t TypeOf(std::uint32_t special) {
    const auto [found, fresh] = index_of_type_.try_emplace({special, ""}, static_cast<std::uint32_t>(excerpt_.types.size()));
    if (fresh) excerpt_.types.emplace_back().name = "<not a type>";
    return found->second;
  }
  std::uint32_t Record(const TypeFacts& type, const std::string* shown) {
    if (shown == nullptr && type.id < plain_types_.size() && plain_types_[type.id] != 0) return plain_types_[type.id] - 1;
    const auto [found, fresh] =
        index_of_type_.try_emplace({type.id, shown != nullptr ? *shown : std::string()}, static_cast<std::uint32_t>(excerpt_.types.size()));
    if (fresh) {
      TypeUse use;
      use.Add(type.quality);
      excerpt_.types.push_back(MakeTypeRecord(type, use, reader_));
      if (shown != nullptr) {
        excerpt_.types.back().name = *shown;
        excerpt_.types.back().module_file.clear();
      }
    }
    if (shown == nullptr) {
      if (type.id >= plain_types_.size()) plain_types_.resize(std::size_t{type.id} + 1);
      plain_types_[type.id] = found->second + 1;
    }
    return found->second;
  }

  bool LabelCycles() {
    LabelTable labels(reader_);
    excerpt_.label.assign(excerpt_.graph.edge_count(), 0);
    NodeSet cyclic(excerpt_.components.count());
    for (NodeId c = 0; c < excerpt_.components.count(); ++c) {
      if (graph::IsCyclic(excerpt_.graph, excerpt_.components, c)) cyclic.Insert(c);
    }
    std::vector<objects::LabelledReferent> referents;
    for (NodeId n = 0; n < excerpt_.size(); ++n) {
      const NodeId component = excerpt_.components.component_of[n];
      if (!cyclic.Contains(component)) continue;
      if (!Tick("labelling references", 0)) return false;
      const Address object = excerpt_.address[n];
      const TypeFacts* const type = TypeAt(object);
      if (type == nullptr) continue;
      referents.clear();
      reader_.LabelledReferents(object, *type, referents);
      const std::span<const NodeId> successors = excerpt_.graph.Successors(n);
      std::size_t position = 0;
      for (const objects::LabelledReferent& r : referents) {
        const NodeId found = index_.Find(r.referent);
        if (found == kNoNode || local_[found] == kNoNode) continue;
        // The two readings list the same references in the same order; where they should not, the rest stays without labels.
        if (position == successors.size() || successors[position] != local_[found]) break;
        if (excerpt_.components.component_of[local_[found]] == component) excerpt_.label[excerpt_.graph.FirstEdge(n) + position] = labels.IdOf(r);
        ++position;
      }
    }
    excerpt_.label_texts = labels.Take();
    return true;
  }

  const objects::ObjectReader& reader_;
  const target::Process& process_;
  const heap::HeapSnapshot& heap_;
  const NodeSet& nodes_;
  const Limits& limits_;
  ProgressSink& progress_;
  cpython::ObjectHeaderReader header_;
  heap::ObjectIndex index_;
  std::vector<bool> member_;  // by index id: one of nodes_
  std::vector<std::uint32_t> offsets_;
  std::vector<NodeId> edges_;
  std::vector<NodeId> local_;  // by index id: id in the excerpt
  std::map<std::pair<std::uint32_t, std::string>, std::uint32_t> index_of_type_;
  std::vector<std::uint32_t> plain_types_;  // by TypeFacts::id: index + 1
  heap::Excerpt excerpt_;
  std::uint64_t steps_ = 0;
};

}  // namespace

Result<heap::Excerpt> BuildExcerpt(const objects::ObjectReader& reader, const heap::HeapSnapshot& heap, const NodeSet& nodes, const Limits& limits,
                                   ProgressSink& progress) {
  try {
    return ExcerptBuilder(reader, heap, nodes, limits, progress).Run();
  } catch (const std::bad_alloc&) {
    return Fail(ErrorCode::kLimit, "not enough memory for the details of the unreachable part");
  } catch (const std::length_error&) {
    return Fail(ErrorCode::kLimit, "not enough memory for the details of the unreachable part");
  }
}

}  // namespace pygc::snapshot
