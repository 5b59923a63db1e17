#include "core/engine/program_code.h"

#include <algorithm>
#include <string_view>

#include "core/objects/offsets.h"
#include "core/objects/values.h"

namespace pygc::engine {
namespace {

constexpr std::size_t kMaxPath = 4096;

// The folder of os.py, which every interpreter imports at its start.
std::string LibraryFolder(const objects::ObjectReader& reader) {
  const cpython::Runtime& runtime = reader.runtime();
  if (runtime.interpreters.empty()) return {};
  const objects::Offsets offsets(runtime.layout);
  const objects::Values values(reader.process().memory, offsets, runtime.lookdict);
  const Address os = values.DictGet(runtime.interpreters.front().modules, "os");
  const Address name = os == 0 ? 0 : values.DictGet(values.Pointer(os + offsets.md_dict), "__file__");
  const std::string file = name == 0 ? "" : values.Text(name, kMaxPath).value_or("");
  const std::size_t slash = file.rfind('/');
  return slash == std::string::npos || slash == 0 ? "" : file.substr(0, slash);
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Behind ".../lib/python3.12/" or ".../lib64/python2.7/"; npos where that is not in the path.
std::size_t BehindVersionFolder(std::string_view file) {
  constexpr std::string_view kName = "/python";
  for (std::size_t at = file.find(kName); at != std::string_view::npos; at = file.find(kName, at + 1)) {
    const std::string_view before = file.substr(0, at);
    std::size_t end = at + kName.size();
    const bool versioned = end + 1 < file.size() && IsDigit(file[end]) && file[end + 1] == '.';
    while (end < file.size() && file[end] != '/') ++end;
    if (versioned && end < file.size() && (before.ends_with("/lib") || before.ends_with("/lib64"))) return end + 1;
  }
  return std::string_view::npos;
}

}  // namespace

CodeOrigin OriginOfFile(const std::string& file, const std::string& library) {
  const auto has = [&](std::string_view part) { return file.find(part) != std::string::npos; };
  if (has("/site-packages/") || has("/dist-packages/")) return CodeOrigin::kPackage;
  if (file.starts_with("<frozen ")) return CodeOrigin::kStandardLibrary;
  const bool inside = library.empty() ? BehindVersionFolder(file) != std::string::npos : file.starts_with(library + "/");
  return inside ? CodeOrigin::kStandardLibrary : CodeOrigin::kProgram;
}

ProgramCode::ProgramCode(const objects::ObjectReader& reader) : library_(LibraryFolder(reader)) {}

std::optional<std::size_t> ProgramCode::InnermostOf(const std::vector<objects::PythonFrame>& frames, const objects::FrameReader& reader) const {
  std::optional<std::size_t> of_package;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const CodeOrigin origin = OriginOfFile(reader.FileName(frames[i].code), library_);
    if (origin == CodeOrigin::kProgram) return i;
    if (origin == CodeOrigin::kPackage && !of_package) of_package = i;
  }
  return of_package;
}

}  // namespace pygc::engine
