#include "core/engine/edge_labels.h"

#include "core/report/escape.h"

namespace pygc::engine {
namespace {

constexpr std::size_t kMaxKey = 64;  // characters of a str key that whole-heap commands print (contract.md, Values)

}  // namespace

std::string EdgeLabels::TextOf(const objects::LabelledReferent& r) const {
  const bool has_key = r.kind == objects::SlotKind::kDictValue || r.kind == objects::SlotKind::kDictKey;
  if (has_key && redact_) return r.kind == objects::SlotKind::kDictKey ? "key …" : "['…']";
  if (has_key) {
    const std::optional<std::string> key = reader_.Text(r.key, kMaxKey + 1);
    if (key && report::CodePoints(*key) > kMaxKey) {
      const std::string cut = reader_.Text(r.key, kMaxKey).value_or("") + "…";
      return r.kind == objects::SlotKind::kDictKey ? fmt::format("key '{}'", cut) : fmt::format("['{}']", cut);
    }
  }
  return reader_.LabelText(r);
}

void EdgeLabels::Of(heap::NodeId node, std::vector<std::string>& labels) {
  const auto successors = heap_.graph.Successors(node);
  labels.assign(successors.size(), {});
  const Address type_address = heap_.types[heap_.type[node]].address;
  const objects::TypeFacts* const type = type_address == 0 ? nullptr : reader_.Type(type_address);
  if (successors.empty() || type == nullptr) return;
  referents_.clear();
  reader_.LabelledReferents(heap_.AddressOf(node), *type, referents_);
  // Both lists are in the order of tp_traverse; the graph leaves out what is no object.
  std::size_t edge = 0;
  for (const objects::LabelledReferent& r : referents_) {
    if (edge == successors.size()) return;
    if (heap_.index.Find(r.referent) == successors[edge]) labels[edge++] = TextOf(r);
  }
}

}  // namespace pygc::engine
