#include "core/engine/exit_status.h"

#include <doctest/doctest.h>

#include "core/engine/watched_progress.h"

using namespace pygc;
using namespace pygc::engine;

namespace {

int Status(const char* command, FailOn fail_on, bool definite, bool pending, bool complete, report::Certainty certainty = report::Certainty::kExact) {
  Request request;
  request.command = command;
  request.fail_on = fail_on;
  report::Header header;
  header.complete = complete;
  header.certainty = certainty;
  Outcome outcome;
  outcome.definite = definite;
  outcome.pending = pending;
  return StatusOf(request, header, outcome);
}

}  // namespace

TEST_CASE("findings at or above --fail-on give 1, also from partial data") {
  for (const bool complete : {true, false}) {
    CHECK(Status("leaks", FailOn::kDefinite, true, false, complete) == 1);
    CHECK(Status("leaks", FailOn::kPending, false, true, complete) == 1);
    CHECK(Status("garbage", FailOn::kDefinite, true, false, complete) == 1);
  }
  CHECK(Status("leaks", FailOn::kDefinite, false, true, true) == 0);
  CHECK(Status("leaks", FailOn::kNever, true, true, true) == 0);
}

TEST_CASE("partial data are never clean, also with --fail-on never") {
  CHECK(Status("leaks", FailOn::kDefinite, false, false, false) == 3);
  CHECK(Status("leaks", FailOn::kDefinite, false, true, false) == 3);
  CHECK(Status("leaks", FailOn::kNever, true, true, false) == 3);
  CHECK(Status("cycles", FailOn::kDefinite, false, false, false) == 3);
  CHECK(Status("status", FailOn::kDefinite, false, false, false) == 0);
}

TEST_CASE("an expectation: violated before a name that is not there, that before what is not known") {
  Request request;
  request.command = "expect";
  report::Header header;
  Outcome outcome;
  CHECK(StatusOf(request, header, outcome) == 0);
  outcome.partial = true;
  CHECK(StatusOf(request, header, outcome) == 3);
  outcome.wrong_usage = true;
  CHECK(StatusOf(request, header, outcome) == 2);
  outcome.definite = true;
  CHECK(StatusOf(request, header, outcome) == 1);
  request.fail_on = FailOn::kNever;
  CHECK(StatusOf(request, header, outcome) == 2);
}

TEST_CASE("where guessed references decide, nothing found is not clean") {
  CHECK(Status("leaks", FailOn::kDefinite, false, false, true, report::Certainty::kLowerBound) == 3);
  CHECK(Status("leaks", FailOn::kDefinite, false, true, true, report::Certainty::kLowerBound) == 0);
  CHECK(Status("garbage", FailOn::kDefinite, false, false, true, report::Certainty::kLowerBound) == 0);
}

TEST_CASE("a limit ends the work and is named") {
  SilentProgress silent;
  WatchedProgress free(silent, 0, 0);
  CHECK(free.Update("stage", 1, 2));
  CHECK(free.limit().empty());
  CHECK(free.stage() == "stage");
  WatchedProgress timed(silent, 1e-9, 0);
  CHECK_FALSE(timed.Update("stage", 1, 2));
  CHECK(timed.limit() == "--timeout");
  WatchedProgress small(silent, 0, 1);
  CHECK_FALSE(small.Update("stage", 1, 2));
  CHECK(small.limit() == "--max-memory");
  CHECK_FALSE(small.Update("stage", 2, 2));  // stays ended
}
