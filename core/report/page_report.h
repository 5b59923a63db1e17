// The page of `pygc report`: everything that matters of one process in one HTML file, without a network, readable without scripts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/report/heap_report.h"
#include "core/report/triage_report.h"

namespace pygc::report {

/// An object that keeps much alive, and which of the others of the list does so for it.
struct MemoryNode {
  std::optional<std::uint32_t> parent;  // index of an earlier node
  Address address = 0;
  std::string type, name, path;         // path: as in Dominator
  std::uint64_t size = 0, retained = 0, objects = 0;
};

struct PageReport {
  TriageReport overview;          // without holders
  std::optional<HeapReport> heap;  // nullopt: could not be had
  std::vector<MemoryNode> memory;  // parents before children
  std::uint64_t memory_bytes = 0, memory_objects = 0;
  std::string no_memory;           // why `heap` and `memory` are not there
};

/// The whole document.
[[nodiscard]] std::string WritePage(const Header& header, const PageReport& report);
/// The value of "result" in the data that the page's script reads.
void WriteJson(const Header& header, const PageReport& report, JsonWriter& json);

}  // namespace pygc::report
