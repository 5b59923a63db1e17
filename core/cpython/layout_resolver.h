// Chooses the layout of the target's build: exact table, nearest table, then what the process itself says (_Py_DebugOffsets), then --layout FILE.
// Sources that disagree are reported with both values and the one chosen. Knows layouts and a few words of memory, not interpreters: whether a candidate
// fits the process is asked of the caller (runtime_locator).
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/cpython/layout.h"
#include "core/target/memory_image.h"

namespace pygc::cpython {

/// What is known of the build before any layout is.
struct BuildIdentity {
  PythonVersion version;
  BuildFlavor flavor;
  std::string build_id;               // hex, of the interpreter's module; empty where unknown
  Address debug_offsets = 0;          // of _Py_DebugOffsets in the target (3.13+), 0 where there are none
};

/// The chosen layout and why.
struct LayoutChoice {
  Layout layout;
  bool fits = false;                     // the caller's test passed
  bool certain = false;                  // derived from this very build: where it does not fit, the memory is damaged
  std::vector<std::string> explanation;  // lines for `status`
  std::vector<std::string> warnings;     // disagreements
};

/// True where a process read through `layout` makes sense (interpreters, generation rings).
using LayoutTest = std::function<bool(const Layout&)>;

/// The built-in layouts of the series and flavour, best first: equal build-id, equal version, nearest lower release, nearest higher one; a release layout
/// stands in for a missing debug one. Takes one of an equal build-id, else the first that passes `test`, else the first.
/// Errors: kUnsupported when no layout of that series and flavour is built in (the message says what to run), kUsage for a user file that does not parse.
[[nodiscard]] Result<LayoutChoice> ResolveLayout(const BuildIdentity& build, const target::MemoryImage& memory, const LayoutTest& test,
                                                 const std::string& user_layout_file);

/// Version and flavour of the build with that build-id, where a built-in layout was derived from it.
struct KnownBuild {
  PythonVersion version;
  BuildFlavor flavor;
};
[[nodiscard]] std::optional<KnownBuild> BuildOfId(std::string_view build_id);

/// Overrides `layout` by the _Py_DebugOffsets at `address`, which are checked first: cookie, version, and each number against sane bounds.
/// `exact`: the layout claims to be of this very version, so that differences become warnings. False (and no change) where the block is not valid.
bool ApplyDebugOffsets(const target::MemoryImage& memory, Address address, bool exact, Layout& layout, std::vector<std::string>& explanation,
                       std::vector<std::string>& warnings);

/// Which member of _Py_DebugOffsets gives which field, or which structure's size (the other is kCount).
struct DebugOffsetsRow {
  Field member;
  Field field = Field::kCount;
  Struct size = Struct::kCount;
};
[[nodiscard]] std::span<const DebugOffsetsRow> DebugOffsetsRows() noexcept;

/// The head of _Py_DebugOffsets, where the cookie is right.
struct DebugOffsetsHead {
  PythonVersion version;
  bool free_threaded = false;
};
[[nodiscard]] std::optional<DebugOffsetsHead> ReadDebugOffsetsHead(const target::MemoryImage& memory, Address address);
/// The same from the bytes of the interpreter's file, which holds the block as it is before the program starts.
[[nodiscard]] std::optional<DebugOffsetsHead> ReadDebugOffsetsHead(std::span<const std::byte> bytes);

}  // namespace pygc::cpython
