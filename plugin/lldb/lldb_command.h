// The command `pygc` inside LLDB: words to the worker, what comes back to SBCommandReturnObject. No analysis and no formatting here.
#pragma once

#include <lldb/API/SBCommandInterpreter.h>

#include <memory>

namespace pygc::lldb_host {

/// Adds `pygc` and its subcommands to one debugger. What is kept between commands (a worker for each process) belongs to those command objects, so two
/// debuggers in one program share nothing. Returns false when LLDB takes no new command.
bool AddCommands(lldb::SBDebugger debugger);

}  // namespace pygc::lldb_host
