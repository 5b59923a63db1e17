#include "core/analysis/fingerprint.h"

#include <algorithm>
#include <bit>

namespace pygc::analysis {

using graph::NodeId;

namespace {
constexpr std::size_t kLargeComponent = 1u << 16;
constexpr int kLargeComponentRounds = 4;
}  // namespace

std::uint64_t StableHash(std::string_view text) noexcept {
  std::uint64_t h = 0xCBF29CE484222325ull;  // FNV-1a
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
  return Mix(h);
}

Fingerprinter::Fingerprinter(const heap::Excerpt& excerpt) : excerpt_(excerpt), colour_(excerpt.size()), next_(excerpt.size()) {
  for (const heap::TypeRecord& type : excerpt.types) type_hash_.push_back(StableHash(type.name));
  for (const std::string& name : excerpt.code_names) name_hash_.push_back(name.empty() ? 0 : StableHash(name));
  for (const std::string& label : excerpt.label_texts) label_hash_.push_back({Mix(StableHash(label)), Mix(StableHash(label) + 1)});
}

// A table of twice the size instead of a sort: this is done after each round. 0 marks a free place; a colour of 0 counts apart.
std::size_t Fingerprinter::CountColours(std::span<const NodeId> members, std::vector<std::uint64_t>& table) const {
  const std::size_t size = std::bit_ceil(members.size() * 2);
  table.assign(size, 0);
  std::size_t count = 0;
  bool any_zero = false;
  for (const NodeId n : members) {
    const std::uint64_t colour = colour_[n];
    any_zero = any_zero || colour == 0;
    std::size_t at = colour & (size - 1);
    while (table[at] != 0 && table[at] != colour) at = (at + 1) & (size - 1);
    count += table[at] == 0 && colour != 0;
    table[at] = colour;
  }
  return count + any_zero;
}

std::uint64_t Fingerprinter::Of(NodeId component, int rounds) {
  const std::span<const NodeId> members = excerpt_.components.Members(component);
  for (const NodeId n : members) colour_[n] = type_hash_[excerpt_.type[n]];
  if (name_hash_.size() > 1) {
    for (const NodeId n : members) colour_[n] ^= name_hash_[excerpt_.code_name[n]];
  }
  thread_local std::vector<std::uint64_t> table;  // keeps its memory from component to component
  const auto count_colours = [&] { return CountColours(members, table); };
  // Telling when a round has told nothing more apart takes a count; for very large components a few rounds are cheaper than knowing.
  const bool large = members.size() > kLargeComponent;
  if (large) rounds = std::min(rounds, kLargeComponentRounds);
  std::size_t colours = large ? 0 : count_colours();
  std::uint64_t edges = 0;
  for (int round = 0; round < rounds; ++round) {
    for (const NodeId n : members) next_[n] = Mix(colour_[n]);
    edges = 0;
    for (const NodeId n : members) {
      const std::span<const NodeId> successors = excerpt_.graph.Successors(n);
      const std::uint64_t first = excerpt_.graph.FirstEdge(n);
      for (std::size_t i = 0; i < successors.size(); ++i) {
        const NodeId to = successors[i];
        if (excerpt_.components.component_of[to] != component) continue;
        const LabelHashes& label = label_hash_[excerpt_.label[first + i]];
        // Sums, because the order of a set's elements says nothing; order where it matters stands in the labels ([0], [1]).
        next_[n] += Mix(colour_[to] + label.forward);
        next_[to] += Mix(colour_[n] ^ label.backward);
        ++edges;
      }
    }
    for (const NodeId n : members) colour_[n] = Mix(next_[n]);
    if (large) continue;
    const std::size_t now = count_colours();
    if (now == colours) break;
    colours = now;
  }
  std::uint64_t sum = 0;
  for (const NodeId n : members) sum += Mix(colour_[n]);
  return Mix(sum + Mix(members.size()) + Mix(edges ^ 0x5555));
}

}  // namespace pygc::analysis
