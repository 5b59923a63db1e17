#include "core/engine/baseline.h"

#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>
#include <rapidjson/stringbuffer.h>

#include <string_view>

#include "core/base/small_file.h"

namespace pygc::engine {
namespace {

constexpr std::size_t kMostBytes = std::size_t{64} << 20;

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
    if (wanted == Wanted::kSchema && std::string_view(text, size).starts_with("pygc.")) is_ours = true;
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
    return Fail(ErrorCode::kUsage, "--baseline {} is not JSON: {} at byte {}", path, rapidjson::GetParseError_En(reader.GetParseErrorCode()), reader.GetErrorOffset());
  }
  if (!found.is_ours) {
    return Fail(ErrorCode::kUsage, "--baseline {} is no baseline: give a file that pygc-triage --write-baseline made, or a JSON report of leaks or refcounts", path);
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
