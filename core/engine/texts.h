// The texts (str, unicode) among the objects of a snapshot, read on demand.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "core/engine/command.h"
#include "core/objects/offsets.h"
#include "core/objects/values.h"
#include "core/report/sql.h"

namespace pygc::engine {

class Texts {
 public:
  explicit Texts(const CommandInput& in)
      : heap_(in.heap), offsets_(in.reader.runtime().layout), values_(in.reader.process().memory, offsets_, in.reader.runtime().lookdict), is_text_(heap_.types.size(), kUnknown) {}

  /// True for a str (2.7: str, unicode) or an object of a subclass.
  [[nodiscard]] bool Is(heap::NodeId n, Address object) {
    std::uint8_t& known = is_text_[heap_.type[n]];
    if (known == kUnknown) known = values_.IsText(object) ? kYes : kNo;
    return known == kYes;
  }
  /// False where it cannot be read whole.
  [[nodiscard]] bool Read(Address object, bool with_value, report::SqlString* out) const {
    const std::optional<objects::TextUnits> units = values_.Units(object, std::numeric_limits<std::size_t>::max());
    if (!units) return false;
    out->length = units->length;
    out->digest = 0xcbf29ce484222325u;  // FNV-1a, over characters instead of bytes
    for (std::uint64_t i = 0; i < units->count; ++i) out->digest = (out->digest ^ units->At(i)) * 0x100000001b3u;
    if (with_value) out->value = values_.Text(object, kMaxUnits).value_or("");
    return true;
  }
  /// The first characters.
  [[nodiscard]] std::string Start(Address object, std::size_t max) const { return values_.Text(object, max).value_or(""); }
  [[nodiscard]] bool Equal(Address a, Address b) const {
    const auto x = values_.Units(a, std::numeric_limits<std::size_t>::max()), y = values_.Units(b, std::numeric_limits<std::size_t>::max());
    if (!x || !y || x->count != y->count) return false;
    for (std::uint64_t i = 0; i < x->count; ++i) {
      if (x->At(i) != y->At(i)) return false;
    }
    return true;
  }

 private:
  enum : std::uint8_t { kUnknown, kYes, kNo };
  static constexpr std::size_t kMaxUnits = std::size_t{16} << 20;  // of a value that is shown; SQLite takes no longer one

  const heap::HeapSnapshot& heap_;
  objects::Offsets offsets_;
  objects::Values values_;
  std::vector<std::uint8_t> is_text_;  // by type
};

}  // namespace pygc::engine
