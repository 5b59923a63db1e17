// Runs a property for many fixed seeds. PYGC_PROPERTY_ROUNDS=N multiplies the number; a failure names its seed.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <random>

namespace pygc::test {

template <typename Property>
void ForSeeds(std::uint64_t count, Property&& property) {
  const char* const factor = std::getenv("PYGC_PROPERTY_ROUNDS");
  const std::uint64_t rounds = count * (factor != nullptr ? std::strtoull(factor, nullptr, 10) : 1);
  for (std::uint64_t seed = 1; seed <= rounds; ++seed) {
    INFO("seed ", seed);
    std::mt19937_64 random(seed);
    property(random);
  }
}

}  // namespace pygc::test
