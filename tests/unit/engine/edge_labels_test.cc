#include "core/engine/edge_labels.h"

#include <doctest/doctest.h>

namespace pygc::engine {
namespace {

TEST_CASE("redacted, an attribute has its name only where a program can write it") {
  for (const char* label : {".name", ".a1_b", ".__self__", ".__dict__", "attribute name head", ".\xC3\xA9t\xC3\xA9", "local x in f()", "[3]", "{+0x18}"}) CHECK(ProgramText(label) == label);
  CHECK(ProgramText(".ssn 078") == ".\xE2\x80\xA6");
  CHECK(ProgramText("attribute name alice@example.com") == "attribute name \xE2\x80\xA6");
}

}  // namespace
}  // namespace pygc::engine
