// How full the tables of lists, dicts and sets are. For whoever looks for memory that is paid for and not used.
#pragma once

#include <cstdint>
#include <optional>

#include "core/objects/object_reader.h"
#include "core/objects/offsets.h"
#include "core/objects/type_table.h"
#include "core/objects/values.h"

namespace pygc::objects {

/// The table of one container.
struct ContainerFill {
  enum class Kind : std::uint8_t { kList, kDict, kSet } kind = Kind::kList;
  std::uint64_t capacity = 0;  // entries that it has room for; 0 where it has no table of its own (empty, inside the object, shared with other dicts)
  std::uint64_t used = 0;      // entries of the container
  std::uint32_t entry_bytes = 0;

  /// Bytes of entries that nothing is in; 0 without a table of its own.
  [[nodiscard]] std::uint64_t UnusedBytes() const noexcept { return capacity > used ? (capacity - used) * entry_bytes : 0; }
};

class ContainerReader {
 public:
  explicit ContainerReader(const ObjectReader& reader)
      : offsets_(reader.runtime().layout), values_(reader.process().memory, offsets_, reader.runtime().lookdict) {}

  /// Of a list, dict, set or frozenset, and of their subclasses; nullopt for all else and where it cannot be read.
  [[nodiscard]] std::optional<ContainerFill> Of(Address object, const TypeFacts& type) const;

 private:
  [[nodiscard]] std::optional<ContainerFill> List(Address object) const;
  [[nodiscard]] std::optional<ContainerFill> Dict(Address object) const;
  [[nodiscard]] std::optional<ContainerFill> Set(Address object) const;

  Offsets offsets_;
  Values values_;
};

}  // namespace pygc::objects
