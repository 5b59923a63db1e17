// Counts references per node in one byte each, with an overflow table for the few that have more than 255: the counts of ten million nodes stay near
// the cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/graph/csr_graph.h"
#include "core/graph/node_set.h"

namespace pygc::analysis {

/// Number of references found to each node.
class InDegree {
 public:
  explicit InDegree(graph::NodeId node_count) : low_(node_count), overflowed_(node_count) {}

  void Add(graph::NodeId n) {
    if (++low_[n] == 0) [[unlikely]] {
      overflowed_.Insert(n);
      ++high_[n];
    }
  }
  /// Add() of each, asking for the counts of those to come.
  void AddAll(std::span<const graph::NodeId> nodes) {
    constexpr std::size_t kAhead = 24;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      if (i + kAhead < nodes.size()) __builtin_prefetch(&low_[nodes[i + kAhead]], 1);
      Add(nodes[i]);
    }
  }
  /// Takes back one Add().
  void Remove(graph::NodeId n) {
    if (low_[n]-- == 0) [[unlikely]]
      --high_[n];
  }
  [[nodiscard]] std::uint64_t Count(graph::NodeId n) const {
    if (!overflowed_.Contains(n)) [[likely]]
      return low_[n];
    return high_.find(n)->second * 256 + low_[n];
  }

 private:
  std::vector<std::uint8_t> low_;
  graph::NodeSet overflowed_;
  std::unordered_map<graph::NodeId, std::uint64_t> high_;  // multiples of 256
};

}  // namespace pygc::analysis
