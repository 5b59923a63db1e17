#include "core/engine/type_query.h"

#include <algorithm>
#include <set>

#include "core/engine/similar_names.h"
#include "core/report/cycle_text.h"

namespace pygc::engine {
namespace {

// `name` may be a GLOB: then the letters that it asks for.
std::string LowerLastPart(const std::string& name) {
  std::string last = name.substr(name.rfind('.') + 1);
  for (std::size_t open = last.find('['); open != std::string::npos; open = last.find('[', open)) {
    const std::size_t close = last.find(']', open);
    last.erase(open, close == std::string::npos ? close : close - open + 1);
  }
  std::erase_if(last, [](char c) { return c == '*' || c == '?'; });
  for (char& c : last) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return last;
}

}  // namespace

std::vector<heap::NodeId> ObjectsOfType(const CommandInput& in, const Labels& labels, const std::string& query) {
  const heap::HeapSnapshot& heap = in.heap;
  std::vector<bool> wanted(heap.types.size()), classic(heap.types.size());
  for (std::size_t t = 0; t < heap.types.size(); ++t) {
    wanted[t] = MatchesGlob(query, heap.types[t].name);
    classic[t] = heap.types[t].name == "instance" && heap.types[t].may_have_legacy_finalizer;  // they share one type
  }
  std::vector<heap::NodeId> found;
  heap.index.ForEach(0, heap.size(), [&](heap::NodeId n, Address a) {
    const std::uint32_t type = heap.type[n];
    if (wanted[type] || (classic[type] && MatchesGlob(query, labels.TypeName(a)))) found.push_back(n);
  });
  return found;
}

bool IsKnownType(const CommandInput& in, const Labels& labels, const std::string& query) {
  const heap::HeapSnapshot& heap = in.heap;
  std::vector<bool> is_metatype(heap.types.size()), is_classic_class(heap.types.size());
  for (std::size_t t = 0; t < heap.types.size(); ++t) {
    if (MatchesGlob(query, heap.types[t].name)) return true;
    const objects::TypeFacts* facts = heap.types[t].address == 0 ? nullptr : in.reader.Type(heap.types[t].address);
    is_metatype[t] = facts != nullptr && facts->is_type_object;
    is_classic_class[t] = heap.types[t].name == "classobj";
  }
  bool known = false;
  heap.index.ForEach(0, heap.size(), [&](heap::NodeId n, Address a) {
    if (known || !(is_metatype[heap.type[n]] || is_classic_class[heap.type[n]])) return;
    if (is_classic_class[heap.type[n]]) {
      known = MatchesGlob(report::LastName(query), labels.NameOf(a, "classobj"));
      return;
    }
    const objects::TypeFacts* self = in.reader.Type(a);
    known = self != nullptr && MatchesGlob(query, self->name);
  });
  return known;
}

std::vector<std::string> NearestTypes(const heap::HeapSnapshot& heap, const std::string& query, std::size_t max) {
  const std::string wanted = LowerLastPart(query);
  std::set<std::string> holding, spelt;
  for (const heap::TypeRecord& type : heap.types) {
    const std::string last = LowerLastPart(type.name);
    if (MatchesGlob(query, type.name)) continue;  // a type that its objects have all left
    const bool holds = wanted.size() >= 2 && last.find(wanted) != std::string::npos, is_held = last.size() >= 4 && wanted.find(last) != std::string::npos;
    if (holds || is_held) holding.insert(type.name);
    if (wanted.size() >= 3 && EditDistance(wanted, last) <= std::max<std::size_t>(1, wanted.size() / 4)) spelt.insert(type.name);
  }
  const std::set<std::string>& chosen = holding.empty() ? spelt : holding;
  std::vector<std::string> names(chosen.begin(), chosen.end());
  if (names.size() > max) names.resize(max);
  return names;
}

}  // namespace pygc::engine
