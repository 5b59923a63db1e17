// The report of `pygc status`: the interpreter, its collectors, and how complete the data is.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/report/header.h"

namespace pygc::report {

/// Objects of one type whose references have the same label, which is not an exact one.
struct ApproximateType {
  std::string type, quality, code, reason, module;
  std::uint64_t objects = 0;
};

/// What belongs to the way the memory was had, and may differ between hosts: stands in the envelope's "target" as JSON, never in "result".
struct TargetDetails {
  std::string executable;
  std::string layout;                    // "cpython-3.12.1-default-lp64"
  std::vector<std::string> explanation;  // how each fact was found
  std::uint64_t memory_bytes = 0;        // readable
  std::uint64_t core_bytes_expected = 0, core_bytes_present = 0;
  double pause_seconds = 0, read_seconds = 0;
  std::uint64_t threads = 0;
  struct Module {
    std::string path, match, detail;
  };
  std::vector<Module> modules;  // those whose identity is not verified, and the interpreter's own
};

struct StatusReport {
  std::string build_text;  // what sys.version says
  bool tried_on_real_process = true;
  std::uint64_t exact_objects = 0, approximate_objects = 0, unreadable_objects = 0, dangling_references = 0;
  std::uint64_t types = 0, references = 0;
  std::vector<std::pair<std::string, std::uint64_t>> labels;  // tracked objects by label, every label, the most exact first
  std::vector<ApproximateType> approximate_types;
  std::uint64_t more_approximate_types = 0;  // left out by --limit
  std::vector<std::string> notes;            // what of the heap could not be followed
  TargetDetails details;
};

void WriteText(const Header& header, const StatusReport& report, TextWriter& out);
/// The whole document: `status` says in "target" what differs between hosts.
void WriteStatusDocument(const Header& header, const StatusReport& report, JsonWriter& json);

}  // namespace pygc::report
