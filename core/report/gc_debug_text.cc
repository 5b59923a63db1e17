#include "core/report/gc_debug_text.h"

#include <fmt/format.h>

namespace pygc::report {
namespace {

void WriteObjects(const std::vector<GcDebugCollection::Object>& objects, const char* what, TextWriter& out) {
  for (const GcDebugCollection::Object& o : objects) out.Line(fmt::format("gc: {} <{}{} {:#x}>", what, o.type, o.classic_instance ? " instance at" : "", o.address));
}

}  // namespace

void WriteGcDebug(const Header& h, const std::vector<GcDebugCollection>& collections, TextWriter& out) {
  WritePartialLines(out, h);
  for (const GcDebugCollection& c : collections) {
    out.Line("gc: collecting generation 2...");
    if (!c.generations.empty()) {
      out.Add("gc: objects in each generation:");
      for (const std::uint64_t n : c.generations) out.Add(fmt::format(" {}", n));
      out.Line();
    }
    if (c.permanent) out.Line(fmt::format("gc: objects in permanent generation: {}", *c.permanent));
    WriteObjects(c.collectable, "collectable", out);
    WriteObjects(c.uncollectable, "uncollectable", out);
    const std::size_t all = c.collectable.size() + c.uncollectable.size();
    const std::string figures = all == 0 && c.bare_done ? "" : fmt::format(", {} unreachable, {} uncollectable", all, c.uncollectable.size());
    out.Line(fmt::format("gc: done{}, 0.0000s elapsed{}", figures, c.full_stop ? "." : ""));
  }
}

}  // namespace pygc::report
