// A part of a heap in full detail: some tracked objects, everything that they alone keep alive (leaves included), sizes, and labels of the references
// inside its cycles. Made for the unreachable part, which is small, so that the whole heap needs none of these columns.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/address.h"
#include "core/graph/csr_graph.h"
#include "core/graph/scc.h"
#include "core/heap/heap_snapshot.h"

namespace pygc::heap {

/// Columns by local id; ids are in address order. Plain data.
struct Excerpt {
  std::vector<Address> address;
  std::vector<NodeId> node;         // id in the HeapSnapshot; kNoNode: untracked and only here
  std::vector<std::uint32_t> type;  // index into types (of the excerpt)
  std::vector<std::uint32_t> refcount;
  std::vector<std::uint8_t> flags;        // ObjectFlags
  std::vector<std::uint64_t> size_bytes;  // as sys.getsizeof; kUnknownSize
  graph::CsrGraph graph;                  // references between objects of the excerpt, in the order of tp_traverse
  graph::Components components;           // of `graph`
  std::vector<std::uint32_t>
      label;  // per edge (CsrGraph::FirstEdge + position), index into label_texts; 0: not labelled, because it leaves its component
  std::vector<std::string> label_texts;  // [0] is empty; ".attr", "['key']", "[3]", ... as ObjectReader::LabelText gives them, raw
  // Per object, index into code_names: what a function, generator or frame inside a cycle is called in the program's source (objects::CodeNameOf); 0: it has no
  // such name, or lies in no cycle. Empty: none has.
  std::vector<std::uint32_t> code_name;
  std::vector<std::string> code_names;  // [0] is empty
  std::vector<TypeRecord> types;

  [[nodiscard]] NodeId size() const noexcept { return static_cast<NodeId>(address.size()); }
};

}  // namespace pygc::heap
