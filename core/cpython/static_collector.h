// The collector of 2.7 and 3.6, whose state are file statics of Modules/gcmodule.c: found by .symtab, else through what the gc module exposes.
#pragma once

#include "core/cpython/interpreter_site.h"
#include "core/cpython/runtime.h"
#include "core/target/process.h"

namespace pygc::cpython {

/// Fills the collector's part of `out`; the lists only where `with_lists`. What cannot be found is said in runtime.explanation.
/// `out.modules` is set already.
void ReadStaticCollector(const target::Process& process, const InterpreterSite& site, bool with_lists, Runtime& runtime, Interpreter& out);

}  // namespace pygc::cpython
