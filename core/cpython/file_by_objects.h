// The interpreter's file, verified by the objects of the process where the pages that hold its build-id are missing: a truncated core often ends before them.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "core/base/limits.h"
#include "core/elf/elf_file.h"
#include "core/target/process.h"

namespace pygc::cpython {

struct VerifiedFile {
  std::size_t module = 0;  // index into Process::modules
  std::shared_ptr<const elf::ElfFile> file;
  std::string detail;      // one line for reports
};

/// A file that lies where an unverified module of a Python says (target::ModuleMatch::kUnverifiable) and has its types at just the places that the process's
/// objects give as theirs. Of another build, types lie elsewhere, so few such words would meet the start of one. nullopt where no file is so, or where too
/// little memory is left to tell.
[[nodiscard]] std::optional<VerifiedFile> VerifyFileByObjects(const target::Process& process, const Limits& limits);

}  // namespace pygc::cpython
