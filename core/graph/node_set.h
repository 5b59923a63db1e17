// A set of nodes as a bitmap: one bit a node, so that the marks of ten million nodes stay in the cache.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <vector>

#include "core/graph/csr_graph.h"

namespace pygc::graph {

/// Set of nodes below node_count().
class NodeSet {
 public:
  NodeSet() = default;
  explicit NodeSet(NodeId node_count) : words_((std::uint64_t{node_count} + 63) / 64), node_count_(node_count) {}

  [[nodiscard]] bool Contains(NodeId n) const noexcept { return (words_[n >> 6] >> (n & 63)) & 1; }
  void Insert(NodeId n) noexcept { words_[n >> 6] |= std::uint64_t{1} << (n & 63); }
  void Erase(NodeId n) noexcept { words_[n >> 6] &= ~(std::uint64_t{1} << (n & 63)); }
  /// Returns true when `n` was not there before.
  bool InsertNew(NodeId n) noexcept {
    std::uint64_t& word = words_[n >> 6];
    const std::uint64_t bit = std::uint64_t{1} << (n & 63);
    const bool fresh = !(word & bit);
    word |= bit;
    return fresh;
  }
  /// The same while other threads call it too: exactly one of them is told that `n` is new.
  bool InsertNewShared(NodeId n) noexcept {
    const std::atomic_ref<std::uint64_t> word(words_[n >> 6]);
    const std::uint64_t bit = std::uint64_t{1} << (n & 63);
    if (word.load(std::memory_order_relaxed) & bit) return false;
    return !(word.fetch_or(bit, std::memory_order_relaxed) & bit);
  }
  [[nodiscard]] NodeId node_count() const noexcept { return node_count_; }
  /// Number of members. O(node_count / 64).
  [[nodiscard]] std::uint64_t Count() const noexcept {
    std::uint64_t count = 0;
    for (const std::uint64_t w : words_) count += static_cast<std::uint64_t>(std::popcount(w));
    return count;
  }
  [[nodiscard]] bool Empty() const noexcept {
    for (const std::uint64_t w : words_) {
      if (w != 0) return false;
    }
    return true;
  }
  /// Calls f(node) for every member, rising.
  template <typename F>
  void ForEach(F&& f) const {
    for (std::size_t i = 0; i < words_.size(); ++i) {
      for (std::uint64_t w = words_[i]; w != 0; w &= w - 1) f(static_cast<NodeId>(i * 64 + static_cast<unsigned>(std::countr_zero(w))));
    }
  }
  /// Members, rising.
  [[nodiscard]] std::vector<NodeId> Nodes() const {
    std::vector<NodeId> nodes;
    nodes.reserve(Count());
    ForEach([&](NodeId n) { nodes.push_back(n); });
    return nodes;
  }
  /// Takes out what is in `other` / adds what is in it / keeps only what is in it. Both have the same node_count().
  void Subtract(const NodeSet& other) noexcept {
    for (std::size_t i = 0; i < words_.size(); ++i) words_[i] &= ~other.words_[i];
  }
  void Unite(const NodeSet& other) noexcept {
    for (std::size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
  }
  void Intersect(const NodeSet& other) noexcept {
    for (std::size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
  }
  /// All nodes that are not members.
  [[nodiscard]] NodeSet Complement() const {
    NodeSet other(node_count_);
    for (std::size_t i = 0; i < words_.size(); ++i) other.words_[i] = ~words_[i];
    if (node_count_ & 63) other.words_.back() &= (std::uint64_t{1} << (node_count_ & 63)) - 1;
    return other;
  }
  friend bool operator==(const NodeSet&, const NodeSet&) = default;

 private:
  friend class NodeRanks;
  std::vector<std::uint64_t> words_;
  NodeId node_count_ = 0;
};

/// Numbers the nodes of a set, rising from 0: an index into a column of these alone. Memory: half a bit for each node of the graph, beside the set.
class NodeRanks {
 public:
  /// `set` outlives this, and does not change.
  explicit NodeRanks(const NodeSet& set) : set_(set), before_(set.words_.size()) {
    NodeId count = 0;
    for (std::size_t i = 0; i < before_.size(); ++i) {
      before_[i] = count;
      count += static_cast<NodeId>(std::popcount(set.words_[i]));
    }
  }
  /// `n` is in the set. O(1).
  [[nodiscard]] NodeId Of(NodeId n) const noexcept {
    const std::uint64_t below = (std::uint64_t{1} << (n & 63)) - 1;
    return before_[n >> 6] + static_cast<NodeId>(std::popcount(set_.words_[n >> 6] & below));
  }

 private:
  const NodeSet& set_;
  std::vector<NodeId> before_;  // by word of the set: its nodes in those before
};

}  // namespace pygc::graph
