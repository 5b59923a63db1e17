#include "core/engine/known_leaks.h"

#include <algorithm>

#include "core/audit/reference_counter.h"
#include "core/cpython/known_counts.h"

namespace pygc::engine {
namespace {

using analysis::CountFinding;
using analysis::CountFindingKind;

constexpr std::size_t kMaxCandidates = 4096;  // findings of a type that has a known leak
constexpr std::size_t kMaxHolders = 8;

class Matcher {
 public:
  Matcher(const audit::AuditInput& in, const Labels& labels) : in_(in), labels_(labels), known_(cpython::KnownSurpluses(in.reader.runtime().layout.version)) {}

  [[nodiscard]] bool MayBeKnown(const CountFinding& f) const {
    if (f.kind == CountFindingKind::kDeficit || f.object == heap::kNoNode) return false;
    const std::string& type = in_.heap.types[in_.heap.type[f.object]].name;
    return std::any_of(known_.begin(), known_.end(), [&](const cpython::KnownSurplus& k) { return type == k.type && f.recorded - f.known - f.possible <= k.by; });
  }
  // Empty where it is none.
  [[nodiscard]] std::string Cause(const CountFinding& f, const std::vector<audit::Holder>& holders) const {
    const std::string& type = in_.heap.types[in_.heap.type[f.object]].name;
    const std::string name = labels_.NameOf(f.address, type);
    for (const cpython::KnownSurplus& k : known_) {
      if (type != k.type || f.recorded - f.known - f.possible > k.by) continue;
      const bool named = k.name.empty() || name == k.name || std::any_of(holders.begin(), holders.end(), [&](const audit::Holder& h) { return h.place == k.name; });
      if (named && Has(f, k) && HasShape(f, k.shape) && (k.text.empty() || in_.reader.Text(f.address, 64).value_or("") == k.text)) return std::string(k.cause);
    }
    return "";
  }

 private:
  [[nodiscard]] Address PointerAt(Address object, cpython::Field field) const {
    const cpython::Layout& layout = in_.reader.runtime().layout;
    return layout.Has(field) ? in_.reader.process().memory.ReadPointer(object + layout.Offset(field)).value_or(0) : 0;
  }
  // A slot wrapper whose description lies in another module than the interpreter's; a code object of a file that Cython compiled.
  [[nodiscard]] bool HasShape(const CountFinding& f, cpython::KnownSurplus::Shape shape) const {
    const target::Process& process = in_.reader.process();
    if (shape == cpython::KnownSurplus::Shape::kForeignWrapper) {
      // PyWrapperDescrObject.d_base follows the fields that all descriptors have.
      const cpython::Layout& layout = in_.reader.runtime().layout;
      const cpython::Field last = layout.Has(cpython::Field::PyDescrObject_d_qualname) ? cpython::Field::PyDescrObject_d_qualname : cpython::Field::PyDescrObject_d_name;
      const Address base = layout.Has(last) ? process.memory.ReadPointer(f.address + layout.Offset(last) + 8).value_or(0) : 0;
      const target::Module* module = process.FindModule(base);
      if (module == nullptr) {  // .bss
        const target::Segment* const s = process.memory.Find(base);
        module = s != nullptr ? process.FindModule(s->range.begin - 1) : nullptr;
      }
      const std::uint32_t own = in_.reader.runtime().module_index;
      return module != nullptr && own < process.modules.size() && module != &process.modules[own];
    }
    if (shape == cpython::KnownSurplus::Shape::kCythonCode) {
      const std::string file = in_.reader.Text(PointerAt(f.address, cpython::Field::PyCodeObject_co_filename), 4096).value_or("");
      return f.kind == CountFindingKind::kLost && (file.ends_with(".pyx") || file.ends_with(".pxd") || file.ends_with(".pxi") || file == "<stringsource>" || file == "stringsource");
    }
    return true;
  }
  [[nodiscard]] bool Has(const CountFinding& f, const cpython::KnownSurplus& k) const {
    if (k.has.empty()) return true;
    const objects::TypeFacts* const type = in_.reader.Type(in_.heap.types[in_.heap.type[f.object]].address);
    if (type == nullptr) return false;
    std::vector<objects::LabelledReferent> labelled;
    in_.reader.LabelledReferents(f.address, *type, labelled);
    return std::any_of(labelled.begin(), labelled.end(), [&](const objects::LabelledReferent& l) { return in_.reader.LabelText(l) == k.has; });
  }

  const audit::AuditInput& in_;
  const Labels& labels_;
  std::vector<cpython::KnownSurplus> known_;
};

}  // namespace

std::vector<KnownLeak> TakeKnownLeaks(const audit::AuditInput& input, const Labels& labels, analysis::CountAudit& audit, ProgressSink& progress) {
  const Matcher matcher(input, labels);
  std::vector<heap::NodeId> candidates;
  for (const CountFinding& f : audit.findings) {
    if (candidates.size() < kMaxCandidates && matcher.MayBeKnown(f)) candidates.push_back(f.object);
  }
  if (candidates.empty()) return {};
  std::sort(candidates.begin(), candidates.end());
  const std::vector<std::vector<audit::Holder>> holders = audit::FindHolders(input, candidates, kMaxHolders, progress);
  std::vector<KnownLeak> taken;
  std::erase_if(audit.findings, [&](const CountFinding& f) {
    const auto at = std::lower_bound(candidates.begin(), candidates.end(), f.object);
    if (at == candidates.end() || *at != f.object || !matcher.MayBeKnown(f)) return false;
    std::string cause = matcher.Cause(f, holders[static_cast<std::size_t>(at - candidates.begin())]);
    if (cause.empty()) return false;
    taken.push_back({f, std::move(cause)});
    return true;
  });
  return taken;
}

}  // namespace pygc::engine
