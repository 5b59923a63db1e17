#include "core/report/numbers.h"

#include <doctest/doctest.h>

using namespace pygc::report;

TEST_CASE("a deep row of a tree says its level and is indented no further") {
  CHECK(ShownDepth(3) == 3);
  CHECK(LevelText(3).empty());
  CHECK(ShownDepth(100'000) == ShownDepth(41));
  CHECK(LevelText(100'000) == "(level 100,000) ");
}

TEST_CASE("thousands are set apart") {
  CHECK(Thousands(0) == "0");
  CHECK(Thousands(999) == "999");
  CHECK(Thousands(1000) == "1,000");
  CHECK(Thousands(18446744073709551615ull) == "18,446,744,073,709,551,615");
}

TEST_CASE("bytes in three digits and powers of a thousand") {
  CHECK(Bytes(0) == "0 B");
  CHECK(Bytes(999) == "999 B");
  CHECK(Bytes(1000) == "1.0 kB");
  CHECK(Bytes(1900000) == "1.9 MB");
  CHECK(Bytes(999499) == "999 kB");
  CHECK(Bytes(999500) == "1.0 MB");
  CHECK(Bytes(~0ull) == "18.4 EB");
}

TEST_CASE("nouns agree with their number") {
  CHECK(Counted(1, "object") == "1 object");
  CHECK(Counted(5610, "object") == "5,610 objects");
  CHECK(Counted(0, "entry") == "0 entries");
  CHECK(Counted(2, "key") == "2 keys");
}
