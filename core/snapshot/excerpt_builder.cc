#include "core/snapshot/excerpt_builder.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <new>
#include <stdexcept>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "core/base/free_memory.h"
#include "core/base/parallel.h"
#include "core/cpython/object_header.h"
#include "core/graph/reachability.h"
#include "core/graph/scc.h"
#include "core/objects/code_names.h"
#include "core/snapshot/look_ahead.h"
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
    if (!referent.text.empty()) return Intern(reader_.get().LabelText(referent));
    const Key key{referent.kind, referent.name, referent.key, referent.index};
    const auto [found, fresh] = ids_.try_emplace(key, 0);
    if (fresh) found->second = Intern(reader_.get().LabelText(referent));
    return found->second;
  }
  /// By id; [0] is empty.
  [[nodiscard]] const std::vector<std::string>& texts() const noexcept { return texts_; }

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

  std::reference_wrapper<const objects::ObjectReader> reader_;
  std::unordered_map<Key, std::uint32_t, Hash> ids_;
  std::unordered_map<std::string, std::uint32_t> by_text_;
  std::vector<std::string> texts_;
};

// The same for names of functions, generators and frames.
class CodeNameTable {
 public:
  explicit CodeNameTable(const objects::ObjectReader& reader) : reader_(reader) { texts_.emplace_back(); }

  std::uint32_t IdOf(Address object, std::string_view type) {
    const objects::CodeNameSource source = objects::CodeNameSourceOf(reader_, object, type);
    if (source == objects::CodeNameSource{}) return 0;
    const auto [found, fresh] = ids_.try_emplace({source.name, source.code, type == "function"}, 0);
    if (!fresh) return found->second;
    const auto [text, added] = by_text_.try_emplace(objects::CodeNameOf(reader_, source, type), static_cast<std::uint32_t>(texts_.size()));
    if (added) texts_.push_back(text->first);
    return found->second = text->second;
  }
  /// By id; [0] is empty.
  [[nodiscard]] const std::vector<std::string>& texts() const noexcept { return texts_; }

 private:
  std::reference_wrapper<const objects::ObjectReader> reader_;
  std::map<std::tuple<Address, Address, bool>, std::uint32_t> ids_;
  std::unordered_map<std::string, std::uint32_t> by_text_{{"", 0}};
  std::vector<std::string> texts_;
};

constexpr unsigned kPieceShift = 16;    // ids of the heap in one piece of work
constexpr std::uint64_t kMinReferences = 1u << 22;
constexpr std::size_t kCountedAtOnce = 1u << 12;  // references of a piece that its thread counts by itself

class ExcerptBuilder {
 public:
  ExcerptBuilder(const objects::ObjectReader& reader, const heap::HeapSnapshot& heap, const NodeSet& nodes, const Limits& limits,
                 ProgressSink& progress)
      : reader_(reader), process_(reader.process()), heap_(heap), nodes_(nodes), limits_(limits), progress_(progress), header_(reader.runtime()) {}

  Result<heap::Excerpt> Run() {
    if (!FindObjects()) return references_ > max_references_ ? TooMany() : Cancelled();
    if (index_.size() > limits_.max_objects)
      return Fail(ErrorCode::kLimit, "the unreachable part has {} objects; at most {} can be numbered", index_.size(), limits_.max_objects);
    if (!NumberReferences()) return Cancelled();
    DropShared();
    if (!MakeColumns() || !LabelCycles()) return Cancelled();
    return std::move(excerpt_);
  }

 private:
  // An object as it was found, and where its referents end in the piece's list of them.
  struct Found {
    Address object = 0;
    const TypeFacts* type = nullptr;  // nullptr: not to be read
    NodeId node = kNoNode;            // in the heap
    std::uint32_t end = 0;
    NodeId id = kNoNode;  // in index_, once that is sealed
    std::uint32_t refcount = heap::kSaturated;
    bool member = false;  // one of nodes_
  };
  // What one piece of the heap's ids found: its members, and untracked objects that they led to first.
  struct Piece {
    std::vector<Found> objects;
    objects::ReferentBuffer referents;  // of all, in order; then their ids, kNoNode where they are no part of the excerpt
    std::size_t counted = 0;            // referents that are in references_
  };

  [[nodiscard]] static tl::unexpected<Error> Cancelled() { return Fail(ErrorCode::kCancelled, "stopped while reading the unreachable part"); }
  [[nodiscard]] tl::unexpected<Error> TooMany() const {
    return Fail(ErrorCode::kLimit, "the unreachable part has more than {} references, more than memory has words for: containers share their tables",
                max_references_);
  }

  [[nodiscard]] const TypeFacts* TypeAt(Address object) const {
    const std::byte* const p = process_.memory.At(object, header_.size());
    return p == nullptr ? nullptr : reader_.Type(header_.Type(p));
  }
  bool ForEachOf(std::string_view stage, const std::function<bool(Piece&)>& work) {
    return ForEachPiece(
        pieces_.size(), ThreadCount(limits_.threads, pieces_.size()), [&](std::size_t piece, unsigned) { return work(pieces_[piece]); },
        [&](std::size_t done) { return progress_.Update(stage, done << kPieceShift, heap_.size()); });
  }

  // Members, and every untracked object that they lead to and that could be theirs alone: each decoded once, by the thread that marks it.
  bool FindObjects() {
    const std::uint8_t shift = reader_.runtime().gc_head.size > 16 ? 3 : 4;
    const std::vector<heap::ObjectIndex::Range> ranges = ObjectRanges(process_, shift, true);
    index_ = heap::ObjectIndex(ranges);
    std::uint64_t bytes = 0;
    for (const target::Segment& s : process_.memory.segments()) bytes += s.range.size();
    max_references_ = std::clamp<std::uint64_t>(bytes / 4, kMinReferences, 0xFFFFFFFFu);  // LIMIT: a reference takes a word of the target's memory
    const std::size_t count = nodes_.Empty() ? 0 : (std::size_t{heap_.size()} + (std::size_t{1} << kPieceShift) - 1) >> kPieceShift;
    pieces_.resize(count);
    const auto find = [this](Piece& piece) {
      const auto number = static_cast<std::uint64_t>(&piece - pieces_.data());
      const auto end = static_cast<NodeId>(std::min<std::uint64_t>((number + 1) << kPieceShift, heap_.size()));
      return FindMembers(static_cast<NodeId>(number << kPieceShift), end, piece) && FindOthers(piece) && CountReferences(piece);
    };
    if (!ForEachOf("reading the unreachable part", find)) return false;
    index_.Seal();
    return true;
  }

  bool FindMembers(NodeId begin, NodeId end, Piece& piece) {
    heap_.index.ForEach(begin, end, [&](NodeId n, Address a) {
      if (nodes_.Contains(n) && index_.MarkShared(a)) piece.objects.push_back({a, nullptr, n, 0, kNoNode, heap_.refcount[n], true});
    });
    std::vector<Found>& members = piece.objects;
    for (std::size_t i = 0; i < members.size() + kLookAhead; ++i) {
      if (i < members.size()) __builtin_prefetch(process_.memory.At(members[i].object, 0));
      if (i >= kTableAfter && i - kTableAfter < members.size()) {
        Found& next = members[i - kTableAfter];
        next.type = TypeAt(next.object);
        if (next.type != nullptr) reader_.PrefetchReferents(next.object, *next.type);
      }
      if (i >= kLookAhead && !Decode(members[i - kLookAhead], piece)) return false;
    }
    return true;
  }
  bool Decode(Found& found, Piece& piece) {
    if (found.type != nullptr && (found.member || (found.type->have_gc && reader_.IsGc(found.object, *found.type))))
      reader_.Referents(found.object, *found.type, piece.referents);
    found.end = static_cast<std::uint32_t>(piece.referents.size());
    return piece.referents.size() - piece.counted < kCountedAtOnce || CountReferences(piece);
  }
  // Threads share the number: it is not theirs for every object.
  bool CountReferences(Piece& piece) {
    references_ += piece.referents.size() - piece.counted;
    piece.counted = piece.referents.size();
    return references_ <= max_references_;
  }

  // Objects that are found stand behind the others, and are decoded when all referents so far were looked at.
  bool FindOthers(Piece& piece) {
    std::size_t decoded = piece.objects.size();
    for (std::size_t looked = 0; looked < piece.referents.size();) {
      const Address r = piece.referents[looked++];
      // Of the tracked objects only members count, and they find themselves.
      const NodeId n = index_.IsMarkedShared(r) ? kNoNode : heap_.index.Find(r);
      if (!index_.IsMarkedShared(r) && (n == kNoNode || !heap_.IsTracked(n))) {
        const std::byte* const p = process_.memory.At(r, header_.size());
        const TypeFacts* const type = p == nullptr || header_.Refcount(p) >= heap::kSaturated ? nullptr : reader_.Type(header_.Type(p));
        if (type != nullptr && index_.MarkShared(r)) piece.objects.push_back({r, type, n, 0, kNoNode, header_.Refcount(p), false});
      }
      if (looked < piece.referents.size()) continue;
      for (; decoded < piece.objects.size(); ++decoded) {
        if (!Decode(piece.objects[decoded], piece)) return false;
      }
    }
    return true;
  }

  // Columns by id of index_: offsets_, edges_, member_.
  bool NumberReferences() {
    offsets_.assign(std::size_t{index_.size()} + 1, 0);
    member_.assign(index_.size(), 0);
    const auto number = [this](Piece& piece) {
      heap::ObjectIndex::Numbers numbers(index_);
      for (std::size_t i = 0; i < piece.referents.size() + kLookAhead; ++i) {
        if (i < piece.referents.size()) {
          if (const std::uint64_t place = numbers.Of(piece.referents[i]); place != heap::ObjectIndex::kNoNumber) index_.PrefetchNumber(place);
        }
        if (i >= kLookAhead) piece.referents[i - kLookAhead] = index_.Find(piece.referents[i - kLookAhead]);
      }
      std::size_t at = 0;
      for (Found& found : piece.objects) {
        found.id = index_.Find(found.object);
        member_[found.id] = found.member;
        std::uint32_t known = 0;
        for (; at < found.end; ++at) known += piece.referents[at] != kNoNode;
        offsets_[std::size_t{found.id} + 1] = known;
      }
      return true;
    };
    if (!ForEachOf("numbering references of the unreachable part", number)) return false;
    for (std::size_t i = 1; i < offsets_.size(); ++i) offsets_[i] += offsets_[i - 1];  // at most max_references_, so 32 bits are enough
    edges_.resize(offsets_.back());
    const auto store = [this](Piece& piece) {
      std::size_t at = 0;
      for (const Found& found : piece.objects) {
        std::size_t to = offsets_[found.id];
        for (; at < found.end; ++at) {
          if (piece.referents[at] != kNoNode) edges_[to++] = static_cast<NodeId>(piece.referents[at]);
        }
      }
      FreeMemory(piece.referents);
      return true;
    };
    return ForEachOf("storing references of the unreachable part", store);
  }

  // Untracked objects whose count is not explained from inside belong to others too, and so does what they lead to.
  void DropShared() {
    const NodeId count = index_.size();
    std::vector<std::uint32_t> found(count);
    for (const NodeId target : edges_) ++found[target];
    graph::CsrGraph all(std::move(offsets_), std::move(edges_));
    NodeSet shared(count);
    std::vector<NodeId> roots;
    for (const Piece& piece : pieces_) {
      for (const Found& f : piece.objects) {
        if (f.member) {
          shared.Insert(f.id);  // closed: members stay whatever refers to them
          continue;
        }
        if (f.refcount > found[f.id]) roots.push_back(f.id);
      }
    }
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

  bool MakeColumns() {
    const NodeId count = excerpt_.graph.node_count();
    std::vector<const TypeFacts*> facts(count);
    excerpt_.address.resize(count);
    excerpt_.node.resize(count);
    excerpt_.refcount.resize(count);
    excerpt_.flags.resize(count);
    excerpt_.type.resize(count);
    excerpt_.size_bytes.resize(count);
    const auto fill = [&](Piece& piece) {
      for (std::size_t i = 0; i < piece.objects.size(); ++i) {
        if (i + kLookAhead < piece.objects.size()) __builtin_prefetch(process_.memory.At(piece.objects[i + kLookAhead].object, 0));
        if (i + kTableAfter < piece.objects.size()) {
          if (const Found& next = piece.objects[i + kTableAfter]; next.type != nullptr) reader_.PrefetchReferents(next.object, *next.type);
        }
        const Found& f = piece.objects[i];
        const NodeId n = local_[f.id];
        if (n == kNoNode) continue;
        facts[n] = f.type;
        excerpt_.address[n] = f.object;
        excerpt_.node[n] = f.node;
        excerpt_.refcount[n] = f.refcount;
        excerpt_.flags[n] = f.node != kNoNode ? heap_.flags[f.node] : heap::kUntracked;
        excerpt_.size_bytes[n] = f.type == nullptr ? heap::kUnknownSize : reader_.SizeOf(f.object, *f.type).value_or(heap::kUnknownSize);
      }
      piece = {};
      return true;
    };
    if (!ForEachOf("measuring the unreachable part", fill)) return false;
    for (NodeId n = 0; n < count; ++n) excerpt_.type[n] = facts[n] == nullptr ? TypeOf(TypeUse::kNoType) : TypeOf(excerpt_.address[n], *facts[n]);
    index_of_type_.clear();
    return true;
  }

  // The index into excerpt_.types: by type and shown name, because all classic instances of 2.7 have the one type `instance`.
  std::uint32_t TypeOf(Address object, const TypeFacts& type) {
    if (!type.is_classic_instance) return Record(type, nullptr);
    const std::string name = reader_.DisplayTypeName(object, type);
    return Record(type, &name);
  }
  std::uint32_t TypeOf(std::uint32_t special) {
    const auto [found, fresh] = index_of_type_.try_emplace({special, ""}, static_cast<std::uint32_t>(excerpt_.types.size()));
    if (fresh) {
      excerpt_.types.emplace_back().name = "<not a type>";
      facts_.push_back(nullptr);
    }
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
      facts_.push_back(&type);
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

  // Each thread names labels in a table of its own; the tables are put together at the end, in an order that does not tell who did what.
  bool LabelCycles() {
    excerpt_.label.assign(excerpt_.graph.edge_count(), 0);
    NodeSet cyclic(excerpt_.components.count());
    for (NodeId c = 0; c < excerpt_.components.count(); ++c) {
      if (graph::IsCyclic(excerpt_.graph, excerpt_.components, c)) cyclic.Insert(c);
    }
    const std::size_t pieces = (std::size_t{excerpt_.size()} + (std::size_t{1} << kPieceShift) - 1) >> kPieceShift;
    const unsigned threads = ThreadCount(limits_.threads, pieces);
    std::vector<LabelTable> tables(threads, LabelTable(reader_));
    std::vector<CodeNameTable> names(threads, CodeNameTable(reader_));
    std::vector<bool> named;  // by type
    for (const heap::TypeRecord& type : excerpt_.types) named.push_back(objects::HasCodeName(type.name));
    excerpt_.code_name.assign(excerpt_.size(), 0);
    std::vector<unsigned> done_by(pieces);
    const auto range_of = [&](std::size_t piece) {
      return std::pair{static_cast<NodeId>(piece << kPieceShift),
                       static_cast<NodeId>(std::min<std::uint64_t>((piece + 1) << kPieceShift, excerpt_.size()))};
    };
    const auto tick = [&](std::size_t done) { return progress_.Update("labelling references", done << kPieceShift, excerpt_.size()); };
    const auto label = [&](std::size_t piece, unsigned thread) {
      done_by[piece] = thread;
      const auto range = range_of(piece);
      const NodeId begin = range.first, end = range.second;  // no structured binding: clang before 16 cannot capture one
      std::vector<objects::LabelledReferent> referents;
      const auto in_cycle = [&](std::size_t n) { return n < end && cyclic.Contains(excerpt_.components.component_of[n]); };
      for (NodeId n = begin; n < end; ++n) {
        if (const std::size_t next = n + kLookAhead; in_cycle(next)) __builtin_prefetch(process_.memory.At(excerpt_.address[next], 0));
        if (const std::size_t at = n + kTableAfter; in_cycle(at)) {
          if (const TypeFacts* const type = facts_[excerpt_.type[at]]) reader_.PrefetchReferents(excerpt_.address[at], *type);
        }
        if (!in_cycle(n)) continue;
        LabelReferences(n, referents, tables[thread]);
        const std::uint32_t type = excerpt_.type[n];
        if (named[type]) excerpt_.code_name[n] = names[thread].IdOf(excerpt_.address[n], excerpt_.types[type].name);
      }
      return true;
    };
    if (!ForEachPiece(pieces, threads, label, tick)) return false;
    const std::vector<std::vector<std::uint32_t>> renamed = PutTogether(tables, excerpt_.label_texts), renamed_names = PutTogether(names, excerpt_.code_names);
    for (std::size_t piece = 0; piece < pieces; ++piece) {
      const auto [begin, end] = range_of(piece);
      const std::uint64_t last = end == excerpt_.size() ? excerpt_.graph.edge_count() : excerpt_.graph.FirstEdge(end);
      for (std::uint64_t e = excerpt_.graph.FirstEdge(begin); e < last; ++e) excerpt_.label[e] = renamed[done_by[piece]][excerpt_.label[e]];
      for (NodeId n = begin; n < end; ++n) excerpt_.code_name[n] = renamed_names[done_by[piece]][excerpt_.code_name[n]];
    }
    return true;
  }
  // Fills `texts` with those of all tables, sorted, and says for each table what its ids have become.
  template <typename Table>
  static std::vector<std::vector<std::uint32_t>> PutTogether(const std::vector<Table>& tables, std::vector<std::string>& texts) {
    std::map<std::string_view, std::uint32_t> ids{{"", 0}};
    for (const Table& table : tables) {
      for (const std::string& text : table.texts()) ids.try_emplace(text, 0);
    }
    for (auto& [text, id] : ids) {
      id = static_cast<std::uint32_t>(texts.size());
      texts.emplace_back(text);
    }
    std::vector<std::vector<std::uint32_t>> renamed(tables.size());
    for (std::size_t i = 0; i < tables.size(); ++i) {
      for (const std::string& text : tables[i].texts()) renamed[i].push_back(ids.find(text)->second);
    }
    return renamed;
  }
  void LabelReferences(NodeId n, std::vector<objects::LabelledReferent>& referents, LabelTable& labels) {
    const Address object = excerpt_.address[n];
    const NodeId component = excerpt_.components.component_of[n];
    const TypeFacts* const type = facts_[excerpt_.type[n]];
    if (type == nullptr) return;
    referents.clear();
    reader_.LabelledReferents(object, *type, referents);
    const std::span<const NodeId> successors = excerpt_.graph.Successors(n);
    const std::uint64_t first = excerpt_.graph.FirstEdge(n);
    // The two readings list the same references in the same order, this one those that are no part of the excerpt too.
    std::size_t position = 0;
    for (const objects::LabelledReferent& r : referents) {
      if (position == successors.size()) return;
      if (excerpt_.address[successors[position]] != r.referent) continue;
      if (excerpt_.components.component_of[successors[position]] == component) excerpt_.label[first + position] = labels.IdOf(r);
      ++position;
    }
  }

  const objects::ObjectReader& reader_;
  const target::Process& process_;
  const heap::HeapSnapshot& heap_;
  const NodeSet& nodes_;
  const Limits& limits_;
  ProgressSink& progress_;
  cpython::ObjectHeaderReader header_;
  heap::ObjectIndex index_;
  std::vector<Piece> pieces_;
  std::atomic<std::uint64_t> references_{0};
  std::uint64_t max_references_ = 0;
  std::vector<std::uint8_t> member_;  // by index id: one of nodes_
  std::vector<std::uint32_t> offsets_;
  std::vector<NodeId> edges_;
  std::vector<NodeId> local_;  // by index id: id in the excerpt
  std::map<std::pair<std::uint32_t, std::string>, std::uint32_t> index_of_type_;
  std::vector<std::uint32_t> plain_types_;  // by TypeFacts::id: index + 1
  std::vector<const TypeFacts*> facts_;     // of each of excerpt_.types; nullptr: not to be read
  heap::Excerpt excerpt_;
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
