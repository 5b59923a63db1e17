// Keys as Python source: what a program would have to write to get an equal object. Only for what such a text gives back exactly: str, bytes, numbers, constants,
// and tuples, frozensets and ranges of them, small enough to be written in a line.
#pragma once

#include <optional>
#include <string>

#include "core/base/address.h"
#include "core/objects/object_reader.h"
#include "core/objects/offsets.h"
#include "core/objects/repr.h"
#include "core/objects/values.h"

namespace pygc::objects {

class Literals {
 public:
  static constexpr std::size_t kMaxText = 64;   // characters of a str, bytes of a bytes object; about as many digits of an int
  static constexpr std::size_t kMaxItems = 16;  // of one container
  static constexpr int kMaxDepth = 4;           // of containers
  static constexpr std::size_t kMaxTotal = 512; // bytes of the whole text

  /// `reader` must outlive it.
  explicit Literals(const ObjectReader& reader);

  /// The text, UTF-8 on one line; nullopt where there is none or it would be longer than the limits. An instance of a class derived from str or int is written as what it is
  /// equal to, unless a class statement gave it a __hash__ or an __eq__ of its own.
  [[nodiscard]] std::optional<std::string> Of(Address object) const;

 private:
  [[nodiscard]] bool IsWritable(Address object, int depth) const;
  [[nodiscard]] std::optional<std::string> Plain(Address object, const TypeFacts& type) const;

  const ObjectReader* reader_;
  Offsets offsets_;
  Values values_;
  Repr repr_;
};

}  // namespace pygc::objects
