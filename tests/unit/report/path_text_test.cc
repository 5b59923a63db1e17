#include "core/report/path_text.h"

#include <doctest/doctest.h>

namespace pygc::report {
namespace {

CycleStep Attribute(const char* type, const char* name) {
  CycleStep step;
  step.type = type;
  step.kind = EdgeKind::kAttribute;
  step.key = name;
  step.label = std::string(".") + name;
  return step;
}

RootPath FromVariable() {
  RootPath path;
  path.root = {.kind = "frame", .name = "local self", .place = "Loop.run() at /srv/loop.py:12, thread 4711", .expression = "self"};
  path.steps = {Attribute("Loop", "sock"), {}};
  path.steps.back().type = "socket.socket";
  return path;
}

TEST_CASE("a variable is named with its function, without the file that the path's own report has") {
  CHECK(PathTextOf(FromVariable()) == "self.sock");
  CHECK(PlacedPathOf(FromVariable()) == "self.sock in Loop.run()");
}

TEST_CASE("a place that the text already has is not said twice") {
  RootPath path = FromVariable();
  path.root.expression.clear();
  CHECK(PlacedPathOf(path) == "<local self in Loop.run() at /srv/loop.py:12, thread 4711>.sock");
}

TEST_CASE("what hangs on a module needs no function") {
  RootPath path = FromVariable();
  path.root = {.kind = "module", .name = "module app", .place = "", .expression = "sys.modules['app']"};
  CHECK(PlacedPathOf(path) == "sys.modules['app'].sock");
}

}  // namespace
}  // namespace pygc::report
