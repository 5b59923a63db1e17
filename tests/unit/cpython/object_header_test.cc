// Reference counts of every encoding.
#include "core/cpython/object_header.h"

#include <doctest/doctest.h>

#include <array>
#include <cstring>

#include "tests/unit/cpython/fake_python.h"

namespace pygc::cpython {
namespace {

struct Head {
  explicit Head(std::string_view layout_name) {
    runtime.layout = test::BuiltinLayout(layout_name);
    runtime.refcount = static_cast<RefcountFormat>(runtime.layout.Value(Constant::REFCOUNT_FORMAT));
  }
  template <typename T>
  Head& Put(Field f, T value) {
    REQUIRE(sizeof(T) == runtime.layout.Width(f));
    std::memcpy(bytes.data() + runtime.layout.Offset(f), &value, sizeof value);
    return *this;
  }
  Head& PutWord(std::uint64_t value) {
    std::memcpy(bytes.data() + runtime.layout.Offset(Field::PyObject_ob_refcnt), &value, sizeof value);
    return *this;
  }
  [[nodiscard]] std::uint32_t Refcount() const { return ObjectHeaderReader(runtime).Refcount(bytes.data()); }
  Runtime runtime;
  std::array<std::byte, 64> bytes{};
};

}  // namespace

TEST_CASE("plain counts: nothing is immortal up to 3.11") {
  CHECK(Head("cpython-3.8.18-default-lp64").PutWord(3).Refcount() == 3);
  CHECK(Head("cpython-3.11.7-default-lp64").PutWord(999999999).Refcount() == 999999999);
  CHECK(Head("cpython-3.11.7-default-lp64").PutWord(0x100000000).Refcount() == kSaturatedRefcount);
  CHECK(Head("cpython-3.11.7-default-lp64").PutWord(~0ull).Refcount() == kSaturatedRefcount);
  CHECK(Head("cpython-2.7.18-default-debug-trace-refs-lp64").PutWord(5).Refcount() == 5);
}

TEST_CASE("immortal objects of 3.12 and later") {
  for (const std::string_view name : {"cpython-3.12.1-default-lp64", "cpython-3.13.0-default-lp64", "cpython-3.14.10-default-lp64", "cpython-3.15.2-default-lp64"}) {
    CHECK(Head(name).PutWord(7).Refcount() == 7);
    CHECK(Head(name).PutWord(0xFFFFFFFF).Refcount() == kImmortalRefcount);
    CHECK(Head(name).PutWord(0x80000000).Refcount() == kImmortalRefcount);
    CHECK(Head(name).PutWord(0x7FFFFFFF).Refcount() == 0x7FFFFFFF);
  }
  CHECK(Head("cpython-3.14.10-default-lp64").PutWord(0x00050000C0000000).Refcount() == kImmortalRefcount);  // None, as seen
  CHECK(Head("cpython-3.14.10-default-lp64").PutWord(0x0004000000000002).Refcount() == 2);                  // flags above the count
}

TEST_CASE("biased counts of free-threaded builds") {
  using F = Field;
  const auto head = [](std::string_view name, std::uint32_t local, std::int64_t shared, std::uint8_t bits = 1) {
    return Head(name).Put<std::uint32_t>(F::PyObject_ob_ref_local, local).Put<std::int64_t>(F::PyObject_ob_ref_shared, shared).Put<std::uint8_t>(F::PyObject_ob_gc_bits, bits).Refcount();
  };
  for (const std::string_view name : {"cpython-3.13.5-free-threaded-lp64", "cpython-3.14.10-free-threaded-lp64"}) {
    CHECK(head(name, 3, 0) == 3);
    CHECK(head(name, 3, (2 << 2) | 1) == 5);
    CHECK(head(name, 5, -2 * 4) == 3);      // decremented by another thread
    CHECK(head(name, 0, (4 << 2) | 3) == 4);  // merged
    CHECK(head(name, 0xFFFFFFFF, 0) == kImmortalRefcount);
    CHECK(head(name, 0, -4) == kSaturatedRefcount);  // negative: not a count
  }
  // Deferred: 3.13 holds one in the local count, 3.14 adds PY_SSIZE_T_MAX / 8 to the shared one.
  CHECK(head("cpython-3.13.5-free-threaded-lp64", 3, 2, 1 | 64) == 2);
  CHECK(head("cpython-3.14.10-free-threaded-lp64", 2, 0x0FFFFFFFFFFFFFFFll * 4, 1 | 64) == 2);
}

TEST_CASE("a live object whose only count is the collector's or a queue's is not at 0 in its own words") {
  using F = Field;
  const auto zero = [](std::string_view name, std::uint32_t local, std::int64_t shared, std::uint8_t bits) {
    Head head(name);
    head.Put<std::uint32_t>(F::PyObject_ob_ref_local, local).Put<std::int64_t>(F::PyObject_ob_ref_shared, shared).Put<std::uint8_t>(F::PyObject_ob_gc_bits, bits);
    return ObjectHeaderReader(head.runtime).StoredCountIsZero(head.bytes.data());
  };
  CHECK_FALSE(zero("cpython-3.13.5-free-threaded-lp64", 1, 2, 1 | 64));  // deferred: Refcount() is 0
  CHECK_FALSE(zero("cpython-3.14.10-free-threaded-lp64", 0, 0x0FFFFFFFFFFFFFFFll * 4, 1 | 64));
  CHECK_FALSE(zero("cpython-3.13.5-free-threaded-lp64", 1, 2, 1));  // queued: the queue owns the one
  CHECK(zero("cpython-3.13.5-free-threaded-lp64", 0, 3, 1));
  CHECK(zero("cpython-3.13.5-free-threaded-lp64", 1, -4, 1));
  Head plain("cpython-3.12.1-default-lp64");
  CHECK(ObjectHeaderReader(plain.runtime).StoredCountIsZero(plain.bytes.data()));
  CHECK_FALSE(ObjectHeaderReader(plain.PutWord(1).runtime).StoredCountIsZero(plain.bytes.data()));
}

TEST_CASE("what its owner has just let go of is told from what waits for the collector") {
  using F = Field;
  const auto gone = [](std::uint32_t local, std::int64_t shared, std::uint8_t bits) {
    Head head("cpython-3.13.5-free-threaded-lp64");
    head.Put<std::uint32_t>(F::PyObject_ob_ref_local, local).Put<std::int64_t>(F::PyObject_ob_ref_shared, shared).Put<std::uint8_t>(F::PyObject_ob_gc_bits, bits);
    return ObjectHeaderReader(head.runtime).HasLostLastReference(head.bytes.data());
  };
  CHECK(gone(0, 0, 1));
  CHECK(gone(0, 3, 1));             // merged
  CHECK_FALSE(gone(1, 0, 1));
  CHECK_FALSE(gone(0, 4, 1));
  CHECK_FALSE(gone(1, -4 + 2, 1));  // queued: the collector merges it and takes it for garbage
  CHECK_FALSE(gone(0, 0, 1 | 64));  // deferred
}

TEST_CASE("an object is being freed where its count is 0, and in a free-threaded build where nothing else keeps it") {
  Head plain("cpython-3.12.1-default-lp64"), threaded("cpython-3.13.5-free-threaded-lp64");
  CHECK(ObjectHeaderReader(plain.runtime).IsBeingFreed(plain.bytes.data()));
  CHECK_FALSE(ObjectHeaderReader(plain.PutWord(2).runtime).IsBeingFreed(plain.bytes.data()));
  CHECK(ObjectHeaderReader(threaded.runtime).IsBeingFreed(threaded.bytes.data()));
  threaded.Put<std::uint32_t>(Field::PyObject_ob_ref_local, 1).Put<std::int64_t>(Field::PyObject_ob_ref_shared, 2).Put<std::uint8_t>(Field::PyObject_ob_gc_bits, 1 | 64);  // deferred
  CHECK(ObjectHeaderReader(threaded.runtime).Refcount(threaded.bytes.data()) == 0);
  CHECK_FALSE(ObjectHeaderReader(threaded.runtime).IsBeingFreed(threaded.bytes.data()));
}

TEST_CASE("type and size of the head") {
  Head head("cpython-3.13.5-free-threaded-lp64");
  head.Put<std::uint64_t>(Field::PyObject_ob_type, 0x1234);
  const ObjectHeaderReader reader(head.runtime);
  CHECK(reader.Type(head.bytes.data()) == 0x1234);
  CHECK(reader.size() == 32);
}

}  // namespace pygc::cpython
