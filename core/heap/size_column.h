// Sizes of objects as a column of 32 bits an object; the few that do not fit stand beside it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

#include "core/graph/csr_graph.h"

namespace pygc::heap {

inline constexpr std::uint64_t kUnknownSize = ~std::uint64_t{0};  // size column

/// Bytes by node; kUnknownSize where a size cannot be known.
class SizeColumn {
 public:
  /// A size that does not fit, with its node.
  using Large = std::pair<graph::NodeId, std::uint64_t>;

  SizeColumn() = default;
  SizeColumn(std::initializer_list<std::uint64_t> sizes) {
    for (const std::uint64_t bytes : sizes) push_back(bytes);
  }
  /// `count` unknown sizes.
  explicit SizeColumn(std::size_t count) : words_(count, kUnknownWord) {}
  /// What words() and large() of another one gave. Where they do not belong together, fits() is false.
  SizeColumn(std::vector<std::uint32_t> words, std::vector<Large> large) : words_(std::move(words)), large_(std::move(large)) {}

  [[nodiscard]] std::size_t size() const noexcept { return words_.size(); }
  [[nodiscard]] bool empty() const noexcept { return words_.empty(); }
  [[nodiscard]] std::uint64_t operator[](std::size_t n) const noexcept {
    if (words_[n] < kLargeWord) [[likely]]
      return words_[n];
    return words_[n] == kUnknownWord ? kUnknownSize : FindLarge(static_cast<graph::NodeId>(n));
  }
  void push_back(std::uint64_t bytes) {
    words_.push_back(kUnknownWord);
    if (!Set(words_.size() - 1, bytes)) AddLarge({{static_cast<graph::NodeId>(words_.size() - 1), bytes}});
  }
  /// False where it does not fit: then AddLarge() has to follow. Several threads may set different nodes.
  [[nodiscard]] bool Set(std::size_t n, std::uint64_t bytes) noexcept {
    const bool fits = bytes < kLargeWord || bytes == kUnknownSize;
    words_[n] = !fits ? kLargeWord : bytes == kUnknownSize ? kUnknownWord : static_cast<std::uint32_t>(bytes);
    return fits;
  }
  /// Rising by node, behind those added before.
  void AddLarge(const std::vector<Large>& sizes) { large_.insert(large_.end(), sizes.begin(), sizes.end()); }

  [[nodiscard]] std::span<const std::uint32_t> words() const noexcept { return words_; }
  [[nodiscard]] std::span<const Large> large() const noexcept { return large_; }
  /// Exactly the nodes that say so have a large size, in their order. O(size).
  [[nodiscard]] bool fits() const noexcept {
    std::size_t next = 0;
    for (std::size_t n = 0; n < words_.size(); ++n) {
      if (words_[n] == kLargeWord && (next == large_.size() || large_[next++].first != n)) return false;
    }
    return next == large_.size();
  }
  friend bool operator==(const SizeColumn&, const SizeColumn&) = default;

 private:
  static constexpr std::uint32_t kUnknownWord = 0xFFFFFFFFu, kLargeWord = 0xFFFFFFFEu;

  [[nodiscard]] std::uint64_t FindLarge(graph::NodeId n) const noexcept {
    const auto at = std::lower_bound(large_.begin(), large_.end(), Large(n, 0));
    return at != large_.end() && at->first == n ? at->second : kUnknownSize;
  }

  std::vector<std::uint32_t> words_;
  std::vector<Large> large_;  // rising by node
};

}  // namespace pygc::heap
