#include "core/report/gc_debug_text.h"

#include <doctest/doctest.h>

using namespace pygc::report;

namespace {

std::string Text(const GcDebugCollection& c, const Header& header = {}) {
  TextWriter out;
  WriteGcDebug(header, {c}, out);
  return out.Take();
}

}  // namespace

TEST_CASE("the lines of a collection are CPython's, release by release") {
  GcDebugCollection c;
  c.generations = {2, 0, 4109};
  c.full_stop = c.bare_done = true;
  c.collectable = {{"ClassyClass", 0x10, true}, {"dict", 0x20, false}};
  CHECK(Text(c) ==
        "gc: collecting generation 2...\ngc: objects in each generation: 2 0 4109\ngc: collectable <ClassyClass instance at 0x10>\ngc: collectable <dict 0x20>\n"
        "gc: done, 2 unreachable, 0 uncollectable, 0.0000s elapsed.\n");
  c.collectable.clear();
  CHECK(Text(c).ends_with("gc: done, 0.0000s elapsed.\n"));
  c.bare_done = c.full_stop = false;
  c.permanent = 7;
  c.uncollectable = {{"evil\x1b", 0x30, false}};
  CHECK(Text(c) ==
        "gc: collecting generation 2...\ngc: objects in each generation: 2 0 4109\ngc: objects in permanent generation: 7\ngc: uncollectable <evil\\x1b 0x30>\n"
        "gc: done, 1 unreachable, 1 uncollectable, 0.0000s elapsed\n");
}

TEST_CASE("what is missing comes first") {
  Header header;
  header.complete = false;
  header.missing = {{"the heap", "cut off", ""}};
  CHECK(Text({}, header).starts_with("PARTIAL: the heap: cut off\ngc: collecting"));
}
