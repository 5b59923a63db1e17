#include "core/engine/lost_groups.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/engine/sites.h"

namespace pygc::engine {
namespace {

using heap::LostPart;
using Item = LostPart::Item;

constexpr std::size_t kMostSitesOfGroup = 3;             // of one group
constexpr std::uint64_t kMaxSearched = 1u << 20;  // bytes of an object's memory that are looked through for one pointer

Address AddressOf(const CommandInput& in, const Item& item) { return item.object == heap::kNoNode ? item.memory.begin : in.heap.AddressOf(item.object); }

std::uint64_t SizeOf(const CommandInput& in, const Labels& labels, const Item& item) {
  if (item.object == heap::kNoNode) return labels.SizeOf(item.memory.begin);
  if (item.object >= in.heap.size_bytes.size()) return labels.SizeOf(in.heap.AddressOf(item.object));
  const std::uint64_t size = in.heap.size_bytes[item.object];
  return size == heap::kUnknownSize ? 0 : size;
}

// The offset from `base` of the first word of `from` that points into `to`; nullopt where there is none.
std::optional<std::uint64_t> OffsetOfPointer(const CommandInput& in, AddressRange from, Address base, AddressRange to) {
  const target::MemoryImage& memory = in.reader.process().memory;
  from.end = std::min(from.end, from.begin + kMaxSearched);
  for (Address at = (from.begin + 7) & ~Address{7}; at + 8 <= from.end; at += 8) {
    if (const std::byte* p = memory.At(at, 8); p != nullptr && to.Contains(LoadUnchecked<std::uint64_t>(p) & ~Address{7})) return at - base;
  }
  return std::nullopt;
}

AddressRange MemoryOf(const CommandInput& in, const Item& item) {
  if (item.object == heap::kNoNode) return item.memory;
  const Address a = in.heap.AddressOf(item.object);
  const objects::TypeFacts* const type = in.reader.Type(in.heap.types[in.heap.type[item.object]].address);
  AddressRange body = type != nullptr ? in.audit->ownership.Body(a, *type) : AddressRange{a, a + 16};
  body.begin = a;
  return body;
}

// "+0x18: block of 64 bytes at 0x7f..., +0x8": from the object through native memory to the next object.
std::string HiddenPlace(const CommandInput& in, const std::vector<const Item*>& way) {
  std::string text;
  for (std::size_t i = 0; i + 1 < way.size(); ++i) {
    const AddressRange from = MemoryOf(in, *way[i]);
    const AddressRange to = way[i + 1]->object == heap::kNoNode ? way[i + 1]->memory : AddressRange{AddressOf(in, *way[i + 1]), AddressOf(in, *way[i + 1]) + 8};
    if (i > 0) text += fmt::format("{}block of {} bytes at {:#x}", text.empty() ? "" : ": ", from.size(), from.begin);
    if (const auto offset = OffsetOfPointer(in, from, from.begin, to)) text += fmt::format("{}{:+#x}", i > 0 ? " " : "", static_cast<std::int64_t>(*offset));
  }
  return text;
}

bool IsHidden(const LostPart& part, std::uint32_t from, std::uint32_t to) {
  const auto successors = part.graph.Successors(from);
  for (std::size_t e = 0; e < successors.size(); ++e) {
    if (successors[e] == to && part.link[part.graph.FirstEdge(from) + e] == heap::LinkKind::kVisited && part.items[from].object != heap::kNoNode) return false;
  }
  return true;
}

void AddTypes(const CommandInput& in, const Labels& labels, const std::vector<std::uint32_t>& items, std::map<std::string, report::TypeCount>& types) {
  for (const std::uint32_t i : items) {
    const Item& item = in.audit->counts.lost.items[i];
    const std::string name = item.object == heap::kNoNode ? labels.TypeName(item.memory.begin) : in.heap.types[in.heap.type[item.object]].name;
    report::TypeCount& t = types[name];
    t.type = name;
    ++t.objects;
    t.bytes += SizeOf(in, labels, item);
  }
}

std::vector<report::TypeCount> Sorted(const std::map<std::string, report::TypeCount>& types) {
  std::vector<report::TypeCount> out;
  for (const auto& [name, t] : types) out.push_back(t);
  std::stable_sort(out.begin(), out.end(), [](const report::TypeCount& a, const report::TypeCount& b) { return a.bytes > b.bytes; });
  return out;
}

struct Building {
  report::LeakGroup group;
  std::map<std::string, report::TypeCount> held;
  std::vector<Address> heads;
};

// The object that a reader knows best.
std::uint32_t BestKnown(const CommandInput& in, const Labels& labels, const analysis::LostStructure& s) {
  std::uint32_t best = s.members.empty() ? s.head : s.members.front();
  std::pair<unsigned, std::string> rank{~0u, ""};
  for (const std::uint32_t i : s.members) {
    const std::string type = labels.TypeName(AddressOf(in, in.audit->counts.lost.items[i]));
    if (std::pair<unsigned, std::string> r{report::NameRank(type), type}; r < rank) {
      rank = std::move(r);
      best = i;
    }
  }
  return best;
}

}  // namespace

report::Cycle HiddenCycleOf(const CommandInput& in, const Labels& labels, const analysis::LostStructure& structure) {
  const LostPart& part = in.audit->counts.lost;
  std::vector<Address> objects;
  std::map<Address, std::string> hidden;  // of an object, where its reference to the next one lies
  for (std::size_t i = 0; i < structure.cycle.size(); ++i) {
    const std::uint32_t from = structure.cycle[i];
    if (!part.items[from].is_object) continue;
    objects.push_back(AddressOf(in, part.items[from]));
    std::vector<const Item*> way{&part.items[from]};
    std::size_t next = i;
    do {
      next = (next + 1) % structure.cycle.size();
      way.push_back(&part.items[structure.cycle[next]]);
    } while (!part.items[structure.cycle[next]].is_object && next != i);
    if (way.size() > 2 || IsHidden(part, from, structure.cycle[next])) hidden[objects.back()] = HiddenPlace(in, way);
  }
  if (objects.empty()) return {};
  report::Cycle cycle = labels.CycleOf(objects, labels.TypeName(AddressOf(in, part.items[BestKnown(in, labels, structure)])));
  for (report::CycleStep& step : cycle) {
    const auto at = hidden.find(step.address);
    if (step.elided != 0 || at == hidden.end()) continue;
    // What the object is known to own there has a name; anything else lies where it was found.
    step.label = fmt::format("[not visited: {}]", !step.label.empty() ? step.label : !at->second.empty() ? at->second : "native memory");
    step.kind = report::EdgeKind::kOther;
    step.key.clear();
  }
  return cycle;
}

void FillHeld(const CommandInput& in, const Labels& labels, std::vector<report::RefcountFinding>& rows) {
  if (in.audit == nullptr) return;
  std::vector<std::pair<Address, const analysis::LostStructure*>> heads;
  for (const analysis::LostStructure& s : in.audit->lost) {
    if (s.kind == analysis::CountFindingKind::kLost) heads.emplace_back(AddressOf(in, in.audit->counts.lost.items[s.head]), &s);
  }
  std::sort(heads.begin(), heads.end());
  for (report::RefcountFinding& row : rows) {
    row.bytes = row.bytes_with_held = row.freed ? 0 : labels.SizeOf(row.object);
    const auto at = std::lower_bound(heads.begin(), heads.end(), std::pair<Address, const analysis::LostStructure*>{row.object, nullptr});
    if (at == heads.end() || at->first != row.object) continue;
    std::map<std::string, report::TypeCount> held;
    AddTypes(in, labels, at->second->held, held);
    row.held = Sorted(held);
    for (const report::TypeCount& t : row.held) row.bytes_with_held += t.bytes;
  }
}

std::vector<std::pair<Address, std::uint64_t>> LostBytes(const CommandInput& in, const Labels& labels) {
  std::vector<std::pair<Address, std::uint64_t>> result;
  if (in.audit == nullptr) return result;
  const std::vector<Item>& items = in.audit->counts.lost.items;
  for (const analysis::LostStructure& s : in.audit->lost) {
    if (s.kind != analysis::CountFindingKind::kLost) continue;
    const Address head = AddressOf(in, items[s.head]);
    std::uint64_t bytes = labels.SizeOf(head);
    for (const std::uint32_t i : s.held) bytes += SizeOf(in, labels, items[i]);
    result.emplace_back(head, bytes);
  }
  std::sort(result.begin(), result.end());
  return result;
}

std::vector<report::LeakGroup> LostGroups(const CommandInput& in, const Labels& labels, std::uint64_t max_addresses) {
  if (in.audit == nullptr) return {};
  const std::vector<Item>& items = in.audit->counts.lost.items;
  std::map<std::pair<int, std::string>, Building> made;
  for (const analysis::LostStructure& s : in.audit->lost) {
    const bool hidden = s.kind == analysis::CountFindingKind::kHiddenCycle;
    const std::uint32_t head = hidden ? BestKnown(in, labels, s) : s.head;
    const Address address = AddressOf(in, items[head]);
    const std::string type = labels.TypeName(address);
    std::map<std::string, report::TypeCount> members;
    AddTypes(in, labels, s.members, members);
    std::string key = type;
    for (const auto& [name, t] : members) key += fmt::format("\n{} {}", t.objects, name);
    Building& b = made[{hidden ? 1 : 0, key}];
    report::LeakGroup& g = b.group;
    if (g.count == 0) {
      g.severity = report::Severity::kDefinite;
      g.reason = hidden ? report::Reason::kHiddenCycle : report::Reason::kLost;
      g.type = type;
      g.members = Sorted(members);
      if (hidden) g.cycle = HiddenCycleOf(in, labels, s);
      if (items[head].object != heap::kNoNode) g.interpreter = in.heap.InterpreterIdOf(items[head].object).value_or(0);
    }
    ++g.count;
    g.objects += s.members.size();
    for (const std::uint32_t i : s.members) g.bytes += SizeOf(in, labels, items[i]);
    AddTypes(in, labels, s.held, b.held);
    b.heads.push_back(address);
  }
  std::vector<report::LeakGroup> groups;
  for (auto& [key, b] : made) {
    report::LeakGroup& g = b.group;
    g.bytes_with_held = g.bytes;
    for (const auto& [name, t] : b.held) g.bytes_with_held += t.bytes;
    g.held = Sorted(b.held);
    std::sort(b.heads.begin(), b.heads.end());
    g.name = labels.NamesOf(b.heads, g.type);
    if (g.cycle.empty()) g.code_name = labels.CodeNameOfAll(b.heads, g.type);
    g.sites = SitesOf(in, b.heads, kMostSitesOfGroup);
    if (b.heads.size() > max_addresses) b.heads.resize(max_addresses);
    g.addresses = std::move(b.heads);
    groups.push_back(std::move(g));
  }
  std::stable_sort(groups.begin(), groups.end(), [](const report::LeakGroup& a, const report::LeakGroup& b) { return a.bytes_with_held > b.bytes_with_held; });
  return groups;
}

}  // namespace pygc::engine
