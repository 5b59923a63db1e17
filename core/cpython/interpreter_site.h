// Where in the target's modules the interpreter lives, before any layout is chosen: module, _PyRuntime or the file statics of 2.7 and 3.6, version, flavour.
// Symbols first; where a module's file is missing or stripped, the .PyRuntime section, the cookie of _Py_DebugOffsets, and runs of exported accessors (accessor.h).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/limits.h"
#include "core/base/result.h"
#include "core/cpython/layout.h"
#include "core/cpython/version.h"
#include "core/target/process.h"

namespace pygc::cpython {

/// One place where a CPython may live. A process can have several (an executable that embeds one and loads another); one of them is in use.
struct InterpreterSite {
  const target::Module* module = nullptr;
  PythonVersion version;
  BuildFlavor flavor;
  std::string build_text;              // what Py_GetVersion says; empty where not found
  Address runtime = 0;                 // _PyRuntime (3.7+)
  Address debug_offsets = 0;           // = runtime where the cookie is there (3.13+)
  Address interpreters_variable = 0;   // 2.7, 3.6: of the static interp_head
  Address generation0_variable = 0;    // 2.7, 3.6: of _PyGC_generation0
  std::vector<std::string> explanation;
};

/// Every site, the most likely first. Empty: see DescribeProgram.
[[nodiscard]] std::vector<InterpreterSite> FindInterpreterSites(const target::Process& process);

/// Why nothing leads to the interpreters of `site`: which words of memory, read through `layout`, are missing. Empty where these are there, whatever they say.
[[nodiscard]] std::string LostState(const target::Process& process, const Layout& layout, const InterpreterSite& site);

/// What runs in a process that has no site: "PyPy 7.3", "the C program /usr/bin/cat", and what is missing if files are.
[[nodiscard]] std::string DescribeProgram(const target::Process& process);

/// True where files of the process are missing, damaged or other ones: then that no CPython was found does not say that there is none.
[[nodiscard]] bool LacksFiles(const target::Process& process);

/// Run-time address of a symbol that `module` defines; nullopt where it has no file or no such symbol.
[[nodiscard]] std::optional<Address> SymbolAddress(const target::Module& module, std::string_view name);

/// Ranges of writable data of a module: .data and .bss of its file, or, without a file, its writable mappings.
[[nodiscard]] std::vector<AddressRange> WritableData(const target::Process& process, const target::Module& module);

}  // namespace pygc::cpython
