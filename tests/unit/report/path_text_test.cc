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

TEST_CASE("the name of a global is not the global") {
  RootPath path = FromVariable();
  path.root = {.kind = "module", .name = "the dict of module app", .place = "", .expression = ""};
  path.steps[0] = {.type = "dict", .name = {}, .kind = EdgeKind::kKey, .label = "['CACHE']", .key = "CACHE"};
  CHECK(StuckAt(path).text == "global 'CACHE' of module app");
  path.steps[0].label = "key 'CACHE'";
  path.steps[0].key.clear();
  CHECK(StuckAt(path).text == "the name of a global of module app");
}

TEST_CASE("a C field that no attribute names stands in braces, and there is no expression") {
  RootPath path = FromVariable();
  path.steps[0] = {.type = "enumerate", .name = {}, .kind = EdgeKind::kField, .label = ".en_sit", .key = {}, .in_c = true};
  CHECK(PathTextOf(path) == "self{.en_sit}");
  CHECK(!ExpressionOf(path));
  path.steps[0].in_c = false;
  path.steps[0].label = ".__func__";
  CHECK(ExpressionOf(path) == "self.__func__");
}

TEST_CASE("an attribute that is no identifier is had from the __dict__; a key that cannot be written stands in braces") {
  RootPath path = FromVariable();
  path.steps[0] = {.type = "Loop", .name = {}, .kind = EdgeKind::kAttribute, .label = ".a b", .key = "a b", .subscript = "['a b']"};
  CHECK(ExpressionOf(path) == "self.__dict__['a b']");
  path.steps[0] = {.type = "dict", .name = {}, .kind = EdgeKind::kKey, .label = "[<object at 0x10>]", .key = {}};
  CHECK(PathTextOf(path) == "self{[<object at 0x10>]}");
  CHECK(!ExpressionOf(path));
}

TEST_CASE("a class gives a view of its __dict__, not the dict itself") {
  RootPath path = FromVariable();
  path.steps[0] = {.type = "Kind", .name = {}, .kind = EdgeKind::kField, .label = ".__dict__", .key = {}, .is_class = true};
  CHECK(!ExpressionOf(path));
  path.steps.insert(path.steps.begin() + 1, {.type = "dict", .name = {}, .kind = EdgeKind::kKey, .label = "['x']", .key = "x", .subscript = "['x']"});
  CHECK(ExpressionOf(path) == "self.__dict__['x']");
}

TEST_CASE("of a bound method it is said who will call it, where that is a signal, atexit or asyncio") {
  CycleStep method;
  method.type = "method";
  method.name = "close";
  method.kind = EdgeKind::kField;
  method.label = ".__self__";
  RootPath path = FromVariable();
  path.steps = {method, {}};
  CHECK(StuckAt(path).kind == "bound-method");
  path.root = {.kind = "interpreter", .name = "the signal handler of SIGUSR1", .place = "", .expression = "sys.modules['_signal'].getsignal(10)"};
  CHECK(StuckAt(path).kind == "signal-handler");
  CHECK(StuckAt(path).text == "the signal handler of SIGUSR1: the bound method close");
  CHECK(ExpressionOf(path) == "sys.modules['_signal'].getsignal(10).__self__");
  CycleStep handle = Attribute("asyncio.events.Handle", "_callback"), table = Attribute("selectors.EpollSelector", "_fd_to_key"), entry;
  entry.type = "dict";
  entry.kind = EdgeKind::kKey;
  entry.label = "[6]";
  path.steps = {table, entry, handle, method, {}};
  CHECK(StuckAt(path).text == "a callback of the event loop for file descriptor 6 (add_reader, add_writer): the bound method close");
}

}  // namespace
}  // namespace pygc::report
