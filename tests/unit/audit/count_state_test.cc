// The states that the two counts of a free-threaded object can be in.
#include "core/audit/count_state.h"

#include <doctest/doctest.h>

#include "core/audit/reference_counter.h"
#include "tests/support/fake_mimalloc.h"

namespace pygc::audit {
namespace {

using cpython::Field;

constexpr Address kObject = test::kOther + 0x1000;

struct State {
  bool settled, lives_without;
};

State Of(std::uint64_t owner, std::uint32_t local, std::int64_t shared, std::uint8_t bits = 1, bool in_queue = false, bool collecting = false) {
  test::FakeMimalloc fake("cpython-3.13.5-free-threaded-lp64");
  fake.Set(kObject, Field::PyObject_ob_tid, owner);
  fake.Set(kObject, Field::PyObject_ob_ref_local, local);
  fake.Set(kObject, Field::PyObject_ob_ref_shared, static_cast<std::uint64_t>(shared));
  fake.Set(kObject, Field::PyObject_ob_gc_bits, bits);
  if (in_queue) {
    fake.Set(test::kThread, Field::PyThreadStateImpl_brc_objects_to_merge, test::kOther);
    fake.Set(test::kOther, Field::PyObjectStackChunk_n, 1);
    fake.fake.Write<std::uint64_t>(test::kOther + fake.Layout().Offset(Field::PyObjectStackChunk_objs), kObject);
  }
  fake.runtime.interpreters[0].collecting = collecting;
  const target::Process process = fake.fake.Build();
  const CountState state(process, fake.runtime, Limits());
  return {state.IsSettled(kObject), state.LivesWithout(kObject)};
}

TEST_CASE("owned, shared and merged counts add up; between two of them they do not") {
  CHECK(Of(77, 2, 0).settled);
  CHECK(Of(77, 2, -4 + 1).settled);
  CHECK(Of(0, 0, 8 + 3).settled);                    // merged
  CHECK_FALSE(Of(0, 0, 4).settled);                  // the owner gave it up, and its share is not in the other count yet
  CHECK_FALSE(Of(77, 1, 4 + 3).settled);             // merged, and yet somebody's
  CHECK(Of(0, 1, 4, 1, false, true).settled);        // a collection keeps its own numbers where the owner is
}

TEST_CASE("an object to be merged is in a queue; one with deferred counting need not be") {
  CHECK_FALSE(Of(77, 1, -4 + 2).settled);
  CHECK(Of(77, 1, -4 + 2, 1, true).settled);
  CHECK(Of(77, 1, 2, 1 | 64).settled);
}

TEST_CASE("what waits for its owner or for the collector lives without a count, what its last owner let go of does not") {
  CHECK(Of(77, 1, -4 + 2, 1, true).lives_without);
  CHECK(Of(77, 0, 0, 1 | 64).lives_without);
  CHECK_FALSE(Of(77, 0, 0).lives_without);
  CHECK_FALSE(Of(0, 0, 3).lives_without);
}

TEST_CASE("counts of free-threaded 3.14 and later, a part of which no object has, are not audited") {
  for (const char* name : {"cpython-3.13.5-free-threaded-lp64", "cpython-3.13.18-free-threaded-lp64"}) CHECK(CanCount(test::FakeMimalloc(name).runtime));
  for (const char* name : {"cpython-3.14.0-free-threaded-lp64", "cpython-3.15.2-free-threaded-lp64"}) CHECK_FALSE(CanCount(test::FakeMimalloc(name).runtime));
}

}  // namespace
}  // namespace pygc::audit
