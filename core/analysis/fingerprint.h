// A number for the look of a component: types, shape, labels. Equal for equal structures whatever their addresses, in this process and in another
// one.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/heap/excerpt.h"

namespace pygc::analysis {

/// Hash of a text that is the same on every machine (not std::hash).
[[nodiscard]] std::uint64_t StableHash(std::string_view text) noexcept;
/// Spreads the bits of a number.
[[nodiscard]] constexpr std::uint64_t Mix(std::uint64_t x) noexcept {
  x ^= x >> 32;
  x *= 0xE9846AF9B1A615Dull;
  x ^= x >> 32;
  x *= 0xE9846AF9B1A615Dull;
  return x ^ x >> 28;
}

/// Fingerprints components of one excerpt by colour refinement (Weisfeiler and Leman 1968): every object starts with the colour of its type (a
/// function, generator or frame: of its type and its name in the source), and takes in each round the colours that its labelled references inside the component lead to, and those that lead to it, until a round tells no more
/// objects apart.
class Fingerprinter {
 public:
  explicit Fingerprinter(const heap::Excerpt& excerpt);

  /// O(rounds * (V + E)) of the component; at most `rounds` rounds. Several threads may ask, each for another component.
  [[nodiscard]] std::uint64_t Of(graph::NodeId component, int rounds);
  /// The last colour of an object whose component was asked for: what it is in its structure, whatever the addresses.
  [[nodiscard]] std::uint64_t ColourOf(graph::NodeId n) const noexcept { return colour_[n]; }

 private:
  [[nodiscard]] std::size_t CountColours(std::span<const graph::NodeId> members, std::vector<std::uint64_t>& table) const;

  const heap::Excerpt& excerpt_;
  std::vector<std::uint64_t> type_hash_, name_hash_;  // name_hash_[0]: 0
  struct LabelHashes {
    std::uint64_t forward, backward;  // mixed for either end of a reference
  };
  std::vector<LabelHashes> label_hash_;
  std::vector<std::uint64_t> colour_, next_;  // per object of the excerpt
};

}  // namespace pygc::analysis
