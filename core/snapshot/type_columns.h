// The type column: while objects are read it holds TypeFacts::id, whose order depends on which thread met a type first; then indices of records
// sorted by the type's address, so that a snapshot is the same for any number of threads.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/heap/heap_snapshot.h"
#include "core/objects/object_reader.h"

namespace pygc::snapshot {

/// How often a type was met, by quality of referents.
struct TypeUse {
  // Values of the column for objects without a type.
  static constexpr std::uint32_t kNoType = 0xFFFFFFFFu;      // ob_type is no type object
  static constexpr std::uint32_t kUnreadable = 0xFFFFFFFEu;  // the object's memory is not there
  static constexpr std::uint32_t kFirstSpecial = kUnreadable;

  std::array<std::uint64_t, 6> by_quality{};
  void Add(objects::ReferentQuality q) noexcept { ++by_quality[static_cast<std::size_t>(q)]; }
};

/// What a snapshot keeps of a type. `use`: of its objects.
[[nodiscard]] heap::TypeRecord MakeTypeRecord(const objects::TypeFacts& facts, const TypeUse& use, const objects::ObjectReader& reader);

/// Makes TypeRecords of the types that were used, and translates a column to them.
class TypeColumn {
 public:
  /// `facts` by TypeFacts::id; entries may be nullptr.
  explicit TypeColumn(std::span<const objects::TypeFacts* const> facts) : facts_(facts), use_(facts.size()) {}

  void Use(std::span<const TypeUse> uses);
  /// Records by address, then one for objects without a type and one for unreadable objects. Call once, after all Use().
  [[nodiscard]] std::vector<heap::TypeRecord> Records(const objects::ObjectReader& reader);
  /// Ids or special values -> indices into the records.
  void Translate(std::span<std::uint32_t> column) const;

 private:
  std::span<const objects::TypeFacts* const> facts_;
  std::vector<TypeUse> use_;
  std::vector<std::uint32_t> index_;  // by id
  std::uint32_t no_type_ = 0;
};

}  // namespace pygc::snapshot
