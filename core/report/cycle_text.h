// A reference cycle as data, how it reads, and what its shape says about where it comes from and how to undo it.
// Knows Python's vocabulary (bound methods, cells, frames) by type and label names only; no layout, no memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/address.h"

namespace pygc::report {

/// What kind of place a reference sits in.
enum class EdgeKind : std::uint8_t { kAttribute, kKey, kItem, kElement, kField, kClosure, kLocal, kOther };
[[nodiscard]] const char* EdgeKindName(EdgeKind kind) noexcept;  // "attribute", "key", "item", ...

/// One object of a cycle and its reference to the next one; the last one refers to the first.
struct CycleStep {
  std::string type;  // "app.pipes.OsPipeHolder", "dict", "method"
  std::string name;  // what the object is called, where it has a name: a function's, a bound method's, a frame's function
  Address address = 0;
  EdgeKind kind = EdgeKind::kOther;
  std::string label;         // of the reference: ".isClosed", "['key']", "[3]", ".__self__", "closure handler", "local x"; raw
  std::string key;           // the bare name or key in the label, where there is one: "isClosed"
  std::uint64_t elided = 0;  // not 0: stands for this many objects of a long cycle that are left out here; the other members are empty
  // For expressions:
  std::string subscript = {};  // as Python source: "['key']", "[3]", where that gives the next object; of an attribute: how its __dict__ gives it. Empty: nothing does
  bool in_c = false;         // kField: a C field, and the label no attribute
  bool is_class = false;     // the object is a class
  // For fingerprints, never printed, not hidden by --redact:
  std::string code_name = {};    // objects::CodeNameOf() of the object: "make.<locals>.handler app.py"
  std::string program_key = {};  // the key of a dict, where it is a name that the program's source spells and no data; empty otherwise
};

using Cycle = std::vector<CycleStep>;

/// How well objects of a type serve to name the structure they are in; smaller is better: instances of classes, then classes, generators, functions,
/// other built-in objects, frames and cells, plain containers.
[[nodiscard]] unsigned NameRank(const std::string& type);

/// The cycle turned so that it starts with the object that a reader knows best: an instance of a class of the program before functions and frames,
/// those before plain containers; then the smallest type name. `type`: of the object that the report names the cycle after; it comes first where it
/// is in it. Keeps the order of the steps.
[[nodiscard]] Cycle StartWithBestKnown(Cycle cycle, const std::string& type = {});

/// The cycle in words, to be joined by arrows: {"OsPipeHolder .isClosed", "bound method is_closed .__self__", "OsPipeHolder"}. Attribute dictionaries
/// and containers between two objects are folded into the reference: "Node .children[0]". Types by their last name where that is not ambiguous. A
/// cycle of more than `max_parts` parts is folded in the middle (0: never).
[[nodiscard]] std::vector<std::string> CycleParts(const Cycle& cycle, std::size_t max_parts = 8);

/// The last part of a dotted name: "app.pipes.OsPipeHolder" -> "OsPipeHolder"; "app.f.<locals>.C" -> "C".
[[nodiscard]] std::string LastName(const std::string& type);

/// Which well-known shape a cycle has, most telling first.
enum class Shape : std::uint8_t {
  kBoundMethodOnSelf,     // self.alias = self.method
  kBoundMethodElsewhere,  // other.callback = self.method, and other is reachable from self
  kTraceback,             // exception -> traceback -> frame -> local -> exception
  kFrame,                 // frame kept through f_locals or sys._getframe()
  kRecursiveClosure,      // an inner function that refers to itself
  kClosureOnSelf,         // self.f = a function that closes over self
  kGenerator,             // a suspended generator or coroutine whose locals lead back to it
  kClass,                 // a class and its own __mro__, __dict__, ...
  kNamespace,             // a function and the globals it lives in
  kParentPointer,         // child.parent
  kSelfReference,         // x.me = x
  kContainerInItself,     // l.append(l)
  kMutual,                // two or more objects that refer to each other
  kNone,                  // no cycle: a single object
};
[[nodiscard]] Shape ShapeOf(const Cycle& cycle);
[[nodiscard]] const char* ShapeName(Shape shape) noexcept;  // "bound-method-on-self", ...

/// What would undo the cycle, in one or two sentences with the names of this one. Empty where there is nothing to say.
[[nodiscard]] std::string FixFor(const Cycle& cycle);

}  // namespace pygc::report
