#include "core/engine/edge_labels.h"

#include <algorithm>

#include "core/report/escape.h"

namespace pygc::engine {
namespace {

constexpr std::size_t kMaxKey = 64;  // characters of a str key that whole-heap commands print (contract.md, Values)

}  // namespace

// A key that somebody put into a __dict__ is data: no program writes it as an attribute.
std::string ProgramText(std::string label) {
  constexpr std::string_view kName = "attribute name ";
  const std::size_t begin = label.starts_with(kName) ? kName.size() : label.starts_with(".") ? 1 : label.size();
  const bool is_name = std::all_of(label.begin() + static_cast<std::ptrdiff_t>(begin), label.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || static_cast<unsigned char>(c) >= 0x80;
  });
  return is_name ? label : label.substr(0, begin) + "…";
}

std::string EdgeLabels::TextOf(const objects::LabelledReferent& r) const {
  const bool has_key = r.kind == objects::SlotKind::kDictValue || r.kind == objects::SlotKind::kDictKey;
  if (has_key && redact_) return r.kind == objects::SlotKind::kDictKey ? "key …" : "['…']";
  if (redact_) return ProgramText(reader_.LabelText(r));
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
  // Both lists are in the same order; the graph leaves out what is no object.
  const auto name = [&](std::size_t edge, std::size_t end) {
    for (const objects::LabelledReferent& r : referents_) {
      if (edge == end) return;
      if (heap_.index.Find(r.referent) == successors[edge]) labels[edge++] = TextOf(r);
    }
  };
  const std::size_t visited = successors.size() - heap_.OwnsBeside(node);
  name(0, visited);
  if (visited == successors.size()) return;
  referents_.clear();
  OwnedBeside(node, referents_);
  name(visited, successors.size());
}

void EdgeLabels::OwnedBeside(heap::NodeId node, std::vector<objects::LabelledReferent>& out, const objects::ReferentFilter& filter) const {
  const std::uint32_t count = heap_.OwnsBeside(node);
  const Address type_address = heap_.types[heap_.type[node]].address;
  const objects::TypeFacts* const type = count == 0 || type_address == 0 ? nullptr : reader_.Type(type_address);
  if (type == nullptr) return;
  // The names that dicts share are the class's, and of one dict where no class has them any more.
  const Address object = heap_.AddressOf(node);
  bool shares = type->body == objects::BodyKind::kTypeObject;
  if (!shares && ownership_.SharedKeys(object, *type) != 0) {
    std::vector<objects::OwnedSlot> own;
    ownership_.NotVisited(object, *type, own);
    const auto found = std::count_if(own.begin(), own.end(), [&](const objects::OwnedSlot& slot) { return heap_.index.Find(slot.referent) != heap::kNoNode; });
    shares = count > static_cast<std::uint64_t>(found);
  }
  ownership_.LabelledNotVisited(object, *type, shares, out, filter);
}

}  // namespace pygc::engine
