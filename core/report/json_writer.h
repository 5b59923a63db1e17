// Streaming JSON: valid whatever the bytes, ASCII only, one document into a string. RapidJSON stays in the .cc.
#pragma once

#include <cstdint>
#include <optional>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/address.h"

namespace pygc::report {

/// Writes one indented JSON document. Keys are constants of this program; every string value passes JsonSafe.
class JsonWriter {
 public:
  JsonWriter();
  ~JsonWriter();
  JsonWriter(const JsonWriter&) = delete;
  JsonWriter& operator=(const JsonWriter&) = delete;

  JsonWriter& Object();
  JsonWriter& EndObject();
  JsonWriter& Array();
  JsonWriter& EndArray();
  JsonWriter& Key(std::string_view key);
  JsonWriter& String(std::string_view raw);
  JsonWriter& Integer(std::int64_t value);
  JsonWriter& Unsigned(std::uint64_t value);
  /// Rounded to microseconds: only for timing.
  JsonWriter& Seconds(double value);
  /// The shortest digits that give the number again; infinities, which JSON does not have, as strings.
  JsonWriter& Real(double value);
  JsonWriter& Bool(bool value);
  JsonWriter& Null();
  /// "0x7f12ab34cd50"
  JsonWriter& Hex(Address value);

  JsonWriter& String(std::string_view key, std::string_view raw) { return Key(key).String(raw); }
  JsonWriter& Integer(std::string_view key, std::int64_t value) { return Key(key).Integer(value); }
  JsonWriter& Integer(std::string_view key, std::optional<std::int64_t> value) { return value ? Key(key).Integer(*value) : Key(key).Null(); }
  JsonWriter& Unsigned(std::string_view key, std::uint64_t value) { return Key(key).Unsigned(value); }
  JsonWriter& Unsigned(std::string_view key, std::optional<std::uint64_t> value) { return value ? Key(key).Unsigned(*value) : Key(key).Null(); }
  JsonWriter& Bool(std::string_view key, bool value) { return Key(key).Bool(value); }
  JsonWriter& Hex(std::string_view key, Address value) { return Key(key).Hex(value); }

  /// What was written so far; the writer starts anew with an empty document.
  [[nodiscard]] std::string Take();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// `raw` as one quoted JSON string, ASCII only: for rows that are written by the million.
[[nodiscard]] std::string JsonString(std::string_view raw);

}  // namespace pygc::report
