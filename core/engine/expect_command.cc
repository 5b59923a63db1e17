// Assertions for scripts: each is measured on the snapshot, and answered only where what could not be read cannot change the answer.
#include <fmt/format.h>

#include <algorithm>

#include "core/engine/baseline.h"
#include "core/engine/derived.h"
#include "core/engine/expectation.h"
#include "core/engine/facts.h"
#include "core/engine/findings.h"
#include "core/engine/node_path.h"
#include "core/engine/type_query.h"
#include "core/graph/retained_size.h"
#include "core/report/expect_report.h"
#include "core/report/fingerprint.h"
#include "core/report/finalizer_kind.h"

namespace pygc::engine {
namespace {

using heap::NodeId;

constexpr std::size_t kMaxNearest = 8;

class ExpectCommand {
 public:
  explicit ExpectCommand(const CommandInput& in) : in_(in), heap_(in.heap), labels_(in.reader, in.request.redact) {}

  Outcome Run() {
    for (const Expectation& e : in_.request.expectations) {
      report::ExpectRow& row = report_.rows.emplace_back();
      row.assertion = e.Text();
      row.kind = ExpectationName(e.kind);
      row.type = e.type;
      row.allowed = e.allowed;
      row.is_bytes = e.kind == ExpectationKind::kMaxRetained;
      const Answer answer = in_.header.objects_read ? Judge(e, row) : Unread(row);
      row.answer = AnswerName(answer);
      if (answer == Answer::kViolated) {
        row.fingerprint = report::ExpectationFingerprint(row.assertion);
        if (row.known_by_baseline || (in_.baseline != nullptr && in_.baseline->Has(row.fingerprint))) {
          row.answer = "known";
          continue;
        }
      }
      if (answer == Answer::kUnknown && row.reason.empty()) row.reason = in_.header.complete ? "guessed references decide it" : "not everything could be read";
      outcome_.definite = outcome_.definite || answer == Answer::kViolated;
      outcome_.wrong_usage = outcome_.wrong_usage || answer == Answer::kUnknownType;
      outcome_.partial = outcome_.partial || answer == Answer::kUnknown;
    }
    outcome_.document = Render(in_, header_, report_);
    return std::move(outcome_);
  }

 private:
  static Answer Unread(report::ExpectRow& row) {
    row.reason = "the objects could not be read";
    row.at_least = true;
    return Answer::kUnknown;
  }
  [[nodiscard]] std::size_t Limit() const {
    return in_.request.limit == 0 ? heap_.size() : static_cast<std::size_t>(std::min<std::uint64_t>(in_.request.limit, heap_.size()));
  }
  // How many there are, of which `seen` were found.
  [[nodiscard]] Measured Counted(std::uint64_t seen) const { return {seen, in_.header.complete ? std::optional(seen) : std::nullopt}; }

  Answer Judge(const Expectation& e, report::ExpectRow& row) {
    switch (e.kind) {
      case ExpectationKind::kGone:
      case ExpectationKind::kMaxCount:
        return JudgeCount(e, row);
      case ExpectationKind::kMaxRetained:
        return JudgeRetained(e, row);
      case ExpectationKind::kMaxUnreachable:
        return JudgeUnreachable(e, row);
      case ExpectationKind::kNoFinalizersPending:
        return JudgeFinalizers(e, row);
    }
    return Answer::kUnknown;
  }

  // The objects of the type. A name that no class bears is a typo as long as nothing else is known; a GLOB may as well be of classes that are gone with all of
  // their objects, so it is answered, with a warning.
  bool FindObjects(const Expectation& e, report::ExpectRow& row, std::vector<NodeId>& objects) {
    objects = ObjectsOfType(in_, labels_, e.type);
    for (const NodeId n : objects) ++(!InUse(n) ? row.unreachable : in_.verdict.IsKnownInUse(n) ? row.in_use : row.not_known);
    if (!objects.empty() || !in_.header.complete || IsKnownType(in_, labels_, e.type)) return true;
    row.nearest_types = NearestTypes(heap_, e.type, kMaxNearest);
    if (e.type.find_first_of("*?[") == std::string::npos) return false;
    std::string nearest;
    for (const std::string& name : row.nearest_types) nearest += (nearest.empty() ? "; types with objects: " : ", ") + name;
    header_.warnings.push_back(fmt::format("{}: no class has a name like '{}': a typo, or they are gone with all of their objects{}", row.assertion, e.type, nearest));
    return true;
  }

  Answer JudgeCount(const Expectation& e, report::ExpectRow& row) {
    std::vector<NodeId> objects;
    if (!FindObjects(e, row, objects)) return Answer::kUnknownType;
    row.found = objects.size();
    row.at_least = !in_.header.complete;
    const Answer answer = HoldsAtMost(Counted(objects.size()), e.allowed);
    if (answer == Answer::kViolated) AddHeld(row, std::move(objects));
    return answer;
  }

  // Those that are in use first, by the length of the shortest path.
  void AddHeld(report::ExpectRow& row, std::vector<NodeId> objects) {
    const Result<const analysis::RootPaths*> paths = RootPathsOf(in_);
    outcome_.interrupted = outcome_.interrupted || (!paths && paths.error().code == ErrorCode::kCancelled);
    const auto length = [&](NodeId n) { return paths && (*paths)->Reaches(n) ? (*paths)->DepthOf(n) : ~std::uint32_t{0}; };
    std::stable_sort(objects.begin(), objects.end(), [&](NodeId a, NodeId b) { return length(a) < length(b); });
    objects.resize(std::min(objects.size(), Limit()));
    for (const NodeId n : objects) AddObject(row, n, paths ? *paths : nullptr);
  }

  void AddObject(report::ExpectRow& row, NodeId n, const analysis::RootPaths* paths) {
    report::ExpectObject& o = row.objects.emplace_back();
    o.address = heap_.AddressOf(n);
    o.type = labels_.TypeName(o.address);
    o.state = StateName(n);
    if (paths == nullptr || !paths->Reaches(n)) return;
    const std::vector<NodeId> nodes = paths->PathTo(n);
    o.path = DescribePath(in_, labels_, nodes, paths->RootOf(nodes.front()));
  }

  // At least the objects themselves are kept; more is certain only where every reference is known.
  Answer JudgeRetained(const Expectation& e, report::ExpectRow& row) {
    std::vector<NodeId> objects;
    if (!FindObjects(e, row, objects)) return Answer::kUnknownType;
    const Result<const Retention*> retention = RetentionOf(in_);
    const bool frames_lost = AddThreadGaps(OfThreads::kFrames, in_.reader.process(), in_.reader.runtime(), &header_);  // then roots may be missing
    Measured bytes;
    bool all_sizes = true;
    for (const NodeId n : objects) {
      if (!InUse(n)) continue;
      const std::optional<std::uint64_t> size = SizeOf(n);
      all_sizes = all_sizes && size;
      bytes.least += size.value_or(0);
    }
    if (retention && in_.header.complete && in_.header.certainty == report::Certainty::kExact && !frames_lost) {
      graph::NodeSet set(heap_.size());
      for (const NodeId n : objects) set.Insert(n);
      bytes.least = graph::RetainedBySet((*retention)->tree, (*retention)->bytes, set);
      if (all_sizes) bytes.most = bytes.least;
      if (!all_sizes) row.reason = "the size of some of the objects cannot be known";
    } else if (!retention) {
      row.reason = retention.error().message;
      outcome_.interrupted = outcome_.interrupted || retention.error().code == ErrorCode::kCancelled;
    } else if (frames_lost) {
      row.reason = "stacks of threads are missing, and frames there hold objects";
    }
    row.found = bytes.least;
    row.at_least = !bytes.most;
    const Answer answer = HoldsAtMost(bytes, e.allowed);
    if (answer != Answer::kUnknown) row.reason.clear();
    if (answer == Answer::kViolated) AddKeepers(row, std::move(objects), retention ? *retention : nullptr);
    return answer;
  }

  // Those that keep most first.
  void AddKeepers(report::ExpectRow& row, std::vector<NodeId> objects, const Retention* retention) {
    const auto kept = [&](NodeId n) { return retention != nullptr ? retention->BytesOf(n) : SizeOf(n).value_or(0); };
    std::erase_if(objects, [&](NodeId n) { return !InUse(n); });
    std::stable_sort(objects.begin(), objects.end(), [&](NodeId a, NodeId b) { return kept(a) > kept(b); });
    objects.resize(std::min(objects.size(), Limit()));
    const Result<const analysis::RootPaths*> paths = RootPathsOf(in_);
    for (const NodeId n : objects) {
      AddObject(row, n, paths ? *paths : nullptr);
      row.objects.back().retained = kept(n);
    }
  }

  Answer JudgeUnreachable(const Expectation& e, report::ExpectRow& row) {
    row.found = row.unreachable = in_.verdict.unreachable;
    Measured m{in_.verdict.unreachable, std::nullopt};
    if (in_.header.complete && in_.verdict.certainty != analysis::Certainty::kUnverifiable) m.most = std::max(in_.verdict.unreachable, in_.verdict.unreachable_upper);
    row.at_least = m.most != m.least;
    const Answer answer = HoldsAtMost(m, e.allowed);
    if (answer != Answer::kViolated || in_.baseline == nullptr || in_.baseline->size() == 0) return answer;
    // The same without the structures that a baseline of `leaks` or of pygc-triage knows; what hangs on them is not told apart, so this is the most that is new.
    Request leaks = in_.request;
    leaks.command = "leaks";
    const report::LeaksReport found = FindLeaks(WithRequest(in_, leaks)).report;
    const std::uint64_t fresh = std::min(row.found - std::min(row.found, found.objects_known), found.objects_new);
    row.known_by_baseline = found.groups_known > 0 && fresh <= e.allowed && found.groups_ignored == 0;
    return answer;
  }

  // A finalizer that is due: of an object that nothing in use refers to.
  Answer JudgeFinalizers(const Expectation& e, report::ExpectRow& row) {
    std::vector<NodeId> due;
    for (NodeId n = 0; n < heap_.size(); ++n) {
      const bool dead = heap_.IsTracked(n) && !InUse(n) && !(heap_.flags[n] & heap::kFinalized);
      if (dead && !report::FinalizerKind(heap_.types[heap_.type[n]], heap_.flags[n]).empty()) due.push_back(n);
    }
    row.found = row.unreachable = due.size();
    Measured m = Counted(due.size());
    if (in_.header.certainty != report::Certainty::kExact) m.most = std::nullopt;
    row.at_least = !m.most;
    const Answer answer = HoldsAtMost(m, e.allowed);
    due.resize(std::min(due.size(), Limit()));
    if (answer == Answer::kViolated) {
      for (const NodeId n : due) AddObject(row, n, nullptr);
    }
    return answer;
  }

  [[nodiscard]] bool InUse(NodeId n) const { return in_.verdict.state[n] == analysis::State::kReachable; }
  [[nodiscard]] const char* StateName(NodeId n) const {
    return in_.verdict.StateText(n);
  }
  [[nodiscard]] std::optional<std::uint64_t> SizeOf(NodeId n) const {
    return n < heap_.size_bytes.size() && heap_.size_bytes[n] != heap::kUnknownSize ? std::optional(heap_.size_bytes[n]) : std::nullopt;
  }

  const CommandInput& in_;
  const heap::HeapSnapshot& heap_;
  report::Header header_ = in_.header;  // with warnings of its own
  Labels labels_;
  report::ExpectReport report_;
  Outcome outcome_;
};

}  // namespace

Outcome RunExpect(const CommandInput& in) { return ExpectCommand(in).Run(); }

}  // namespace pygc::engine
