#include "core/engine/deficit_sources.h"

#include <algorithm>
#include <map>

namespace pygc::engine {
namespace {

using analysis::CountFinding;
using analysis::CountFindingKind;
using heap::NodeId;
using objects::ReaderKind;
using objects::TypeFacts;

// The C type whose tp_traverse shows what instances refer to; nullptr where that is no machine code of an extension module.
const TypeFacts* ForeignTraverse(const objects::ObjectReader& reader, const heap::TypeRecord& record) {
  const TypeFacts* const type = record.address != 0 ? reader.Type(record.address) : nullptr;
  if (type == nullptr || IsOfInterpreter(reader, record)) return nullptr;
  const TypeFacts* const shows = type->reader == ReaderKind::kInstance ? type->traverse_base : type;
  return shows != nullptr && shows->traverse_reader == ReaderKind::kMachine ? shows : nullptr;
}

constexpr unsigned kMaxLooks = 64;  // instances of one type that are run to see which words are visited

// A word of the object that leads to `to` and that is visited more than once; 0 where there is none, and where the places are not known.
Address VisitedTwice(const objects::ObjectReader& reader, const objects::Ownership& ownership, Address object, const TypeFacts& type, Address to) {
  std::vector<Address> slots;
  ownership.VisitedSlots(object, type, slots);
  std::sort(slots.begin(), slots.end());
  for (auto at = std::adjacent_find(slots.begin(), slots.end()); at != slots.end(); at = std::adjacent_find(at + 1, slots.end())) {
    if (reader.process().memory.ReadPointer(*at).value_or(0) == to) return *at;
  }
  return 0;
}

}  // namespace

bool IsOfInterpreter(const objects::ObjectReader& reader, const heap::TypeRecord& type) {
  const target::Process& process = reader.process();
  const std::uint32_t module = reader.runtime().module_index;
  return type.module_file.empty() || type.module_file.find("/lib-dynload/") != std::string::npos ||
         (module < process.modules.size() && process.modules[module].path == type.module_file);
}

std::vector<DeficitSource> FindDeficitSources(const objects::ObjectReader& reader, const objects::Ownership& ownership, const heap::HeapSnapshot& heap, const std::vector<CountFinding>& findings) {
  std::map<NodeId, std::uint32_t> too_few;  // object: references beyond its count
  for (const CountFinding& f : findings) {
    if (f.kind == CountFindingKind::kDeficit && f.object != heap::kNoNode) too_few[f.object] = f.known - f.recorded;
  }
  if (too_few.empty()) return {};
  std::vector<const TypeFacts*> foreign(heap.types.size());
  for (std::size_t t = 0; t < foreign.size(); ++t) foreign[t] = ForeignTraverse(reader, heap.types[t]);
  struct Shown {
    std::map<NodeId, std::uint32_t> references;
    NodeId example = heap::kNoNode;
    Address twice = 0;
    unsigned looks = 0;
  };
  std::map<const TypeFacts*, Shown> shown;
  for (NodeId n = 0; n < heap.size(); ++n) {
    const TypeFacts* const type = foreign[heap.type[n]];
    if (type == nullptr || (heap.flags[n] & (heap::kApproximate | heap::kFault)) != 0) continue;
    std::map<NodeId, unsigned> own;
    for (const NodeId to : heap.graph.Successors(n)) {
      if (too_few.find(to) == too_few.end()) continue;
      Shown& s = shown[type];
      ++s.references[to];
      if (s.example == heap::kNoNode) s.example = n;
      if (++own[to] != 2 || s.twice != 0 || s.looks++ >= kMaxLooks) continue;
      s.twice = VisitedTwice(reader, ownership, heap.AddressOf(n), *reader.Type(heap.types[heap.type[n]].address), heap.AddressOf(to));
      if (s.twice != 0) s.example = n;
    }
  }
  std::vector<DeficitSource> sources;
  for (auto& [type, s] : shown) {
    std::erase_if(s.references, [&](const auto& r) { return r.second < too_few[r.first]; });
    DeficitSource& source = sources.emplace_back();
    source.type = type;
    source.example = s.example;
    source.twice = s.twice;
    for (const auto& [object, references] : s.references) source.objects.push_back(object);
  }
  std::sort(sources.begin(), sources.end(), [](const DeficitSource& a, const DeficitSource& b) {
    return a.objects.size() != b.objects.size() ? a.objects.size() > b.objects.size() : a.type->address < b.type->address;
  });
  std::map<NodeId, bool> taken;
  for (DeficitSource& source : sources) {
    std::erase_if(source.objects, [&](NodeId n) { return !taken.emplace(n, true).second; });
    for (const NodeId n : source.objects) source.references += shown[source.type].references[n];
  }
  std::erase_if(sources, [](const DeficitSource& s) { return s.objects.size() < (s.twice != 0 ? 1 : 2); });
  return sources;
}

}  // namespace pygc::engine
