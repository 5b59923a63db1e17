#include "core/report/json_writer.h"

#include <fmt/format.h>
#include <rapidjson/prettywriter.h>
#include <rapidjson/stringbuffer.h>

#include <algorithm>
#include <cmath>

#include "core/report/escape.h"

namespace pygc::report {
namespace {

// Source UTF-8, target ASCII: everything beyond ASCII becomes \uXXXX, so no byte of the target reaches the output as it is.
using IndentedWriter = rapidjson::PrettyWriter<rapidjson::StringBuffer, rapidjson::UTF8<>, rapidjson::ASCII<>>;

}  // namespace

struct JsonWriter::Impl {
  Impl() : writer(buffer) { writer.SetIndent(' ', 2); }
  rapidjson::StringBuffer buffer;
  IndentedWriter writer;
};

JsonWriter::JsonWriter() : impl_(std::make_unique<Impl>()) {}
JsonWriter::~JsonWriter() = default;

JsonWriter& JsonWriter::Object() {
  impl_->writer.StartObject();
  return *this;
}
JsonWriter& JsonWriter::EndObject() {
  impl_->writer.EndObject();
  return *this;
}
JsonWriter& JsonWriter::Array() {
  impl_->writer.StartArray();
  return *this;
}
JsonWriter& JsonWriter::EndArray() {
  impl_->writer.EndArray();
  return *this;
}
JsonWriter& JsonWriter::Key(std::string_view key) {
  const bool plain = std::all_of(key.begin(), key.end(), [](char c) { return c > 0 && c < 0x7f; });  // as all but a few are
  const std::string safe = plain ? std::string() : JsonSafe(key);
  if (!plain) key = safe;
  impl_->writer.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
  return *this;
}
JsonWriter& JsonWriter::String(std::string_view raw) {
  const std::string safe = JsonSafe(raw);
  impl_->writer.String(safe.data(), static_cast<rapidjson::SizeType>(safe.size()));
  return *this;
}
JsonWriter& JsonWriter::Integer(std::int64_t value) {
  impl_->writer.Int64(value);
  return *this;
}
JsonWriter& JsonWriter::Unsigned(std::uint64_t value) {
  impl_->writer.Uint64(value);
  return *this;
}
JsonWriter& JsonWriter::Seconds(double value) {
  const std::string text = std::isfinite(value) ? fmt::format("{:.6f}", value) : "0.0";
  impl_->writer.RawValue(text.data(), text.size(), rapidjson::kNumberType);
  return *this;
}
JsonWriter& JsonWriter::Real(double value) {
  if (!std::isfinite(value)) return String(fmt::format("{}", value));
  impl_->writer.Double(value);
  return *this;
}
JsonWriter& JsonWriter::Bool(bool value) {
  impl_->writer.Bool(value);
  return *this;
}
JsonWriter& JsonWriter::Null() {
  impl_->writer.Null();
  return *this;
}
JsonWriter& JsonWriter::Hex(Address value) { return String(fmt::format("{:#x}", value)); }

std::string JsonWriter::Take() {
  std::string out(impl_->buffer.GetString(), impl_->buffer.GetSize());
  impl_->buffer.Clear();
  impl_->writer.Reset(impl_->buffer);
  return out;
}

std::string JsonString(std::string_view raw) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer, rapidjson::UTF8<>, rapidjson::ASCII<>> writer(buffer);
  const std::string safe = JsonSafe(raw);
  writer.String(safe.data(), static_cast<rapidjson::SizeType>(safe.size()));
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace pygc::report
