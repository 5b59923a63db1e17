#include "core/engine/roots.h"

#include <fmt/format.h>

#include <unordered_set>

#include "core/audit/interpreter_roots.h"
#include "core/snapshot/python_roots.h"

namespace pygc::engine {

heap::RootSet FindRoots(const objects::ObjectReader& reader, const Limits& limits) {
  heap::RootSet set = snapshot::FindPythonRoots(reader, limits);
  std::unordered_set<Address> named;
  for (const heap::Root& root : set.roots) named.insert(root.object);
  for (const audit::RootReference& r : audit::ReadInterpreterRoots(reader.process(), reader.runtime()).references) {
    if (!named.insert(r.referent).second) continue;
    const bool of_atexit = r.member.starts_with("atexit");
    set.roots.push_back({r.referent, heap::RootKind::kInterpreter, 0, of_atexit ? "the callbacks of atexit" : fmt::format("{}.{}", r.where, r.member), "", heap::Root::Shape::kPlain});
  }
  return set;
}

}  // namespace pygc::engine
