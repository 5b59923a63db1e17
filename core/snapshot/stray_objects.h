// Tracked objects that nothing leads to any more: the collector's lists, or the interpreter's state with their heads, are in a part of the image that is
// missing. What is left shows them by itself: links of the collector between objects that are there, and blocks of CPython's allocator that are in use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "core/base/address.h"
#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/cpython/runtime.h"
#include "core/snapshot/object_source.h"
#include "core/target/process.h"

namespace pygc::snapshot {

/// True where memory of the target is missing that a tracked object or a link may lie in, as against left out because the process never touched it: what a
/// truncated core lacks; and what a core leaves out although the memory that is there has many pointers into it (MADV_DONTDUMP says nothing else).
[[nodiscard]] bool LostHeap(const target::Process& process);
/// The same, or a stack is missing: references may be in it.
[[nodiscard]] bool LostMemory(const target::Process& process);

/// True where anything is there of the memory that a module writes to.
[[nodiscard]] bool HasDataOf(const target::Process& process, std::size_t module_index);

/// What to say behind "is missing" of a core that is not truncated: who left it out, and how to get a better one.
[[nodiscard]] std::string LeftOut(const target::Process& process);

/// What AddStrayObjects() found beside the lists.
struct StrayCount {
  std::uint64_t objects = 0;
  std::uint64_t stretches = 0;  // of lists, each as far as its links lead
  std::uint64_t closed = 0;     // of these, rings without a head
  std::uint64_t by_block = 0;   // of the objects, those whose neighbours are both missing: told by the allocator's block that holds them
};

/// The memory that an object of a type with a PyGC_Head takes.
struct GcObjectBytes {
  std::uint64_t before = 0;  // what lies before its PyGC_Head: the pre-header of 3.11+
  std::uint64_t bytes = 0;   // of the object itself, items included; 0 where its count of items makes no sense
};
/// What an address holds, if that is an object whose type is one of the collector's.
using GcObjectTest = std::function<std::optional<GcObjectBytes>(Address)>;

/// Adds to `found` the tracked objects of all readable memory that are not marked in its index yet, as lists without a head, of the generation
/// heap::kUntrackable: no verdict is passed on them, because what keeps them alive may be missing.
///
/// Each one shows by what is there that it is tracked: it has a type, a count that is not 0, and a neighbour that leads back to it, or, where the memory of
/// both neighbours is lost, just fills a block in use in a pool of CPython's allocator. So more memory never makes fewer of them, and none is one
/// that the collector does not track. Objects of which nothing of the kind is left are not found: the count is a lower bound.
/// `gc_object`: see GcObjectTest. Not for free-threaded builds. Errors: kCancelled.
[[nodiscard]] Result<StrayCount> AddStrayObjects(const target::Process& process, const cpython::Runtime& runtime, const GcObjectTest& gc_object,
                                                 ProgressSink& progress, FoundObjects& found);

/// log2 of the distances at which objects of the build may begin on its heap.
[[nodiscard]] std::uint8_t ObjectShift(const cpython::Layout& layout) noexcept;

}  // namespace pygc::snapshot
