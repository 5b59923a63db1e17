// One object of the snapshot as the row that both exports write; private to the exports.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/report/export.h"
#include "core/report/finalizer_kind.h"

namespace pygc::report {

struct ExportRow {
  std::optional<std::int64_t> interpreter;  // nullopt: shared
  std::uint32_t type = 0;
  std::optional<std::uint64_t> size, refcount;
  bool immortal = false, tracked = false, finalized = false, exact = true;
  std::optional<unsigned> generation;
  std::string_view state, finalizer, label;  // finalizer empty: none
};

[[nodiscard]] ExportRow RowOf(const ExportInput& input, heap::NodeId node);
/// meta(key, value) of both exports.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> ExportMeta(const ExportInput& input);

/// How often long loops ask for a cancel.
inline constexpr std::uint64_t kExportProgressStep = 1u << 16;

}  // namespace pygc::report
