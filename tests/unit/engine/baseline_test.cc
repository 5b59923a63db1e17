#include "core/engine/baseline.h"

#include <doctest/doctest.h>

using pygc::ErrorCode;
using pygc::Result;
using pygc::engine::Baseline;

TEST_CASE("a baseline is every fingerprint of a document of pygc, wherever it stands") {
  const Result<Baseline> b = Baseline::Parse(
      R"({"schema": "pygc.leaks/1", "result": {"groups": [{"fingerprint": "00000000000000aa", "type": "x"}, {"type": "fingerprint"}], "n": null,
          "deep": [[{"fingerprint": "00000000000000bb"}]], "other": {"fingerprint": null}}})",
      "base.json");
  REQUIRE(b.has_value());
  CHECK(b->size() == 2);
  CHECK(b->Has("00000000000000aa"));
  CHECK(b->Has("00000000000000bb"));
  CHECK_FALSE(b->Has("x"));
}

TEST_CASE("what is no baseline is refused and says what is wanted") {
  for (const char* text : {"", "{", "[]", "{}", "\"pygc.leaks/1\"", R"({"schema": "pygc.status/1", "result": {}})", R"({"schema": "other/1", "fingerprint": "00000000000000aa"})", "not json"}) {
    INFO(text);
    const Result<Baseline> b = Baseline::Parse(text, "base.json");
    REQUIRE_FALSE(b.has_value());
    CHECK(b.error().code == ErrorCode::kUsage);
    CHECK(b.error().message.find("base.json") != std::string::npos);
  }
  CHECK(Baseline::Parse("not json", "base.json").error().message == "--baseline base.json is not JSON: Invalid value at byte 1");
  CHECK_FALSE(Baseline::Read("/nowhere/base.json").has_value());
  CHECK_FALSE(Baseline::Read("/").has_value());  // a folder
}

TEST_CASE("deep nesting does not end the program") {
  const std::string deep(1'000'000, '[');
  CHECK_FALSE(Baseline::Parse(deep, "base.json").has_value());
}
