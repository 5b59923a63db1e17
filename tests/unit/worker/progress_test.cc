#include <doctest/doctest.h>

#include "plugin/worker/terminal_progress.h"

using namespace pygc::worker;

namespace {
Progress At(std::uint64_t done, std::uint64_t total, const char* stage = "reading objects") { return {stage, done, total}; }
}  // namespace

TEST_CASE("a stage's rate counts from its own beginning, and is told after a second") {
  ProgressRate rate;
  rate.Update(At(1000, 5000), 10);
  CHECK(rate.steps_per_second() == 0);
  rate.Update(At(1500, 5000), 10.5);
  CHECK(rate.steps_per_second() == 0);
  rate.Update(At(3000, 5000), 12);
  CHECK(rate.steps_per_second() == doctest::Approx(1000));
  rate.Update(At(10, 100, "writing"), 13);
  CHECK(rate.steps_per_second() == 0);
  rate.Update(At(5, 100, "writing"), 15);  // begun anew: no negative rate
  CHECK(rate.steps_per_second() == 0);
}

TEST_CASE("the line says how far, how fast and how long still, and fits") {
  CHECK(ProgressText(At(2000000, 5000000), 7, 1.2e6, 80) == "reading objects  40 %  1.2 M/s  7 s, 2 s left");
  CHECK(ProgressText(At(2000, 5000), 7, 1500, 80) == "reading objects  40 %  1.5 k/s  7 s, 2 s left");
  CHECK(ProgressText(At(12, 0), 7, 3, 80) == "reading objects  12  3/s  7 s");
  CHECK(ProgressText(At(0, 0), 7, 0, 80) == "reading objects  7 s");
  CHECK(ProgressText(At(2, 5), 7, 0, 80) == "reading objects  40 %  7 s");
  CHECK(ProgressText(At(1, 1ull << 62), 7, 1, 80) == "reading objects  0 %  1/s  7 s");  // a guess of years is none
  for (unsigned columns = 1; columns < 60; ++columns) CHECK(ProgressText(At(2000000, 5000000), 7, 1.2e6, columns).size() < columns + (columns == 0));
  CHECK(ProgressText(At(2000000, 5000000), 7, 1.2e6, 36) == "reading obj...  40 %  7 s, 2 s left");
}
