// A path from a root to an object as text: the Python expression that gives the object, and the place where it is stuck. Pure functions of the steps.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/report/cycle_text.h"

namespace pygc::report {

/// Where a path starts.
struct PathRoot {
  std::string kind;        // "frame", "module", "thread", "interpreter", "static", ...; "count-only": the holder was not found
  std::string name;        // "local x", "module app"
  std::string place;       // "f() at app.py:12, thread 4711"
  std::string expression;  // "sys.modules['app']", "x"; empty: none
  bool frame_object = false;  // the first object is a frame: its variables are named as in its function
  bool through_cell = false;  // the first object is the cell of a variable: the expression gives its content
};

/// The place that keeps the object: the nearest one to it that a programmer would name.
struct StuckPlace {
  std::string kind;  // "traceback", "closure", "bound-method", ...
  std::string text;  // "local variable 'data' of f(), kept by a traceback"
};

/// One path. Each step is an object with its reference to the next one, as in a Cycle; the last one refers to nothing.
struct RootPath {
  PathRoot root;
  Cycle steps;
  std::uint64_t length = 0;  // references from the root's object; steps may be folded
};

/// "sys.modules['app'].CACHE['k'][3].cb.__self__": where every step can be written in Python; nullopt otherwise. `folded` paths have none.
[[nodiscard]] std::optional<std::string> ExpressionOf(const RootPath& path);
/// The same, readable also where no expression is: "sys.modules['app'].seen{element}".
[[nodiscard]] std::string PathTextOf(const RootPath& path);
/// Whether its place is an interpreter other than the main one: its sys.modules is another one.
[[nodiscard]] bool IsOfSubinterpreter(const PathRoot& root);
/// The same with what makes a name mean something elsewhere: "self._ssock in BaseEventLoop.run_forever()", "sys.modules['app'].x in interpreter 1".
[[nodiscard]] std::string PlacedPathOf(const RootPath& path);
[[nodiscard]] StuckPlace StuckAt(const RootPath& path);

}  // namespace pygc::report
