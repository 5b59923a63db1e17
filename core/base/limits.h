// Every bound on numbers that come from the target, each with its default and the reason for it.
// A bound that is met is named in the report; none is ever met silently.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pygc {

struct Limits {
  // Files
  std::size_t max_program_headers = 1u << 22;       // the kernel's default max_map_count is 65,530; PN_XNUM cores may have more
  std::size_t max_note_bytes = 256u << 20;          // all note segments; NT_FILE alone is 4 MiB at most by default
  std::size_t max_module_file_bytes = 4ull << 30;   // a module named by the dump; larger is refused
  std::uint64_t max_decompressed_bytes = 1ull << 40;
  std::uint32_t max_decompression_ratio = 2000;     // zeros compress 1000-fold with zstd; beyond that it is a bomb

  // Interpreter state
  std::size_t max_interpreters = 4096;
  std::size_t max_threads = 65536;                  // thread states of one interpreter
  std::size_t max_frames = 1u << 20;                // frames of one thread

  // Objects. Node ids are 32 bits; ~0 is reserved.
  std::uint64_t max_objects = 0xFFFFFFF0ull;
  std::size_t max_types = 1u << 24;
  std::size_t max_name_bytes = 4096;                // of one type, module or attribute name in a report
  std::size_t max_type_depth = 1024;                // tp_base chain
  std::uint64_t max_slots_per_type = 1u << 16;      // PyMemberDef records of one type
  std::uint64_t max_memory_bytes = 0;               // 0: no limit given (--max-memory)
  unsigned threads = 0;                             // 0: one for each core of the machine (--threads)
};

}  // namespace pygc
