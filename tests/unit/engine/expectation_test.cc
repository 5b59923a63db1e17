#include "core/engine/expectation.h"

#include <doctest/doctest.h>

#include "core/engine/similar_names.h"

using namespace pygc::engine;

TEST_CASE("a bound is met or violated only where that is certain") {
  CHECK(HoldsAtMost({3, 3}, 3) == Answer::kMet);
  CHECK(HoldsAtMost({3, 3}, 2) == Answer::kViolated);
  CHECK(HoldsAtMost({3, 5}, 5) == Answer::kMet);
  CHECK(HoldsAtMost({3, 5}, 4) == Answer::kUnknown);
  CHECK(HoldsAtMost({3, 5}, 2) == Answer::kViolated);
  CHECK(HoldsAtMost({3, std::nullopt}, 2) == Answer::kViolated);
  CHECK(HoldsAtMost({3, std::nullopt}, ~0ull) == Answer::kUnknown);
  CHECK(HoldsAtMost({0, 0}, 0) == Answer::kMet);
}

TEST_CASE("the distance of words counts letters wrong, missing, too much and exchanged") {
  CHECK(EditDistance("session", "session") == 0);
  CHECK(EditDistance("sesion", "session") == 1);
  CHECK(EditDistance("session", "sessoin") == 1);
  CHECK(EditDistance("", "abc") == 3);
  CHECK(EditDistance(std::string(1000, 'a'), std::string(1000, 'a') + "b") == 0);
}
