// When a silent worker is ended. The rule is judged by a clock of the test's own; fake workers that really spin are in client_test.cc.
#include "plugin/worker/watchdog.h"

#include <doctest/doctest.h>

using pygc::worker::SilenceLimits;
using pygc::worker::SilenceRule;
using Verdict = pygc::worker::SilenceRule::Verdict;

namespace {

// A worker that is looked at each second: `processor` seconds used in each, a sign of life every `sign_every` seconds (0: never).
struct Life {
  double processor = 1;
  int sign_every = 0;
  bool idle = false;
  double deadline = 0;
};

// The second in which it is ended, -1 where it lives to the end of `seconds`.
int EndOf(const Life& life, int seconds, Verdict how = Verdict::kComputesWithoutEnd) {
  SilenceRule rule(SilenceLimits{100, 20, 1000});
  SilenceRule::Look look;
  for (int now = 1; now <= seconds; ++now) {
    look.now = now;
    look.processor += life.processor;
    if (life.sign_every != 0 && now % life.sign_every == 0) ++look.signs;
    look.idle = life.idle;
    look.deadline = life.deadline;
    const Verdict verdict = rule.Judge(look);
    if (verdict != Verdict::kGoesOn) {
      CHECK(verdict == how);
      return now;
    }
  }
  return -1;
}

}  // namespace

TEST_CASE("a command that computes in silence ends when its time is up, a week that shows progress does not end it") {
  CHECK(EndOf({}, 1000) == 101);
  constexpr int kWeek = 7 * 86400;
  CHECK(EndOf({.sign_every = 99}, kWeek) == -1);
  CHECK(EndOf({.sign_every = 150}, kWeek) == 101);
}

TEST_CASE("time counts in which the processor was this worker's: many threads are one, and a loaded machine gives more time") {
  CHECK(EndOf({.processor = 64}, 1000) == 101);
  CHECK(EndOf({.processor = 0.25}, 1000) == 401);
  CHECK(EndOf({.processor = 0}, 100000) == -1);  // it waits: for a disk, for a process to stop
}

TEST_CASE("a worker that waits for its host, or for a command, is left alone") {
  CHECK(EndOf({.idle = true}, 100000) == -1);
  CHECK(EndOf({.idle = true, .deadline = 5}, 100000) == -1);
}

TEST_CASE("after the time limit silence is short, with or without work, and who still prints is let finish") {
  constexpr Verdict kLate = Verdict::kDoesNotHeedDeadline;
  CHECK(EndOf({.processor = 0, .deadline = 50}, 1000, kLate) == 70);
  CHECK(EndOf({.deadline = 50}, 1000, kLate) == 70);
  CHECK(EndOf({.sign_every = 10, .deadline = 50}, 10000, kLate) == -1);
  CHECK(EndOf({.processor = 0, .deadline = 5000}, 4999, kLate) == -1);
}

TEST_CASE("a look that comes late does not count more than one thread could do") {
  SilenceRule rule(SilenceLimits{100, 20, 1000});
  SilenceRule::Look look;
  CHECK(rule.Judge(look) == Verdict::kGoesOn);
  look.now = 10;
  look.processor = 5000;
  CHECK(rule.Judge(look) == Verdict::kGoesOn);
}
