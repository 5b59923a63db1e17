#include "core/snapshot/list_order.h"

#include <utility>

#include "core/snapshot/gc_links.h"

namespace pygc::snapshot {

std::vector<heap::NodeId> InListOrder(const target::MemoryImage& memory, const cpython::GcHeadFormat& format, const cpython::Interpreter& interpreter,
                                      const heap::HeapSnapshot& heap, const graph::NodeSet& wanted) {
  const GcLinks links(memory, format);
  graph::NodeSet left = wanted;
  std::vector<heap::NodeId> order;
  std::vector<Address> heads;
  if (!interpreter.generations.empty()) heads.push_back(interpreter.generations.back().head);
  for (std::size_t g = 0; g + 1 < interpreter.generations.size(); ++g) heads.push_back(interpreter.generations[g].head);
  std::uint64_t steps = heap.size();  // all lists together hold no more objects than were found
  for (const Address head : heads) {
    if (head == 0) continue;
    for (std::optional<Address> at = links.Next(head); at && *at != head && steps > 0; at = links.Next(*at), --steps) {
      const heap::NodeId n = heap.index.Find(links.ObjectOf(*at));
      if (n == heap::kNoNode || !left.Contains(n)) continue;
      order.push_back(n);
      left.Erase(n);
    }
  }
  left.ForEach([&](heap::NodeId n) { order.push_back(n); });
  return order;
}

}  // namespace pygc::snapshot
