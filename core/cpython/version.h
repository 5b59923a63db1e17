// Which CPython the target runs. Only core/cpython compares these; all other layers ask the Layout what it has.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace pygc::cpython {

/// The fields of PY_VERSION_HEX (Include/patchlevel.h).
struct PythonVersion {
  std::uint8_t major = 0, minor = 0, micro = 0;
  std::uint8_t level = 0xF;  // 0xA alpha, 0xB beta, 0xC candidate, 0xF final
  std::uint8_t serial = 0;

  [[nodiscard]] static constexpr PythonVersion FromHex(std::uint32_t hex) noexcept {
    return {static_cast<std::uint8_t>(hex >> 24), static_cast<std::uint8_t>(hex >> 16), static_cast<std::uint8_t>(hex >> 8),
            static_cast<std::uint8_t>((hex >> 4) & 0xF), static_cast<std::uint8_t>(hex & 0xF)};
  }
  [[nodiscard]] constexpr std::uint32_t hex() const noexcept {
    return (static_cast<std::uint32_t>(major) << 24) | (static_cast<std::uint32_t>(minor) << 16) | (static_cast<std::uint32_t>(micro) << 8) |
           (static_cast<std::uint32_t>(level) << 4) | serial;
  }
  [[nodiscard]] std::string text() const;  // "3.12.1", "3.15.0rc2"
  friend constexpr auto operator<=>(const PythonVersion& a, const PythonVersion& b) noexcept { return a.hex() <=> b.hex(); }
  friend constexpr bool operator==(const PythonVersion& a, const PythonVersion& b) noexcept { return a.hex() == b.hex(); }
};

/// The build, as far as it changes layouts.
struct BuildFlavor {
  bool free_threaded = false;
  bool debug = false;       // Py_DEBUG
  bool trace_refs = false;  // two more words before every object
  friend bool operator==(const BuildFlavor&, const BuildFlavor&) = default;
};

}  // namespace pygc::cpython
