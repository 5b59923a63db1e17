// Reads interpreters, collectors and threads through a layout; tests whether a layout makes sense of the process; corrects single offsets by structure
// where it does not. Everything from the target is bounded and checked for loops.
#pragma once

#include <string>
#include <vector>

#include "core/base/limits.h"
#include "core/cpython/interpreter_site.h"
#include "core/cpython/layout.h"
#include "core/cpython/runtime.h"
#include "core/target/process.h"

namespace pygc::cpython {

/// The addresses of all PyInterpreterState, newest first as in the list. Stops at the first that is not readable or was seen before.
[[nodiscard]] std::vector<Address> ListInterpreters(const target::MemoryImage& memory, const Layout& layout, const InterpreterSite& site, const Limits& limits);

/// True where `head` anchors a ring of the collector: its neighbours are readable and point back (of one of them in the middle of a collection).
[[nodiscard]] bool RingHolds(const target::MemoryImage& memory, const Layout& layout, Address head);

/// True where reading through `layout` finds interpreters whose threads point back at them and whose generation lists are rings.
[[nodiscard]] bool LayoutFits(const target::Process& process, const Layout& layout, const InterpreterSite& site, const Limits& limits);

/// True where LayoutFits() could not look at everything, because words that it needs are not in the image: then a no of it says nothing of the layout.
[[nodiscard]] bool LacksWhatFits(const target::Process& process, const Layout& layout, const InterpreterSite& site, const Limits& limits);

/// True where the main interpreter is not set up yet, or is being torn down: some of its dicts are not there.
[[nodiscard]] bool IsComingOrGoing(const target::Process& process, const Layout& layout, const InterpreterSite& site, const Limits& limits);

/// Corrects by structure what LayoutFits() found wrong: the generation heads, threads_head, modules, sysdict, builtins. Says what it changed in
/// `warnings` (both values). True where LayoutFits() holds afterwards.
bool CorrectByStructure(const target::Process& process, const InterpreterSite& site, const Limits& limits, Layout& layout, std::vector<std::string>& warnings);

/// Finds _PyRuntime (3.7+) of a module that exports PyInterpreterState_Head but not it, by running that accessor. True where found; fills `site`.
bool FindRuntimeByAccessor(const target::Process& process, const Layout& layout, const Limits& limits, InterpreterSite& site);

/// Asks FindRuntimeByAccessor(); else finds _PyRuntime (3.7 - 3.12) or interp_head and the generations (2.7, 3.6) of a module without symbols, by their structure in its writable data.
/// True where found; fills the addresses of `site`.
bool FindRuntimeByStructure(const target::Process& process, const Layout& layout, const Limits& limits, InterpreterSite& site);

/// Reads everything into `runtime.interpreters`. `runtime.layout`, gc_head and refcount are set already.
/// Errors: kNotAnalysable when there is no interpreter.
[[nodiscard]] Result<void> ReadInterpreters(const target::Process& process, const InterpreterSite& site, const Limits& limits, Runtime& runtime);

}  // namespace pygc::cpython
