// The part of a heap that is in use by its counts alone: nothing real leads to it (no stack, no static data, no interpreter, no native memory that is itself
// reached), and the collector does not call it garbage. Objects, and the native blocks between them, with every reference that was found. Plain data.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/address.h"
#include "core/graph/csr_graph.h"

namespace pygc::heap {

/// Where a reference of the lost part lies.
enum class LinkKind : std::uint8_t {
  kVisited,  // tp_traverse shows it
  kOwned,    // known, but no traversal shows it: a name, a constant
  kWord,     // a word in an object whose memory is not known in full
  kBlock,    // from an object to a native block, or from a block to what its words lead to
};

struct LostPart {
  /// An object, or a block of native memory that only lost objects lead to.
  struct Item {
    graph::NodeId object = graph::kNoNode;  // kNoNode: a block, or an object that is no node of the snapshot
    AddressRange memory;                    // of a block; begins at the object where it is one
    bool is_object = false;
    bool count_unexplained = false;         // a block that is an object, or begins like one, and whose count is higher than the references to it here: something else may have it
    bool traversal_guessed = false;         // its tp_traverse was not followed (to its end): any of its words and blocks may be what that visits
  };
  std::vector<Item> items;       // objects by id, then blocks by address
  graph::CsrGraph graph;         // between items
  std::vector<LinkKind> link;    // per edge of `graph` (CsrGraph::FirstEdge + position)
};

}  // namespace pygc::heap
