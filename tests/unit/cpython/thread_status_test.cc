#include "core/cpython/thread_status.h"

#include <doctest/doctest.h>

using namespace pygc::cpython;

TEST_CASE("the bit of the GIL's holder is known from 3.12 on, where there is a GIL") {
  CHECK_FALSE(GilStatusBit({3, 11, 7}, {}));
  CHECK_FALSE(GilStatusBit({2, 7, 18}, {}));
  CHECK(GilStatusBit({3, 12, 1}, {}) == 16u);
  CHECK(GilStatusBit({3, 13, 0}, {}) == 16u);
  CHECK(GilStatusBit({3, 15, 2}, {}) == 16u);
  BuildFlavor free_threaded;
  free_threaded.free_threaded = true;
  CHECK_FALSE(GilStatusBit({3, 13, 5}, free_threaded));
}
