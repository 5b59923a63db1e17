#include "core/snapshot/traverse_check.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/base/parallel.h"

namespace pygc::snapshot {
namespace {

using heap::NodeId;
using objects::ReaderKind;
using objects::ReferentQuality;
using objects::TypeFacts;

constexpr std::size_t kPiecesAtOnce = 256;  // so that what pieces hold before they are merged stays small

bool HasNativeReader(const TypeFacts& type) {
  return type.tp_traverse != 0 && type.reader != ReaderKind::kNone && type.reader != ReaderKind::kMachine && type.reader != ReaderKind::kScan;
}

class Check {
 public:
  Check(const objects::ObjectReader& reader, const objects::TraverseInterpreter& machine, const heap::HeapSnapshot& heap, const TraverseCheckOptions& options,
        ProgressSink& progress)
      : reader_(reader), machine_(machine), heap_(heap), options_(options), progress_(progress) {}

  TraverseCheck Run() {
    facts_.reserve(heap_.types.size());
    for (const heap::TypeRecord& t : heap_.types) facts_.push_back(t.address == 0 ? nullptr : reader_.Type(t.address));
    const std::size_t pieces = (std::size_t{heap_.size()} + (std::size_t{1} << options_.piece_shift) - 1) >> options_.piece_shift;
    for (std::size_t first = 0; first < pieces && !out_.stopped; first += kPiecesAtOnce) {
      std::vector<Piece> done(std::min(kPiecesAtOnce, pieces - first));
      out_.stopped = !ForEachPiece(
          done.size(), ThreadCount(options_.limits.threads, done.size()),
          [&](std::size_t piece, unsigned) {
            Compare(first + piece, done[piece]);
            return true;
          },
          [&](std::size_t n) { return progress_.Update("comparing the native readers with tp_traverse", (first + n) << options_.piece_shift, heap_.size()); });
      for (Piece& piece : done) Merge(piece);
    }
    Finish();
    return std::move(out_);
  }

 private:
  struct Piece {
    std::map<std::uint32_t, TraverseTypeResult> types;
    std::vector<TraverseDifference> differences;
    std::uint64_t one_way = 0;
  };

  void Compare(std::size_t number, Piece& piece) const {
    const std::uint64_t begin = std::uint64_t{number} << options_.piece_shift;
    const std::uint64_t end = std::min<std::uint64_t>(begin + (std::uint64_t{1} << options_.piece_shift), heap_.size());
    objects::ReferentBuffer native, machine;
    heap_.index.ForEach(static_cast<NodeId>(begin), static_cast<NodeId>(end), [&](NodeId n, Address object) {
      const TypeFacts* const type = facts_[heap_.type[n]];
      if (type == nullptr || !(heap_.IsTracked(n) || (type->have_gc && reader_.IsGc(object, *type)))) return;
      if (!HasNativeReader(*type)) {
        piece.one_way += type->tp_traverse != 0;
        return;
      }
      native.clear();
      machine.clear();
      TraverseTypeResult& result = piece.types[heap_.type[n]];
      if (!objects::IsExact(reader_.Referents(object, *type, native))) {
        ++result.native_not_exact;
      } else if (!objects::IsExact(machine_.Run(*type, object, machine, nullptr))) {
        ++result.machine_not_exact;
      } else {
        ++result.compared;
        if (native == machine) return;
        ++result.different;
        if (piece.differences.size() < kMaxDifferences) piece.differences.push_back(Describe(object, heap_.type[n], native, machine));
      }
    });
  }

  [[nodiscard]] static TraverseDifference Describe(Address object, std::uint32_t type, const objects::ReferentBuffer& native,
                                                   const objects::ReferentBuffer& machine) {
    constexpr std::uint64_t kBefore = 4;  // equal elements shown before the first difference, for orientation
    TraverseDifference d;
    d.object = object;
    d.type = type;
    d.native_count = native.size();
    d.machine_count = machine.size();
    const auto at = std::mismatch(native.begin(), native.end(), machine.begin(), machine.end());
    d.first_difference = static_cast<std::uint64_t>(at.first - native.begin());
    if (std::max(native.size(), machine.size()) > kShownReferents) d.from = d.first_difference - std::min(d.first_difference, kBefore);
    const auto cut = [&](const objects::ReferentBuffer& list, std::vector<Address>& to) {
      const std::size_t end = std::min<std::size_t>(list.size(), d.from + kShownReferents);
      for (std::size_t i = d.from; i < end; ++i) to.push_back(list[i]);
    };
    cut(native, d.native);
    cut(machine, d.machine);
    return d;
  }

  void Merge(Piece& piece) {
    out_.one_way += piece.one_way;
    for (const auto& [type, r] : piece.types) {
      TraverseTypeResult& to = types_[type];
      to.compared += r.compared;
      to.different += r.different;
      to.native_not_exact += r.native_not_exact;
      to.machine_not_exact += r.machine_not_exact;
    }
    for (TraverseDifference& d : piece.differences) {
      if (out_.differences.size() < kMaxDifferences) out_.differences.push_back(std::move(d));
    }
  }

  void Finish() {
    for (auto& [type, r] : types_) {
      r.type = type;
      if (r.native_not_exact > 0) r.reason = reader_.WhyNotExact(*facts_[type]);
      if (r.machine_not_exact > 0) r.reason = machine_.WhyNotExact(*facts_[type]);
      out_.compared += r.compared;
      out_.different += r.different;
      out_.not_compared += r.native_not_exact + r.machine_not_exact;
      out_.types.push_back(std::move(r));
    }
    out_.equal = out_.compared - out_.different;
  }

  const objects::ObjectReader& reader_;
  const objects::TraverseInterpreter& machine_;
  const heap::HeapSnapshot& heap_;
  const TraverseCheckOptions& options_;
  ProgressSink& progress_;
  std::vector<const TypeFacts*> facts_;  // by index of the type
  std::map<std::uint32_t, TraverseTypeResult> types_;
  TraverseCheck out_;
};

}  // namespace

TraverseCheck CheckTraverse(const objects::ObjectReader& reader, const objects::TraverseInterpreter& machine, const heap::HeapSnapshot& heap,
                            const TraverseCheckOptions& options, ProgressSink& progress) {
  return Check(reader, machine, heap, options, progress).Run();
}

}  // namespace pygc::snapshot
