#include "core/engine/baseline.h"

#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>
#include <rapidjson/stringbuffer.h>

#include <algorithm>
#include <string_view>

#include "core/base/small_file.h"

namespace pygc::engine {
namespace {

constexpr std::size_t kMostBytes = std::size_t{64} << 20;

// The documents that have fingerprints. Another one, taken for an empty baseline, would say nothing of its being the wrong file.
constexpr std::string_view kWithFingerprints[] = {"pygc.baseline/", "pygc.triage/", "pygc.leaks/", "pygc.refcounts/", "pygc.expect/"};

// Takes two keys' values out of the stream of tokens, wherever they stand.
struct Fingerprints : rapidjson::BaseReaderHandler<rapidjson::UTF8<>, Fingerprints> {
  bool Default() {
    wanted = Wanted::kNothing;
    return true;
  }
  bool Key(const char* text, rapidjson::SizeType size, bool) {
    const std::string_view key(text, size);
    wanted = key == "fingerprint" ? Wanted::kFingerprint : key == "schema" ? Wanted::kSchema : Wanted::kNothing;
    return true;
  }
  bool String(const char* text, rapidjson::SizeType size, bool) {
    if (wanted == Wanted::kFingerprint) known.emplace(text, size);
    const std::string_view value(text, size);
    if (wanted == Wanted::kSchema) is_ours |= std::ranges::any_of(kWithFingerprints, [&](std::string_view schema) { return value.starts_with(schema); });
    return Default();
  }

  enum class Wanted { kNothing, kFingerprint, kSchema } wanted = Wanted::kNothing;
  std::set<std::string> known;
  bool is_ours = false;
};

}  // namespace

Result<Baseline> Baseline::Parse(const std::string& text, const std::string& path) {
  Fingerprints found;
  rapidjson::Reader reader;
  rapidjson::StringStream stream(text.c_str());
  if (!reader.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(stream, found)) {
    std::string_view why = rapidjson::GetParseError_En(reader.GetParseErrorCode());
    if (why.ends_with('.')) why.remove_suffix(1);
    return Fail(ErrorCode::kUsage, "--baseline {} is not JSON: {} at byte {}", path, why, reader.GetErrorOffset());
  }
  if (!found.is_ours) {
    return Fail(ErrorCode::kUsage, "--baseline {} is no baseline: give a file that pygc-triage --write-baseline made, or a JSON report of triage, leaks, refcounts or expect", path);
  }
  Baseline made;
  made.known_ = std::move(found.known);
  return made;
}

Result<Baseline> Baseline::Read(const std::string& path) {
  const Result<std::string> text = ReadSmallFile(path, kMostBytes);
  if (!text) return Fail(text.error().code, "--baseline {} {}", path, text.error().message);
  return Parse(*text, path);
}

}  // namespace pygc::engine
