#include "core/report/fingerprint.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/analysis/fingerprint.h"

namespace pygc::report {
namespace {

constexpr char kSeparator = '\x1f';  // stands in no name that a person wrote

std::string Digest(const std::string& text) {
  const std::uint64_t h = analysis::StableHash(text);
  return fmt::format("{:016x}", analysis::Mix(h ^ analysis::Mix(text.size())));
}

std::string WithoutDigits(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c < '0' || c > '9') out += c;
  }
  return out;
}

// What a reference is called, without what differs from run to run: positions, keys that are data.
std::string ReferenceName(const CycleStep& step) {
  switch (step.kind) {
    case EdgeKind::kItem:
    case EdgeKind::kElement:
    case EdgeKind::kKey:
      return step.program_key.empty() ? EdgeKindName(step.kind) : EdgeKindName(step.kind) + (" " + WithoutDigits(step.program_key));
    default:
      return WithoutDigits(step.label);
  }
}

// "Node.parent>list", ...: each kind of step once, in order of the text. An attribute dictionary between two objects is part of the reference.
std::set<std::string> StepNames(const Cycle& cycle) {
  std::set<std::string> names;
  const auto next = [&](std::size_t i) { return (i + 1) % cycle.size(); };
  for (std::size_t i = 0; i < cycle.size(); ++i) {
    const CycleStep& step = cycle[i];
    if (step.elided != 0 || cycle[next(i)].elided != 0) continue;
    const CycleStep& before = cycle[(i + cycle.size() - 1) % cycle.size()];
    if (before.label == ".__dict__" && step.type == "dict") continue;  // told with the object that has it
    if (step.label == ".__dict__" && cycle[next(i)].type == "dict" && cycle[next(i)].kind == EdgeKind::kKey && cycle.size() > 1) {
      const CycleStep& dict = cycle[next(i)];
      names.insert(fmt::format("{} .{}>{}", step.type, WithoutDigits(dict.key), cycle[next(next(i))].type));
      continue;
    }
    names.insert(fmt::format("{}{}{} {}>{}", step.type, step.code_name.empty() ? "" : " ", step.code_name, ReferenceName(step), cycle[next(i)].type));
  }
  return names;
}

std::string LastPart(const std::string& path) { return path.substr(path.rfind('/') + 1); }

bool IsVersionCharacter(char c) { return (c >= '0' && c <= '9') || c == '.'; }

// "libc.so.6", "libc-2.31.so": libc. "_fast.cpython-312-x86_64-linux-gnu.so": _fast. "libpython3.12.so.1.0": libpython. "python3.12": python.
std::string ModuleName(const std::string& path) {
  std::string name = LastPart(path);
  for (const char* const end : {".so", ".cpython-", ".abi3"}) {
    if (const std::size_t at = name.find(end); at != std::string::npos && at > 0) name.erase(at);
  }
  std::size_t kept = name.size();
  while (kept > 0 && IsVersionCharacter(name[kept - 1])) --kept;
  const bool of_python = name.starts_with("python") || name.starts_with("libpython");
  const bool of_library = kept > 0 && name[kept - 1] == '-';
  if (kept > 0 && (of_python || of_library)) name.erase(kept - (of_library ? 1 : 0));
  return name;
}

// "libsqlite3 sqlite3_errmsg": where the instruction lies, without version and offset. Of the interpreter no function: which are inlined differs from build to build.
std::string NativePlace(const CrashFacts& c) {
  const std::string module = ModuleName(c.module);
  if (module.starts_with("python") || module.starts_with("libpython")) return "python";
  const std::size_t colon = c.place.find(": ");
  return colon == std::string::npos ? module : module + " " + c.place.substr(colon + 2, c.place.find('+', colon) - colon - 2);
}

bool IsOfSystem(const std::string& module) {
  const std::string name = ModuleName(module);
  return name == "libc" || name == "libpthread" || name.starts_with("ld-linux") || name == "ld" || name.starts_with("linux-vdso") || name == "[vdso]";
}

}  // namespace

std::string LeakFingerprint(const LeakGroup& g) {
  std::string text = fmt::format("leak{0}{1}{0}{2}", kSeparator, ReasonName(g.reason), g.type);
  const bool one_name = !g.name.empty() && g.name.find(", ") == std::string::npos;
  if (one_name) text += kSeparator + g.name.substr(0, g.name.find(" at "));  // of a frame "f() at app.py:12": without its line
  if (g.cycle.empty() && !g.code_name.empty()) text += kSeparator + g.code_name;
  for (const std::string& name : StepNames(g.cycle)) text += kSeparator + name;
  return Digest(text);
}

std::string RefcountFingerprint(const RefcountFinding& f) {
  std::string text = fmt::format("refcount{0}{1}{0}{2}{0}{3}", kSeparator, f.kind, f.type, WithoutDigits(f.text));
  std::set<std::string> places;
  for (const CountHolder& h : f.holders) places.insert(fmt::format("{} {}", h.type, WithoutDigits(h.place.substr(0, h.place.find('[')))));
  for (const std::string& place : places) text += kSeparator + place;
  return Digest(text);
}

std::string ExpectationFingerprint(const std::string& assertion) { return Digest(fmt::format("expect{}{}", kSeparator, assertion)); }

std::string CrashFingerprint(const CrashFacts& c, const std::vector<StackFrame>& frames) {
  const bool by_signal = c.kind == CrashFacts::Kind::kSignal;
  std::string text = fmt::format("crash{}{}", kSeparator, by_signal ? c.signal : 0);
  for (std::size_t i = 0; i < std::min(frames.size(), kCrashFrames); ++i) text += fmt::format("{}{} {}", kSeparator, frames[i].qualified_name, LastPart(frames[i].file));
  if (!frames.empty() && by_signal && !c.sent_itself) text += fmt::format("{}in {}", kSeparator, NativePlace(c));
  if (frames.empty() && by_signal) {
    text += fmt::format("{}native {}", kSeparator, ModuleName(c.program));
    for (const CrashFunction& f : c.native) text += fmt::format("{}{} {}", kSeparator, f.function, ModuleName(f.module));
    if (c.native.empty()) text += kSeparator + ModuleName(c.module);
  } else if (frames.empty()) {
    text += kSeparator + LastPart(c.module);
  }
  return Digest(text);
}

std::vector<CrashFunction> CrashFunctions(const NativeStack& stack) {
  std::vector<CrashFunction> of_program, all;
  const auto add = [](std::vector<CrashFunction>& out, const CrashFunction& f) {
    const bool again = !out.empty() && out.back().function == f.function && out.back().module == f.module;
    if (!again && out.size() < kCrashFrames) out.push_back(f);
  };
  for (const NativeFrame& frame : stack.frames) {
    const CrashFunction f = {frame.symbol.substr(0, frame.symbol.find('.')), LastPart(frame.module)};
    add(all, f);
    if (!IsOfSystem(f.module)) add(of_program, f);
  }
  return of_program.empty() ? all : of_program;
}

}  // namespace pygc::report
