// The file of this machine that a target's module was mapped from: where to look, and how sure it is the same one. A file of another build gives wrong
// names and wrong code, so one that cannot be verified is not used unless the user trusts it. Internal to core/target.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/target/module_finder.h"
#include "core/target/process_draft.h"

namespace pygc::target {

/// Fills module.match, match_detail, damage, file_build_id, file_path and file. `main` says that it is the main program (for -e).
void ChooseModuleFile(FoundModule& found, bool main, const MemoryImage& memory, const ProcessDraft& draft, const OpenOptions& options);

/// The files that any rule finds for a path, unchecked: for program headers that are not in memory.
[[nodiscard]] std::vector<std::shared_ptr<const elf::ElfFile>> OpenUnchecked(const FileMapping& mapping, const ProcessDraft& draft, const OpenOptions& options);

}  // namespace pygc::target
