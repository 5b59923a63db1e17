#include "core/engine/facts.h"

#include <doctest/doctest.h>

#include <string>

#include "core/cpython/layout_resolver.h"
#include "tests/support/fake_process.h"
#include "tests/unit/cpython/fake_python.h"

namespace pygc::engine::facts_test {
namespace {

constexpr Address kStack = 0x700000000000;

// A core in which gcore left a stack as zeroes.
target::Process WithoutStack() {
  test::FakeProcess fake;
  fake.Map(0x10000, 0x1000);
  fake.AddThread(7, kStack + 0x800);
  target::Process process = fake.Build();
  process.missing_ranges.push_back({{kStack, kStack + 0x1000}, target::MissingReason::kUnreadable});
  process.thread_gaps.push_back({"the stack of 1 thread", "zeroes in the core", "pygc -p has it"});
  return process;
}

std::string Said(const char* command, const target::Process& process, const char* layout) {
  Request request;
  request.command = command;
  cpython::Runtime runtime;
  runtime.layout = test::BuiltinLayout(layout);
  runtime.layout_tried_on_real_process = true;
  const report::Header h = MakeHeader(request, {}, process, runtime, nullptr, nullptr);
  CHECK(h.complete == h.missing.empty());
  CHECK(h.missing.size() + h.warnings.size() == 1);
  return h.complete ? "warning" : h.missing.at(0).remedy;
}

TEST_CASE("stacks that are not known make partial what is told of them, and are a warning elsewhere") {
  const target::Process process = WithoutStack();
  const char* const modern = "cpython-3.14.10-default-lp64";
  for (const char* command : {"heap", "dominators", "show", "referrers", "diff", "path", "finalizers", "garbage", "stacks", "triage", "report"}) {
    CAPTURE(command);
    CHECK(Said(command, process, modern) == "pygc -p has it");
  }
  for (const char* command : {"leaks", "cycles", "status", "verify", "referents", "value", "sql", "expect", "export"}) {
    CAPTURE(command);
    CHECK(Said(command, process, modern) == "warning");
  }
  // Up to 3.10 frames are objects, and lead to each other: what is retained does not depend on stacks.
  CHECK(Said("heap", process, "cpython-2.7.18-default-lp64") == "warning");
  CHECK(Said("path", process, "cpython-2.7.18-default-lp64") == "pygc -p has it");
}

TEST_CASE("registers that are not known take nothing from the frames") {
  target::Process process = WithoutStack();
  process.threads.clear();
  CHECK(Said("heap", process, "cpython-3.14.10-default-lp64") == "warning");
  CHECK(Said("stacks", process, "cpython-3.14.10-default-lp64") == "pygc -p has it");
}

}  // namespace
}  // namespace pygc::engine::facts_test
