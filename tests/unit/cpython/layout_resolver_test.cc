// Which layout is chosen, and what the process itself may override.
#include "core/cpython/layout_resolver.h"

#include <doctest/doctest.h>

#include <cstdio>
#include <string>

#include "tests/unit/cpython/fake_python.h"

namespace pygc::cpython {
namespace {

using F = Field;
using S = Struct;

BuildIdentity Build(std::uint32_t hex, bool free_threaded = false, bool debug = false) {
  BuildIdentity build;
  build.version = PythonVersion::FromHex(hex);
  build.flavor.free_threaded = free_threaded;
  build.flavor.debug = debug;
  return build;
}

std::string NameChosen(const BuildIdentity& build, const LayoutTest& test = [](const Layout&) { return true; }) {
  const target::MemoryImage memory;
  const auto choice = ResolveLayout(build, memory, test, "");
  return choice ? choice->layout.name : choice.error().message;
}

struct TextFile {
  explicit TextFile(const std::string& text) : path("layout_resolver_test.layout") {
    std::FILE* f = std::fopen(path.c_str(), "w");
    REQUIRE(f != nullptr);
    std::fputs(text.c_str(), f);
    std::fclose(f);
  }
  ~TextFile() { std::remove(path.c_str()); }
  std::string path;
};

}  // namespace

TEST_CASE("the exact release wins, then the nearest lower one, then the nearest higher one") {
  CHECK(NameChosen(Build(0x030c01f0)) == "cpython-3.12.1-default-lp64");
  CHECK(NameChosen(Build(0x030c07f0)) == "cpython-3.12.1-default-lp64");
  CHECK(NameChosen(Build(0x030909f0)) == "cpython-3.9.2-default-lp64");
  CHECK(NameChosen(Build(0x030e07f0)) == "cpython-3.14.5-default-lp64");
  CHECK(NameChosen(Build(0x03060cf0)) == "cpython-3.6.15-default-lp64");
  CHECK(NameChosen(Build(0x030d05f0, true)) == "cpython-3.13.5-free-threaded-lp64");
  CHECK(NameChosen(Build(0x030e0af0, false, true)) == "cpython-3.14.10-default-debug-lp64");
  CHECK(NameChosen(Build(0x030c01f0, false, true)) == "cpython-3.12.1-default-lp64");
}

TEST_CASE("a table that is not of this release says so, in words and in each fact") {
  const target::MemoryImage memory;
  const auto choice = ResolveLayout(Build(0x030c07f0), memory, [](const Layout&) { return true; }, "");
  REQUIRE(choice);
  CHECK(choice->layout.Place(F::PyListObject_ob_item).provenance == Provenance::kTableNearest);
  CHECK(choice->explanation.at(0).find("no table of CPython 3.12.7; the nearest lower release's is taken") != std::string::npos);
  CHECK(choice->layout.version.text() == "3.12.7");
  const auto exact = ResolveLayout(Build(0x030c01f0), memory, [](const Layout&) { return true; }, "");
  REQUIRE(exact);
  CHECK(exact->layout.Place(F::PyListObject_ob_item).provenance == Provenance::kTableExact);
}

TEST_CASE("an equal build-id wins over everything") {
  BuildIdentity build = Build(0x030d05f0);
  build.build_id = test::BuiltinLayout("cpython-3.13.5-debian-default-lp64").build_ids.at(0);
  CHECK(NameChosen(build) == "cpython-3.13.5-debian-default-lp64");
  // Where it does not fit the memory is damaged: another build's layout that happens to fit would read it wrongly.
  const LayoutTest others_fit = [](const Layout& layout) { return layout.Offset(F::gc_runtime_state_generations) != 20; };
  CHECK(NameChosen(build, others_fit) == "cpython-3.13.5-debian-default-lp64");
  const target::MemoryImage memory;
  const auto choice = ResolveLayout(build, memory, others_fit, "");
  REQUIRE(choice);
  CHECK(choice->certain);
  CHECK(!choice->fits);
}

TEST_CASE("a vendor's variant is taken where upstream's layout does not fit") {
  CHECK(NameChosen(Build(0x030d05f0)) == "cpython-3.13.5-default-lp64");
  const LayoutTest patched = [](const Layout& layout) { return layout.Offset(F::gc_runtime_state_generations) == 20; };
  CHECK(NameChosen(Build(0x030d05f0), patched) == "cpython-3.13.5-debian-default-lp64");
  CHECK(NameChosen(Build(0x030d07f0), patched) == "cpython-3.13.5-debian-default-lp64");
}

TEST_CASE("a series without a layout is refused with what to do") {
  const std::string message = NameChosen(Build(0x031000f0));
  CHECK(message.find("CPython 3.16.0 (default build) is not one that pygc has a layout of") != std::string::npos);
  CHECK(message.find("scripts/gen_layout.py write") != std::string::npos);
  CHECK(NameChosen(Build(0x030c01f0, true)).find("3.12.1 (free-threaded build)") != std::string::npos);
}

TEST_CASE("_Py_DebugOffsets override the table, with a warning where the table claims to be exact") {
  Layout layout = test::BuiltinLayout("cpython-3.14.10-default-lp64");
  test::FakePython python(layout);
  python.Set(test::FakePython::kRuntime, F::DebugOffsets_list_object_ob_item, 48);
  const target::Process process = python.fake.Build();
  std::vector<std::string> explanation, warnings;
  REQUIRE(ApplyDebugOffsets(process.memory, test::FakePython::kRuntime, true, layout, explanation, warnings));
  CHECK(layout.Offset(F::PyListObject_ob_item) == 48);
  CHECK(layout.Place(F::PyListObject_ob_item).provenance == Provenance::kDebugOffsets);
  CHECK(layout.Width(F::PyListObject_ob_item) == 8);
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0] == "PyListObject.ob_item: cpython-3.14.10-default-lp64 says 24, _Py_DebugOffsets of the process say 48; taken: 48");
  CHECK(explanation.at(0).find("72 numbers agree with the table, 1 override it") != std::string::npos);
}

TEST_CASE("_Py_DebugOffsets are not trusted") {
  const Layout original = test::BuiltinLayout("cpython-3.13.0-default-lp64");
  test::FakePython python(original);
  std::vector<std::string> explanation, warnings;
  SUBCASE("numbers beyond all bounds are ignored one by one") {
    python.Set(test::FakePython::kRuntime, F::DebugOffsets_list_object_ob_item, ~0ull);
    python.Set(test::FakePython::kRuntime, F::DebugOffsets_interpreter_state_gc, 1ull << 40);
    Layout layout = original;
    const target::Process process = python.fake.Build();
    CHECK(ApplyDebugOffsets(process.memory, test::FakePython::kRuntime, true, layout, explanation, warnings));
    CHECK(layout.Offset(F::PyListObject_ob_item) == 24);
    CHECK(layout.Offset(F::PyInterpreterState_gc) == original.Offset(F::PyInterpreterState_gc));
    CHECK(warnings.size() == 2);
  }
  SUBCASE("a wrong cookie, version or flag refuses the block") {
    const auto refused = [&] {
      Layout layout = original;
      const target::Process process = python.fake.Build();
      return !ApplyDebugOffsets(process.memory, test::FakePython::kRuntime, true, layout, explanation, warnings) && !ReadDebugOffsetsHead(process.memory, test::FakePython::kRuntime);
    };
    CHECK_FALSE(refused());
    python.fake.Write<std::uint64_t>(test::FakePython::kRuntime + 16, 2);
    CHECK(refused());
    python.fake.Write<std::uint64_t>(test::FakePython::kRuntime + 16, 0);
    python.fake.Write<std::uint64_t>(test::FakePython::kRuntime + 8, 0x030c01f0);
    CHECK(refused());
    python.fake.Write<std::uint64_t>(test::FakePython::kRuntime + 8, 0x10000000030d00f0);
    CHECK(refused());
  }
  SUBCASE("unreadable memory refuses the block") {
    Layout layout = original;
    const target::Process process = python.fake.Build();
    CHECK_FALSE(ApplyDebugOffsets(process.memory, 0x10, true, layout, explanation, warnings));
    CHECK_FALSE(ApplyDebugOffsets(process.memory, ~0ull - 8, true, layout, explanation, warnings));
  }
}

TEST_CASE("gc.size of _Py_DebugOffsets tells the collectors of 3.14 apart") {
  // 3.14.2 has no table. Upstream's is incremental (240 bytes, as 3.14.0); vendors shipped it with the generational collector of 3.14.5 (264).
  for (const std::uint32_t size : {240u, 264u}) {
    Layout layout = test::BuiltinLayout(size == 240 ? "cpython-3.14.0-default-lp64" : "cpython-3.14.5-default-lp64");
    layout.version = PythonVersion::FromHex(0x030e02f0);
    test::FakePython python(layout);
    const target::Process process = python.fake.Build();
    BuildIdentity build = Build(0x030e02f0);
    build.debug_offsets = test::FakePython::kRuntime;
    const auto choice = ResolveLayout(build, process.memory, [](const Layout&) { return true; }, "");
    REQUIRE(choice);
    CHECK(choice->layout.Value(Constant::GC_COLLECTOR) == (size == 240 ? 1 : 0));
    CHECK(choice->layout.Size(S::gc_runtime_state) == size);
  }
}

TEST_CASE("--layout FILE wins, and what it contradicts is said") {
  const target::MemoryImage memory;
  const LayoutTest any = [](const Layout&) { return true; };
  const TextFile file("version 0x030c01f0\nflavor default\nPyListObject.ob_item 32 8\nFRAME_CLEARED = 7\n");
  const auto choice = ResolveLayout(Build(0x030c01f0), memory, any, file.path);
  REQUIRE(choice);
  CHECK(choice->layout.Offset(F::PyListObject_ob_item) == 32);
  CHECK(choice->layout.Place(F::PyListObject_ob_item).provenance == Provenance::kUserFile);
  CHECK(choice->layout.Offset(F::PyListObject_allocated) == 32);  // the table's, untouched
  CHECK(choice->layout.Value(Constant::FRAME_CLEARED) == 7);
  REQUIRE(choice->warnings.size() == 1);
  CHECK(choice->warnings[0].find("PyListObject.ob_item: cpython-3.12.1-default-lp64 says 24") == 0);
  // A series without any layout works with a file alone.
  CHECK(ResolveLayout(Build(0x031000f0), memory, any, file.path));
}

TEST_CASE("a bad --layout FILE is a usage error") {
  const target::MemoryImage memory;
  const LayoutTest any = [](const Layout&) { return true; };
  const auto error = [&](const std::string& path, std::uint32_t hex = 0x030c01f0) {
    const auto choice = ResolveLayout(Build(hex), memory, any, path);
    REQUIRE_FALSE(choice);
    CHECK(choice.error().code == ErrorCode::kUsage);
    return choice.error().message;
  };
  CHECK(error("/nonexistent/x.layout").find("the layout file /nonexistent/x.layout cannot be read: No such file") == 0);
  const TextFile nonsense("PyListObject.ob_item 1\n");
  CHECK(error(nonsense.path).find("line 1") != std::string::npos);
  const TextFile other("version 0x030d05f0\nflavor free-threaded\n");
  CHECK(error(other.path).find("is of a free-threaded build") != std::string::npos);
}

}  // namespace pygc::cpython
