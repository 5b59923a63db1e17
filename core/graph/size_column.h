// Sizes by node, or by position in a tree, as a column of 16 or 32 bits each; the few that do not fit stand beside it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "core/graph/csr_graph.h"

namespace pygc::graph {

inline constexpr std::uint64_t kUnknownSize = ~std::uint64_t{0};  // size column

/// Bytes by node; kUnknownSize where a size cannot be known. Memory: a Word each, and 16 bytes for each that does not fit.
template <typename Word>
class SizeColumnOf {
 public:
  /// A size that does not fit, with its node.
  using Large = std::pair<NodeId, std::uint64_t>;

  SizeColumnOf() = default;
  SizeColumnOf(std::initializer_list<std::uint64_t> sizes) {
    for (const std::uint64_t bytes : sizes) push_back(bytes);
  }
  /// `count` unknown sizes.
  explicit SizeColumnOf(std::size_t count) : words_(count, kUnknownWord) {}
  /// What words() and large() of another one gave. Where they do not belong together, fits() is false.
  SizeColumnOf(std::vector<Word> words, std::vector<Large> large) : words_(std::move(words)), large_(std::move(large)) {}

  [[nodiscard]] std::size_t size() const noexcept { return words_.size(); }
  [[nodiscard]] bool empty() const noexcept { return words_.empty(); }
  [[nodiscard]] std::uint64_t operator[](std::size_t n) const noexcept {
    if (words_[n] < kLargeWord) [[likely]]
      return words_[n];
    return words_[n] == kUnknownWord ? kUnknownSize : FindLarge(static_cast<NodeId>(n));
  }
  void push_back(std::uint64_t bytes) {
    words_.push_back(kUnknownWord);
    if (!Set(words_.size() - 1, bytes)) AddLarge({{static_cast<NodeId>(words_.size() - 1), bytes}});
  }
  /// False where it does not fit: then AddLarge() has to follow. Several threads may set different nodes.
  [[nodiscard]] bool Set(std::size_t n, std::uint64_t bytes) noexcept {
    const bool fits = bytes < kLargeWord || bytes == kUnknownSize;
    words_[n] = !fits ? kLargeWord : bytes == kUnknownSize ? kUnknownWord : static_cast<Word>(bytes);
    return fits;
  }
  /// Rising by node, behind those added before.
  void AddLarge(const std::vector<Large>& sizes) { large_.insert(large_.end(), sizes.begin(), sizes.end()); }

  [[nodiscard]] std::span<const Word> words() const noexcept { return words_; }
  [[nodiscard]] std::span<const Large> large() const noexcept { return large_; }
  /// Exactly the nodes that say so have a large size, in their order. O(size).
  [[nodiscard]] bool fits() const noexcept {
    std::size_t next = 0;
    for (std::size_t n = 0; n < words_.size(); ++n) {
      if (words_[n] == kLargeWord && (next == large_.size() || large_[next++].first != n)) return false;
    }
    return next == large_.size();
  }
  friend bool operator==(const SizeColumnOf&, const SizeColumnOf&) = default;

 private:
  static constexpr Word kUnknownWord = std::numeric_limits<Word>::max(), kLargeWord = kUnknownWord - 1;

  [[nodiscard]] std::uint64_t FindLarge(NodeId n) const noexcept {
    const auto at = std::lower_bound(large_.begin(), large_.end(), Large(n, 0));
    return at != large_.end() && at->first == n ? at->second : kUnknownSize;
  }

  std::vector<Word> words_;
  std::vector<Large> large_;  // rising by node
};

/// Of objects: few have 64 KiB or more.
using SizeColumn = SizeColumnOf<std::uint16_t>;
/// Of what nodes dominate: few retain 4 GiB or more.
using RetainedColumn = SizeColumnOf<std::uint32_t>;

}  // namespace pygc::graph
