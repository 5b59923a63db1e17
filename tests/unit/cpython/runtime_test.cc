// LocateRuntime on processes written through every built-in layout, and on damaged ones. Real processes: the end-to-end tests.
#include "core/cpython/runtime.h"

#include <doctest/doctest.h>

#include <random>
#include <string>

#include "core/cpython/interpreter_state.h"
#include "tests/unit/cpython/fake_python.h"

namespace pygc::cpython {
namespace {

using F = Field;
using test::FakePython;

bool Mentions(const std::vector<std::string>& lines, std::string_view text) {
  for (const std::string& line : lines) {
    if (line.find(text) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("a process of every built-in layout is read back") {
  for (const Layout& layout : BuiltinLayouts()) {
    INFO(layout.name);
    const FakePython python(layout);
    const target::Process process = python.fake.Build();
    const auto runtime = LocateRuntime(process, Limits{});
    REQUIRE_MESSAGE(runtime, layout.name, runtime ? "" : runtime.error().message);
    // Nothing but its file tells a debug build; without one, its release layout must still read the same.
    if (!layout.flavor.debug) CHECK(runtime->layout.name == layout.name);
    CHECK(runtime->version_text == layout.version.text());
    CHECK(runtime->layout.flavor.free_threaded == layout.flavor.free_threaded);
    CHECK(runtime->build_text == layout.version.text() + " (main, Jan  1 2026, 00:00:00) [GCC 12.2.0]");
    CHECK(runtime->module_index == 0);
    CHECK(runtime->type_type == FakePython::kTypeType);
    CHECK(runtime->layout_tried_on_real_process == layout.tried);
    CHECK(runtime->gc_head.size == (layout.flavor.free_threaded ? 0u : layout.version.hex() >= 0x03080000 ? 16u : 32u));
    REQUIRE(runtime->interpreters.size() == 1);
    const Interpreter& one = runtime->interpreters[0];
    CHECK(one.address == FakePython::kInterpreter);
    CHECK(one.modules == FakePython::kModules);
    CHECK(one.sysdict == FakePython::kSysdict);
    CHECK(one.builtins == FakePython::kBuiltins);
    CHECK(one.enabled);
    CHECK_FALSE(one.collecting);
    REQUIRE(one.threads.size() == 1);
    CHECK(one.threads[0].tstate == FakePython::kThread);
    CHECK(one.threads[0].thread_id == FakePython::kThreadId);
    CHECK(one.threads[0].native_thread_id.has_value() == layout.Has(F::PyThreadState_native_thread_id));
    CHECK(one.threads[0].native_thread_id.value_or(77) == 77);
    if (layout.Has(F::gc_runtime_state_garbage)) {
      CHECK(one.garbage == FakePython::kGarbage);
      CHECK(one.callbacks == FakePython::kCallbacks);
      CHECK(one.debug == 32);
    }
    if (layout.flavor.free_threaded) {
      CHECK(one.collector == CollectorKind::kFreeThreaded);
      REQUIRE(one.generations.size() == 3);  // thresholds and counts, no lists
      for (std::uint32_t i = 0; i < 3; ++i) {
        CHECK(one.generations[i].head == 0);
        CHECK(one.generations[i].threshold == static_cast<std::int32_t>(i == 0 ? 701 : 10 + i));
        CHECK(one.generations[i].count == static_cast<std::int32_t>(5 + i));
      }
      CHECK(one.generation_number.empty());
      CHECK_FALSE(one.permanent.has_value());
      continue;
    }
    REQUIRE(one.generations.size() == 3);
    for (std::uint32_t i = 0; i < 3; ++i) {
      CHECK(one.generations[i].head == python.Generation(i));
      CHECK(one.generations[i].threshold == static_cast<std::int32_t>(i == 0 ? 701 : 10 + i));
      CHECK(one.generations[i].count == static_cast<std::int32_t>(5 + i));
    }
    const bool incremental = one.collector == CollectorKind::kIncremental;
    CHECK(incremental == (layout.version.hex() >= 0x030e00f0 && layout.version.hex() <= 0x030e04f0));
    CHECK(one.generation_number == (incremental ? std::vector<std::uint8_t>{0, 2, 2} : std::vector<std::uint8_t>{0, 1, 2}));
    CHECK(one.permanent.has_value() == (layout.version.hex() >= 0x03070000));
  }
}

TEST_CASE("offsets that moved in a release without a table are found by the memory's structure") {
  // The collector's state of a 3.12.9 moved by 16 bytes, sysdict and builtins by 24, the thread list by 8.
  const Layout& table = test::BuiltinLayout("cpython-3.12.1-default-lp64");
  Layout moved = table;
  const auto shift = [&](F f, std::uint32_t by) {
    FieldPlace place = moved.Place(f);
    place.offset += by;
    moved.Set(f, place);
  };
  shift(F::PyInterpreterState_gc, 16);
  shift(F::PyInterpreterState_sysdict, 24);
  shift(F::PyInterpreterState_builtins, 24);
  shift(F::PyInterpreterState_threads_head, 8);
  const FakePython python(moved);
  const target::Process process = python.fake.Build();
  InterpreterSite site;
  site.module = &process.modules.at(0);
  site.runtime = FakePython::kRuntime;
  Layout layout = table;
  std::vector<std::string> warnings;
  CHECK_FALSE(LayoutFits(process, layout, site, Limits{}));
  CHECK(CorrectByStructure(process, site, Limits{}, layout, warnings));
  for (const F f : {F::PyInterpreterState_gc, F::PyInterpreterState_sysdict, F::PyInterpreterState_builtins, F::PyInterpreterState_threads_head}) {
    CHECK(layout.Offset(f) == moved.Offset(f));
    CHECK(layout.Place(f).provenance == Provenance::kProbed);
  }
  CHECK(warnings.size() == 4);
  CHECK(Mentions(warnings, "PyInterpreterState.gc: cpython-3.12.1-default-lp64 says 112, the memory's structure says 128; taken: 128"));
}

TEST_CASE("debug offsets locate the state of a release that no table has, structure its generation heads") {
  Layout layout = test::BuiltinLayout("cpython-3.13.0-default-lp64");
  layout.version = PythonVersion::FromHex(0x030d03f0);
  FieldPlace place = layout.Place(F::PyInterpreterState_gc);
  place.offset += 64;
  layout.Set(F::PyInterpreterState_gc, place);
  place = layout.Place(F::gc_runtime_state_generations);
  place.offset += 4;
  layout.Set(F::gc_runtime_state_generations, place);
  const FakePython python(layout);
  const target::Process process = python.fake.Build();
  const auto runtime = LocateRuntime(process, Limits{});
  REQUIRE(runtime);
  REQUIRE(runtime->interpreters.size() == 1);
  CHECK(runtime->interpreters[0].generations.at(0).head == python.Generation(0));
  CHECK(runtime->interpreters[0].generations.at(0).threshold == 701);
  CHECK(Mentions(runtime->warnings, "gc_runtime_state.generations: cpython-3.13.0-default-lp64 says 24, the memory's structure says 28; taken: 28"));
  CHECK(Mentions(runtime->explanation, "no table of CPython 3.13.3"));
}

TEST_CASE("the two mimallocs of the free-threaded 3.14 are told apart by their heaps") {
  // 3.14.9t has no table; the switch came with 3.14.9 or 3.14.10.
  for (const std::string_view name : {"cpython-3.14.8-free-threaded-lp64", "cpython-3.14.10-free-threaded-lp64"}) {
    Layout layout = test::BuiltinLayout(name);
    layout.version = PythonVersion::FromHex(0x030e09f0);
    const FakePython python(layout);
    const auto runtime = LocateRuntime(python.fake.Build(), Limits{});
    REQUIRE(runtime);
    CHECK(runtime->layout.name == name);
    CHECK(runtime->warnings.empty());
  }
}

TEST_CASE("a process without CPython says what it is") {
  test::FakeProcess fake;
  fake.base.executable = "/usr/bin/cat";
  fake.AddModule("/usr/bin/cat", {{0x400000, 0x401000}});
  fake.Map(0x400000, 0x1000);
  auto runtime = LocateRuntime(fake.Build(), Limits{});
  REQUIRE_FALSE(runtime);
  CHECK(runtime.error().code == ErrorCode::kNotAnalysable);
  CHECK(runtime.error().message.find("no CPython found: /usr/bin/cat has no CPython in it that could be found") == 0);  // its file was not looked into

  fake.AddModule("/opt/pypy/bin/libpypy3.10-c.so", {{0x500000, 0x501000}});
  runtime = LocateRuntime(fake.Build(), Limits{});
  REQUIRE_FALSE(runtime);
  CHECK(runtime.error().message.find("is PyPy") != std::string::npos);

  test::FakeProcess empty;
  runtime = LocateRuntime(empty.Build(), Limits{});
  REQUIRE_FALSE(runtime);
  CHECK(runtime.error().message.find("the dump names no files") != std::string::npos);

  test::FakeProcess stripped;
  stripped.AddModule("/usr/lib/libpython3.8.so.1.0", {{0x400000, 0x401000}});
  stripped.Map(0x400000, 0x1000);
  runtime = LocateRuntime(stripped.Build(), Limits{});
  REQUIRE_FALSE(runtime);
  CHECK(runtime.error().message.find("looks like CPython 3.8 by the name of") != std::string::npos);
  CHECK(runtime.error().message.find("--module NAME=FILE") != std::string::npos);

  stripped.base.may_be_wrong = true;  // a packed core with a changed byte: that is why nothing was found
  stripped.base.missing = {{"any part of the memory", "the compressed file: it was changed after it was packed", ""}};
  runtime = LocateRuntime(stripped.Build(), Limits{});
  REQUIRE_FALSE(runtime);
  CHECK(runtime.error().message.find("the compressed file: it was changed after it was packed; no interpreter state in what came out (") == 0);
}

TEST_CASE("an interpreter that is mapped but not used is told apart") {
  FakePython python(test::BuiltinLayout("cpython-3.14.10-default-lp64"));
  python.Set(FakePython::kRuntime, F::PyRuntimeState_interpreters_head, 0);
  const auto runtime = LocateRuntime(python.fake.Build(), Limits{});
  REQUIRE_FALSE(runtime);
  CHECK(runtime.error().message.find("no interpreter is initialised in it: Python has not started yet, has ended") != std::string::npos);
}

TEST_CASE("an interpreter that starts or ends is no misread one") {
  for (const std::string_view name : {"cpython-3.13.0-default-lp64", "cpython-3.14.10-default-lp64", "cpython-3.15.2-default-lp64"}) {
    INFO(name);
    FakePython python(test::BuiltinLayout(name));
    python.Set(FakePython::kInterpreter, F::PyInterpreterState_sysdict, 0);
    python.Set(FakePython::kInterpreter, F::PyInterpreterState_builtins, 0);
    python.Set(FakePython::kRuntime, F::PyRuntimeState_interpreters_main, FakePython::kInterpreter);
    const target::Process process = python.fake.Build();
    const auto runtime = LocateRuntime(process, Limits{});
    REQUIRE(runtime);
    CHECK(Mentions(runtime->warnings, "starting up or shutting down"));
    CHECK_FALSE(Mentions(runtime->warnings, "does not look right"));
    CHECK(runtime->interpreters.at(0).modules == FakePython::kModules);
    CHECK(runtime->interpreters.at(0).sysdict == 0);
  }
}

TEST_CASE("an interpreter is known by what is in memory, whatever its program is called") {
  for (const std::string_view name : {"cpython-3.8.18-default-lp64", "cpython-3.12.1-default-lp64", "cpython-3.14.10-default-lp64"}) {
    INFO(name);
    FakePython python(test::BuiltinLayout(name), "/opt/service/bin/service");
    const auto runtime = LocateRuntime(python.fake.Build(), Limits{});
    REQUIRE(runtime);
    CHECK(runtime->interpreters.size() == 1);
  }
}

TEST_CASE("what is missing in the image does not make a layout doubtful") {
  const Layout& layout = test::BuiltinLayout("cpython-3.14.10-default-lp64");
  for (const F f : {F::PyInterpreterState_modules, F::PyInterpreterState_sysdict, F::PyInterpreterState_threads_head}) {
    FakePython python(layout);
    python.fake.AddMissing({0x7e0000000000, 0x7e0000001000}, target::MissingReason::kTruncated);
    python.Set(FakePython::kInterpreter, f, 0x7e0000000000);
    const auto runtime = LocateRuntime(python.fake.Build(), Limits{});
    REQUIRE(runtime);
    CHECK_FALSE(Mentions(runtime->warnings, "taken:"));
    CHECK_FALSE(Mentions(runtime->warnings, "does not look right"));
    CHECK(Mentions(runtime->explanation, "could not be tried on all"));
    CHECK(runtime->layout.Offset(f) == layout.Offset(f));
  }
}

TEST_CASE("an interpreter's state that is not in the image is said to be missing") {
  FakePython python(test::BuiltinLayout("cpython-3.14.10-default-lp64"));
  python.Set(FakePython::kRuntime, F::PyRuntimeState_interpreters_head, 0x7e0000000000);
  const auto runtime = LocateRuntime(python.fake.Build(), Limits{});
  REQUIRE(runtime);
  CHECK(runtime->state_lost == "the interpreter's state at 0x7e0000000000");
  CHECK(runtime->interpreters.empty());
  CHECK(runtime->version_text == "3.14.10");
}

TEST_CASE("lists that do not end are cut") {
  const Layout& layout = test::BuiltinLayout("cpython-3.14.10-default-lp64");
  SUBCASE("interpreters in a circle") {
    FakePython python(layout);
    python.Set(FakePython::kInterpreter, F::PyInterpreterState_next, FakePython::kInterpreter);
    const auto runtime = LocateRuntime(python.fake.Build(), Limits{});
    REQUIRE(runtime);
    CHECK(runtime->interpreters.size() == 1);
  }
  SUBCASE("threads in a circle") {
    FakePython python(layout);
    python.Set(FakePython::kThread, F::PyThreadState_next, FakePython::kThread);
    const auto runtime = LocateRuntime(python.fake.Build(), Limits{});
    REQUIRE(runtime);
    CHECK(runtime->interpreters[0].threads.size() == 1);
    CHECK(Mentions(runtime->warnings, "the thread list of interpreter 0 does not end"));
  }
  SUBCASE("a thread of nobody") {
    FakePython python(layout);
    python.Set(FakePython::kThread, F::PyThreadState_next, FakePython::kModules);
    const auto runtime = LocateRuntime(python.fake.Build(), Limits{});
    REQUIRE(runtime);
    CHECK(runtime->interpreters[0].threads.size() == 1);
    CHECK(Mentions(runtime->warnings, "not a thread state of it"));
  }
}

TEST_CASE("the main interpreter comes first, the others by id; up to 3.8 they share one set of lists") {
  for (const std::string_view name : {"cpython-3.8.18-default-lp64", "cpython-3.12.1-default-lp64"}) {
    const Layout& layout = test::BuiltinLayout(name);
    FakePython python(layout);
    constexpr Address kSecond = FakePython::kHeap + 0x80000;  // sizeof(PyInterpreterState) is less than this
    python.Set(kSecond, F::PyInterpreterState_id, 1);
    python.Set(kSecond, F::PyInterpreterState_next, FakePython::kInterpreter);
    python.Set(FakePython::kRuntime, F::PyRuntimeState_interpreters_head, kSecond);
    for (const F f : {F::PyInterpreterState_modules, F::PyInterpreterState_sysdict, F::PyInterpreterState_builtins}) python.Set(kSecond, f, FakePython::kModules);
    constexpr Address kSecondThread = FakePython::kThread + 0x2000;
    python.Set(kSecond, F::PyInterpreterState_threads_head, kSecondThread);
    python.Set(kSecondThread, F::PyThreadState_interp, kSecond);
    const auto runtime = LocateRuntime(python.fake.Build(), Limits{});
    REQUIRE(runtime);
    REQUIRE(runtime->interpreters.size() == 2);
    CHECK(runtime->interpreters[0].address == FakePython::kInterpreter);
    CHECK(runtime->interpreters[1].address == kSecond);
    CHECK(runtime->interpreters[1].id == 1);
    CHECK(runtime->interpreters[1].generations.size() == (layout.Has(F::PyInterpreterState_gc) ? 3u : 0u));
  }
}

TEST_CASE("a collection that is running does not make the rings doubtful") {
  const Layout& layout = test::BuiltinLayout("cpython-3.12.1-default-lp64");
  FakePython python(layout);
  const Address head = python.Generation(2), member = FakePython::kHeap + 0x150000;
  python.Set(python.Collector(), F::gc_runtime_state_collecting, 1);
  // In update_refs: gc_prev of members is a count; the list is whole forwards only.
  python.Set(head, F::PyGC_Head_gc_next, member);
  python.Set(head, F::PyGC_Head_gc_prev, member);
  python.Set(member, F::PyGC_Head_gc_next, head);
  python.Set(member, F::PyGC_Head_gc_prev, (7u << 2) | 2);
  const auto runtime = LocateRuntime(python.fake.Build(), Limits{});
  REQUIRE(runtime);
  CHECK(runtime->interpreters[0].collecting);
  CHECK(runtime->warnings.empty());
}

TEST_CASE("no damage makes it crash or hang") {
  std::mt19937_64 random(20240229);
  for (const std::string_view name : {"cpython-2.7.18-default-lp64", "cpython-3.8.18-default-lp64", "cpython-3.12.1-default-lp64", "cpython-3.15.2-default-lp64",
                                      "cpython-3.14.0-free-threaded-lp64"}) {
    for (int round = 0; round < 60; ++round) {
      FakePython python(test::BuiltinLayout(name));
      for (int i = 0; i < 400; ++i) {
        const bool in_data = random() % 2 == 0;
        const Address base = in_data ? FakePython::kData + 0x1000 : FakePython::kHeap;
        const Address a = base + (random() % (in_data ? 0x3000 : 0x126000) & ~7ull);
        const std::uint64_t choices[] = {0, ~0ull, random(), FakePython::kInterpreter, FakePython::kHeap + random() % 0x200000, 0x7FFFFFFFFFFFFFF8ull, random() % 64};
        python.fake.Write<std::uint64_t>(a, choices[random() % std::size(choices)]);
      }
      const auto runtime = LocateRuntime(python.fake.Build(), Limits{});
      if (!runtime) CHECK_FALSE(runtime.error().message.empty());
    }
  }
}

}  // namespace pygc::cpython
