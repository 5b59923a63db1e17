// Whose code a Python function is: the program's own, an installed package's, the standard library's. By the path of its file; for people who look for the place
// where something went wrong in what they wrote.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/objects/frames.h"

namespace pygc::engine {

enum class CodeOrigin : std::uint8_t { kProgram, kPackage, kStandardLibrary };

/// `library`: folder of the standard library; empty: not known, then .../lib/pythonX.Y stands for it.
/// HEURISTIC: a program that lies in such a folder is taken for the library; reports name the innermost function as well.
[[nodiscard]] CodeOrigin OriginOfFile(const std::string& file, const std::string& library);

class ProgramCode {
 public:
  explicit ProgramCode(const objects::ObjectReader& reader);

  /// Index of the innermost frame of the program's own code; where there is none of an installed package's (programs are installed too); nullopt: neither.
  [[nodiscard]] std::optional<std::size_t> InnermostOf(const std::vector<objects::PythonFrame>& frames, const objects::FrameReader& reader) const;

 private:
  std::string library_;
};

}  // namespace pygc::engine
