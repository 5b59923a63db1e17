// Variables and registers of the selected frame in place of addresses. Looked up, never evaluated: nothing runs in the process.
#pragma once

#include <lldb/API/LLDB.h>

#include <string>
#include <vector>

namespace pygc::lldb_host {

/// The words of a command line with each variable ("op", "args->ob_item[0]", "&list") or register ("$rdi") that stands for an address replaced by it. In commands
/// that take types too a plain name stays one. What LLDB does not know stays as it is, for the engine to say what is wrong with it.
[[nodiscard]] std::vector<std::string> WithAddresses(std::vector<std::string> words, lldb::SBFrame frame);

}  // namespace pygc::lldb_host
