// Why objects are alive: the references into the heap that lie outside of every object, each with the place that holds it. Plain data.
// Whoever finds more such places (native memory, machine stacks) appends to the set; nobody who reads it needs to know where a root came from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/address.h"

namespace pygc::heap {

/// As `roots.kind` of the export names them.
enum class RootKind : std::uint8_t { kFrame, kModule, kThread, kInterpreter, kStatic, kStack, kRegister, kNative };
[[nodiscard]] constexpr const char* RootKindName(RootKind kind) noexcept {
  switch (kind) {
    case RootKind::kFrame: return "frame";
    case RootKind::kModule: return "module";
    case RootKind::kThread: return "thread";
    case RootKind::kInterpreter: return "interpreter";
    case RootKind::kStatic: return "static";
    case RootKind::kStack: return "stack";
    case RootKind::kRegister: return "register";
    case RootKind::kNative: return "native";
  }
  return "unknown";
}

/// One reference from outside.
struct Root {
  enum class Shape : std::uint8_t { kPlain, kCell, kFrameObject };

  Address object = 0;
  RootKind kind = RootKind::kNative;
  std::uint32_t place = 0;  // index into RootSet::places; 0: says nothing more
  std::string name;         // of the reference at that place: "local x", "sys.modules", "the exception being handled"; raw
  std::string expression;   // of Python that gives the object, where there is one: "sys.modules['app']"; in a frame its variable
  Shape shape = Shape::kPlain;  // kCell: `object` is the cell of a variable, `expression` gives its content. kFrameObject: its variables are the object's
};

struct RootSet {
  std::vector<Root> roots;                   // in order of preference: of two equally short paths the one from the earlier root is shown
  std::vector<std::string> places = {""};    // "f() at app.py:12, thread 4711"; raw
  std::vector<std::string> notes;            // what could not be read
};

/// "local x in f() at app.py:12": the reference in words.
[[nodiscard]] inline std::string DescribeRoot(const RootSet& set, const Root& root) {
  const std::string& place = root.place < set.places.size() ? set.places[root.place] : set.places[0];
  return place.empty() ? root.name : root.name + " in " + place;
}

}  // namespace pygc::heap
