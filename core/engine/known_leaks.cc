#include "core/engine/known_leaks.h"

#include <algorithm>
#include <map>

#include "core/audit/reference_counter.h"
#include "core/cpython/known_counts.h"

namespace pygc::engine {
namespace {

using analysis::CountFinding;
using analysis::CountFindingKind;

constexpr std::size_t kMaxCandidates = 4096;  // findings of a type that has a known leak
constexpr std::size_t kMaxJudged = 1u << 18;
constexpr std::size_t kMaxHolders = 8;

class Matcher {
 public:
  Matcher(const audit::AuditInput& in, const Labels& labels, const analysis::CountAudit& audit) : in_(in), labels_(labels), audit_(audit), known_(cpython::KnownSurpluses(in.reader.runtime().layout.version)) {}

  [[nodiscard]] bool MayBeKnown(const CountFinding& f) const {
    if (f.kind == CountFindingKind::kDeficit) return false;
    const std::string type = TypeOf(f);
    return std::any_of(known_.begin(), known_.end(), [&](const cpython::KnownSurplus& k) { return type == k.type && f.recorded - f.known - f.possible <= k.by; });
  }
  // Empty where it is none.
  [[nodiscard]] std::string Cause(const CountFinding& f, const std::vector<audit::Holder>& holders) const {
    const std::string type = TypeOf(f);
    const std::string name = labels_.NameOf(f.address, type);
    for (const cpython::KnownSurplus& k : known_) {
      if (type != k.type || f.recorded - f.known - f.possible > k.by) continue;
      const bool named = k.name.empty() || name == k.name || std::any_of(holders.begin(), holders.end(), [&](const audit::Holder& h) { return h.place == k.name; });
      if (named && Has(f, k) && HasShape(f, k.shape) && (k.text.empty() || TextOf(f.address) == k.text)) return std::string(k.cause);
    }
    return "";
  }

 private:
  [[nodiscard]] Address PointerAt(Address object, cpython::Field field) const {
    const cpython::Layout& layout = in_.reader.runtime().layout;
    return layout.Has(field) ? in_.reader.process().memory.ReadPointer(object + layout.Offset(field)).value_or(0) : 0;
  }
  [[nodiscard]] std::string TypeOf(const CountFinding& f) const {
    return f.object != heap::kNoNode ? in_.heap.types[in_.heap.type[f.object]].name : labels_.TypeName(f.address);
  }
  [[nodiscard]] std::string TextOf(Address a) const {
    const std::vector<Address> items = ItemsOf(a);
    return in_.reader.Text(items.size() == 1 ? items.front() : a, 64).value_or("");
  }
  [[nodiscard]] bool IsCythonCode(Address code) const {
    const std::string file = in_.reader.Text(PointerAt(code, cpython::Field::PyCodeObject_co_filename), 4096).value_or("");
    return file.ends_with(".pyx") || file.ends_with(".pxd") || file.ends_with(".pxi") || file == "<stringsource>" || file == "stringsource";
  }
  [[nodiscard]] std::vector<Address> ItemsOf(Address tuple) const {
    const Address type_address = in_.reader.process().memory.ReadPointer(tuple + in_.reader.runtime().layout.Offset(cpython::Field::PyObject_ob_type)).value_or(0);
    const objects::TypeFacts* const type = in_.reader.Type(type_address);
    objects::ReferentBuffer items;
    if (type == nullptr || type->reader != objects::ReaderKind::kTuple || !objects::IsExact(in_.reader.Referents(tuple, *type, items))) return {};
    // tuple_traverse() goes from the last to the first.
    if (!items.empty() && PointerAt(tuple, cpython::Field::PyTupleObject_ob_item) == *(items.end() - 1)) return {std::make_reverse_iterator(items.end()), std::make_reverse_iterator(items.begin())};
    return {items.begin(), items.end()};
  }
  // The names that a code object of Cython's was made with: it has the same ones, in a tuple of its own (3.11+), with those of cells behind them.
  [[nodiscard]] bool AreCythonNames(Address tuple) const {
    const std::vector<Address> names = ItemsOf(tuple);
    if (names.empty()) return false;
    if (!looked_for_names_) FindCythonNames();
    for (auto at = cython_names_.lower_bound(names.front()); at != cython_names_.end() && at->first == names.front(); ++at) {
      if (at->second.size() >= names.size() && std::equal(names.begin(), names.end(), at->second.begin())) return true;
    }
    return false;
  }
  void FindCythonNames() const {
    looked_for_names_ = true;
    const auto add = [&](Address code) {
      if (!IsCythonCode(code)) return;
      std::vector<Address> names = ItemsOf(PointerAt(code, cpython::Field::PyCodeObject_co_localsplusnames));
      if (!names.empty()) cython_names_.emplace(names.front(), std::move(names));
    };
    std::vector<bool> is_code;
    for (const heap::TypeRecord& t : in_.heap.types) is_code.push_back(t.name == "code");
    in_.heap.index.ForEach(0, in_.heap.size(), [&](heap::NodeId n, Address a) {
      if (is_code[in_.heap.type[n]]) add(a);
    });
    for (const CountFinding& f : audit_.findings) {
      if (f.object == heap::kNoNode && TypeOf(f) == "code") add(f.address);
    }
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
      return f.object != heap::kNoNode && module != nullptr && own < process.modules.size() && module != &process.modules[own];
    }
    if (shape == cpython::KnownSurplus::Shape::kCythonCode) return f.kind == CountFindingKind::kLost && IsCythonCode(f.address);
    if (shape == cpython::KnownSurplus::Shape::kNumpyPromoter) {
      const std::vector<Address> items = ItemsOf(f.address);
      if (f.kind != CountFindingKind::kSurplus || items.size() != 2 || labels_.TypeName(items[0]) != "tuple") return false;
      const std::string how = labels_.TypeName(items[1]);
      return how == "PyCapsule" || how == "numpy._ArrayMethod";
    }
    if (shape == cpython::KnownSurplus::Shape::kCythonNames) return f.kind == CountFindingKind::kLost && AreCythonNames(f.address);
    return true;
  }
  [[nodiscard]] bool Has(const CountFinding& f, const cpython::KnownSurplus& k) const {
    if (k.has.empty()) return true;
    const Address type_address = f.object != heap::kNoNode ? in_.heap.types[in_.heap.type[f.object]].address : PointerAt(f.address, cpython::Field::PyObject_ob_type);
    const objects::TypeFacts* const type = in_.reader.Type(type_address);
    if (type == nullptr) return false;
    std::vector<objects::LabelledReferent> labelled;
    in_.reader.LabelledReferents(f.address, *type, labelled);
    return std::any_of(labelled.begin(), labelled.end(), [&](const objects::LabelledReferent& l) { return in_.reader.LabelText(l) == k.has; });
  }

  const audit::AuditInput& in_;
  const Labels& labels_;
  const analysis::CountAudit& audit_;
  mutable std::multimap<Address, std::vector<Address>> cython_names_;  // by the first
  mutable bool looked_for_names_ = false;
  std::vector<cpython::KnownSurplus> known_;
};

}  // namespace

std::vector<KnownLeak> TakeKnownLeaks(const audit::AuditInput& input, const Labels& labels, analysis::CountAudit& audit, ProgressSink& progress) {
  const Matcher matcher(input, labels, audit);
  std::vector<heap::NodeId> candidates;
  bool any = false;
  for (const CountFinding& f : audit.findings) {
    if (!matcher.MayBeKnown(f)) continue;
    any = true;
    if (f.object != heap::kNoNode && candidates.size() < kMaxCandidates) candidates.push_back(f.object);
  }
  if (!any) return {};
  std::sort(candidates.begin(), candidates.end());
  const std::vector<std::vector<audit::Holder>> holders =
      candidates.empty() ? std::vector<std::vector<audit::Holder>>{} : audit::FindHolders(input, candidates, kMaxHolders, progress);
  // All are judged before one is taken out: what they are is told from the others, too.
  std::vector<KnownLeak> taken;
  std::vector<bool> is_known(audit.findings.size());
  std::size_t judged = 0;
  for (std::size_t i = 0; i < audit.findings.size() && judged < kMaxJudged; ++i) {
    const CountFinding& f = audit.findings[i];
    if (!matcher.MayBeKnown(f)) continue;
    ++judged;
    const auto at = std::lower_bound(candidates.begin(), candidates.end(), f.object);
    const bool has_holders = at != candidates.end() && *at == f.object;
    if (f.object != heap::kNoNode && !has_holders) continue;
    std::string cause = matcher.Cause(f, has_holders ? holders[static_cast<std::size_t>(at - candidates.begin())] : std::vector<audit::Holder>{});
    if (cause.empty()) continue;
    taken.push_back({f, std::move(cause)});
    is_known[i] = true;
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < audit.findings.size(); ++i) {
    if (!is_known[i]) audit.findings[kept++] = audit.findings[i];
  }
  audit.findings.resize(kept);
  return taken;
}

}  // namespace pygc::engine
