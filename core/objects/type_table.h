// PyTypeObject facts, read once for each type, and the choice of how its instances' referents are read.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/base/limits.h"
#include "core/base/result.h"
#include "core/cpython/runtime.h"

namespace pygc::objects {

/// How exactly an object's referents are known (contract.md, traverse.md section 5).
enum class ReferentQuality : std::uint8_t { kExact, kExactTls, kExactWrote, kPartial, kApproximate, kUnknown };
[[nodiscard]] constexpr bool IsExact(ReferentQuality q) noexcept { return q <= ReferentQuality::kExactWrote; }
[[nodiscard]] const char* QualityName(ReferentQuality q) noexcept;  // "exact", "exact-tls", ...

/// Which reader serves a type. kNone: no traverse, no referents. kScan: the fallback. kMachine: interpretation of its tp_traverse.
enum class ReaderKind : std::uint8_t;

enum class FinalizerKind : std::uint8_t { kNone, kDel, kTpFinalize, kTpDel };

/// What a type says of its instances. Filled once; immutable afterwards.
struct TypeFacts {
  Address address = 0;
  std::uint32_t id = 0;             // index in the table
  std::string name;                 // as in <class 'NAME'>, raw UTF-8
  Address metatype = 0;
  std::uint64_t flags = 0;          // tp_flags
  std::int64_t basicsize = 0, itemsize = 0;
  std::int64_t dictoffset = 0, weaklistoffset = 0;
  Address tp_traverse = 0, tp_is_gc = 0, tp_base = 0, tp_finalize = 0, tp_del = 0;
  bool is_heap_type = false, have_gc = false, valid = false;
  FinalizerKind finalizer = FinalizerKind::kNone;
  bool legacy_finalizer = false;
  bool object_decides_legacy_finalizer = false;  // 2.7 classic instances, generators
  ReaderKind reader{};              // of instances
  ReaderKind base_reader{};         // instances of heap types: what the base's traverse does after slots and dict
  ReferentQuality quality = ReferentQuality::kExact;
  std::string reason;               // why not exact
  std::vector<std::uint32_t> slot_offsets;  // __slots__ of the type and its bases, in subtype_traverse order
  std::vector<Address> slot_names;          // char* of each, for labels
  bool visits_dict = false, visits_type = false;  // subtype_traverse steps 2-4
  Address cached_keys = 0;          // ht_cached_keys
};

}  // namespace pygc::objects
