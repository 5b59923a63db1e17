// Counts that CPython itself gets wrong, and modules that Cython or NumPy made: real leaks of some releases, traced to their cause in the sources. A report
// lists them apart, because nothing in the program that is looked at made them.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/cpython/version.h"

namespace pygc::cpython {

inline constexpr std::uint32_t kAnyNumber = 0xFFFFFFFFu;

/// A count that is too high, or (is_deficit) too low.
struct KnownSurplus {
  std::string_view type;    // as a report names it; empty: the shape tells it
  std::string_view name;    // the object's own name, or the place where one of its holders has it: "_warnings", "['SEM_VALUE_MAX']"; empty: `text` tells it
  std::string_view text;    // the value of a str or bytes, or of a tuple's only item; empty: any
  std::uint32_t by = 1;     // at most this much too high; kAnyNumber: each use adds one
  std::string_view cause;   // file, function and what it does
  enum class Shape : std::uint8_t {
    kAny,
    kLost,            // nothing holds it
    kForeignWrapper,  // a slot wrapper whose description lies in another module than the interpreter's
    kForeignSpecial,  // the same of a method with the name of a special one: "__repr__"
    kUfuncIdentity,   // a ufunc of NumPy has it
    kOfUfuncs,        // refers to ufuncs of NumPy
    kPybindWeakref,   // a lost weak reference whose callback is a function that pybind11 made
    kCythonMethod,    // a function of Cython's that has the class in whose body it was made, for super() and __class__
    kCythonCode,      // a lost code object without instructions, or of a file that Cython compiled
    kCythonNames,     // a lost tuple of strings that one extension module has in its static data, all of them, and of small ints
    kCythonNumber,    // a lost int that the code of a module of Cython's has
    kCythonSlice,     // the static data of a module of Cython's have a tuple that has it
    kNumpyPromoter,   // what NumPy's dispatching makes of a loop
    kGEnumValue,      // an instance of a class that PyGObject made of an enumeration
    kCythonBuiltin,   // a function of builtins, in a process with modules that Cython made
    kPyo3Type,        // a class that PyO3 made, or one derived from it
    kPyo3Attribute,   // an instance of a class that PyO3 made, which some class has as an attribute
    kF2pyName,        // the name of a routine, a scalar or an array of Fortran, in a process with modules that f2py made
    kLeftUntracked,   // what a collector would track, and no collector does, in a process where interpreters ended; at most that many too high
    kConstant,        // the dict of the module whose name `text` is has it
    kSipModule,       // a module that SIP made: PyQt, wxPython
    kMypycImport,     // a module that the static data of an extension of mypyc have
    kFreedByModule,   // a class whose instances are freed by code of `module`
    kTwiceOfInstances,  // a class, by at most one for each of its instances
    kShibokenItem,    // an instance of a class that is one of Shiboken.EnumMeta
    kLiteral,         // a str whose text stands as a literal in what is only read of `module`
    kSwigFunction,    // a function of C code that SWIG made a second time, of a definition in the static data of its module
    kLeftByThreads,   // few of a type, and few too high, in a process that fork() made without the threads of its parent
    kReplacedStatic,  // static data of a module has another object of that type and name, or value, in a process where interpreters ended
  } shape = Shape::kAny;
  std::string_view has = {};  // a reference that the object itself has, as it is labelled: "['PIProxy']"; empty: any
  std::string_view module = {};  // a module whose path has this must be loaded; empty: any
  bool is_deficit = false;       // too low by `by` at most, not too high
};

/// Those of a release.
[[nodiscard]] std::vector<KnownSurplus> KnownSurpluses(const PythonVersion& version);

}  // namespace pygc::cpython
