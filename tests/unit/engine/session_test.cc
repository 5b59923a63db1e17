// Session at its edges; what it does with a real interpreter is held by tests/e2e.
#include "core/engine/session.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/fake_process.h"

using namespace pygc;
using namespace pygc::engine;

namespace {

class Capture final : public OutputSink {
 public:
  bool Out(std::string_view bytes) override {
    out += bytes;
    return true;
  }
  void Err(std::string_view bytes) override { err += bytes; }
  std::string out, err;
};

class CancelAtOnce final : public ProgressSink {
 public:
  bool Update(std::string_view, std::uint64_t, std::uint64_t) override { return false; }
};

class Throwing final : public ProgressSink {
 public:
  bool Update(std::string_view, std::uint64_t, std::uint64_t) override { throw 42; }
};

Request Leaks() {
  Request r;
  r.command = "leaks";
  return r;
}

target::Process NotPython() {
  test::FakeProcess fake;
  fake.Map(0x10000, 0x1000);
  fake.base.path = "core.1";
  return fake.Build();
}

}  // namespace

TEST_CASE("a process that is not CPython: one line, exit 4") {
  Session session(NotPython(), {});
  Capture output;
  SilentProgress progress;
  CHECK(session.Run(Leaks(), {}, output, progress) == 4);
  CHECK(output.out.empty());
  CHECK(output.err.starts_with("pygc: "));
  CHECK(std::count(output.err.begin(), output.err.end(), '\n') == 1);
}

TEST_CASE("a cancel before anything is known: exit 130") {
  Session session(NotPython(), {});
  Capture output;
  CancelAtOnce progress;
  CHECK(session.Run(Leaks(), {}, output, progress) == 130);
}

TEST_CASE("no exception leaves the session") {
  Session session(NotPython(), {});
  Capture output;
  Throwing progress;
  CHECK(session.Run(Leaks(), {}, output, progress) == 6);
  CHECK(output.err.find("internal fault") != std::string::npos);
}

TEST_CASE("each kind of error has the exit status of the contract, and is one harmless line") {
  const std::pair<ErrorCode, int> cases[] = {{ErrorCode::kUsage, 2},       {ErrorCode::kOutput, 2},       {ErrorCode::kNotAnalysable, 4},
                                             {ErrorCode::kUnsupported, 4}, {ErrorCode::kNotPermitted, 5}, {ErrorCode::kCancelled, 130},
                                             {ErrorCode::kInternal, 6},    {ErrorCode::kLimit, 3}};
  for (const auto& [code, status] : cases) {
    Capture output;
    CHECK(ReportError({code, "what \x1b[2J was\nfound", std::nullopt}, output) == status);
    CHECK(output.err.find('\x1b') == std::string::npos);
    CHECK(std::count(output.err.begin(), output.err.end(), '\n') == 1);
  }
}
