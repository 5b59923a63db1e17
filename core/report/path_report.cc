#include "core/report/path_report.h"

#include <fmt/format.h>

#include "core/report/numbers.h"

namespace pygc::report {
namespace {

constexpr std::size_t kStepColumn = 6, kObjectColumn = 36;
constexpr std::uint32_t kDeepestByItself = 16;  // branches above a branch, without --limit 0

std::string RootText(const PathRoot& root) {
  const std::string place = root.place.empty() ? "" : " in " + root.place;
  return fmt::format("{}{}", root.name, place);
}

std::string ObjectText(const CycleStep& step) {
  return fmt::format("{}{}{} at {:#x}", step.type, step.name.empty() ? "" : " ", step.name, step.address);
}

void WriteSteps(TextWriter& out, const RootPath& path) {
  std::string label = RootText(path.root);
  for (const CycleStep& step : path.steps) {
    out.To(kStepColumn);
    if (step.elided > 0) {
      out.Line(fmt::format("… {} more objects …", Thousands(step.elided)), Style::kFaint);
      label.clear();
      continue;
    }
    out.Add(label, Style::kName).To(kObjectColumn).Line(ObjectText(step));
    label = step.label.empty() ? "(place not known)" : step.label;
  }
}

void WritePaths(TextWriter& out, const PathReport& r) {
  for (const RootPath& path : r.paths) {
    const std::optional<std::string> expression = ExpressionOf(path);
    out.Line();
    out.To(2).Add(expression ? *expression : PathTextOf(path), Style::kHeading);
    out.Line((path.root.kind == "frame" || IsOfSubinterpreter(path.root)) && expression ? "   in " + path.root.place : "");
    out.To(4).Add("stuck in ", Style::kFaint).Line(StuckAt(path).text);
    WriteSteps(out, path);
  }
  if (r.path_count > r.paths.size()) out.Line().To(2).Line(fmt::format("… {} more paths (--limit 0 for all)", Thousands(r.path_count - r.paths.size())), Style::kFaint);
}

// A piece's text after that of the piece it grows from.
std::string Continued(const std::string& text, const std::string& before) {
  return !before.empty() && text.size() > before.size() && text.starts_with(before) ? "…" + text.substr(before.size()) : text;
}

void WriteTree(TextWriter& out, const PathReport& r) {
  std::vector<std::string> above;  // texts of the pieces from the root to here
  for (const PathBranch& branch : r.tree) {
    const std::size_t indent = std::size_t{2} * ShownDepth(branch.depth);
    above.resize(branch.depth);
    const std::string text = PathTextOf(branch.path);
    if (branch.depth == 0) out.Line();
    out.To(2 + indent).Add(LevelText(branch.depth), Style::kFaint).Add(Thousands(branch.objects)).Add("  ").Add(Continued(text, branch.depth > 0 ? above.back() : ""), Style::kName);
    if (!branch.path.steps.empty()) out.Add("  " + ObjectText(branch.path.steps.back()), Style::kFaint);
    if (branch.alike > 0) out.Add(fmt::format("  and {} more like it", Thousands(branch.alike)), Style::kFaint);
    const bool says_where = text.find(branch.path.root.place) != std::string::npos;
    out.Line(branch.depth == 0 && (branch.path.root.kind == "frame" || IsOfSubinterpreter(branch.path.root)) && !says_where ? "  in " + branch.path.root.place : "");
    if (branch.depth == 0 || branch.to_leaf) out.To(4 + indent).Add("stuck in ", Style::kFaint).Line(StuckAt(branch.to_leaf ? *branch.to_leaf : branch.path).text);
    std::vector<std::string> examples;
    for (const auto& [address, label] : branch.leaf_examples) examples.push_back(fmt::format("{} {:#x}", label, address));
    if (branch.leaves > examples.size()) examples.push_back("…");
    if (branch.leaves > 0) out.To(4 + indent).Add(fmt::format("{}: ", Counted(branch.leaves, "object"))).Flow(examples, ", ", 6 + indent);
    if (branch.left_out > 0) {
      const char* const where = !branch.deeper ? "in other branches (--limit 0 for all)" : branch.depth > kDeepestByItself ? "further down" : "further down (--limit 0 goes deeper)";
      out.To(4 + indent).Line(fmt::format("… {} more {}", Thousands(branch.left_out), where), Style::kFaint);
    }
    above.push_back(text);
  }
}

void WriteSummary(TextWriter& out, const PathReport& r) {
  if (r.is_type) {
    if (r.objects == 0) {
      out.Line(fmt::format("no object of a type like {}", r.query), Style::kHeading);
      if (!r.nearest_types.empty()) out.To(2).Add("types with objects: ", Style::kFaint).Flow(r.nearest_types, ", ", 4);
      return;
    }
    out.Line(fmt::format("{} × {}", Thousands(r.objects), r.query), Style::kHeading);
    if (r.by_root > 0) out.To(2).Line(fmt::format("{} alive by way of roots", Thousands(r.by_root)));
    if (r.by_count_only > 0) out.To(2).Line(fmt::format("{} alive by a reference whose holder was not found", Thousands(r.by_count_only)), Style::kWaiting);
    if (r.unreachable > 0) out.To(2).Line(fmt::format("{} that nothing in use refers to (pygc leaks)", Thousands(r.unreachable)), Style::kWaiting);
    return;
  }
  out.Add(r.type, Style::kName);
  out.Line(fmt::format("{}{} at {}", r.name.empty() ? "" : " ", r.name, r.query), Style::kHeading);
  if (r.by_root + r.by_count_only > 0) return;
  if (!r.excluded.empty() && r.unreachable == 0) return;  // said beside what was left out
  if (r.state == "reachable" || r.state.empty()) {
    out.To(2).Line("no path leads to it from any root that was found, and none from an object that more hold than was found");
  } else {
    out.To(2).Line(fmt::format("it is {}: nothing in use refers to it (pygc leaks says what becomes of it)", r.state), Style::kWaiting);
  }
}

void WriteStep(JsonWriter& json, const CycleStep& step, const std::string& label) {
  json.Object();
  if (step.elided > 0) {
    json.Unsigned("elided", step.elided).EndObject();
    return;
  }
  json.Key("label");
  label.empty() ? json.Null() : json.String(label);
  json.Hex("address", step.address).String("type", step.type);
  json.Key("name");
  step.name.empty() ? json.Null() : json.String(step.name);
  json.EndObject();
}

}  // namespace

void WritePathMembers(JsonWriter& json, const RootPath& path) { WritePathMembers(json, path, StuckAt(path)); }

void WritePathMembers(JsonWriter& json, const RootPath& path, const StuckPlace& stuck) {
  const std::optional<std::string> expression = ExpressionOf(path);
  json.Key("root").Object().String("kind", path.root.kind).String("name", path.root.name).String("place", path.root.place).EndObject();
  json.Unsigned("length", path.length);
  json.Key("expression");
  expression ? json.String(*expression) : json.Null();
  json.String("text", PathTextOf(path));
  json.Key("stuck").Object().String("kind", stuck.kind).String("text", stuck.text).EndObject();
  json.Key("steps").Array();
  std::string label = path.root.name;
  for (const CycleStep& step : path.steps) {
    WriteStep(json, step, label);
    label = step.label;
  }
  json.EndArray();
}

namespace {

void WriteBranch(JsonWriter& json, const PathBranch& branch) {
  json.Object().Unsigned("depth", branch.depth).Unsigned("objects", branch.objects);
  WritePathMembers(json, branch.path, StuckAt(branch.to_leaf ? *branch.to_leaf : branch.path));
  json.Unsigned("leaves", branch.leaves).Key("leaf_examples").Array();
  for (const auto& [address, label] : branch.leaf_examples) json.Object().Hex("address", address).String("label", label).EndObject();
  json.EndArray().Unsigned("alike", branch.alike).Unsigned("left_out", branch.left_out).EndObject();
}

}  // namespace

void WriteText(const Header& h, const PathReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  out.Line();
  if (!r.is_type && !r.is_object) {
    out.Line(fmt::format("{} is no object: {}", r.query, r.where), Style::kHeading);
  } else {
    WriteSummary(out, r);
    if (!r.excluded.empty()) out.To(2).Add("not through objects of: ", Style::kFaint).Flow(r.excluded, ", ", 4);
    if (!r.excluded.empty() && r.objects > 0 && r.by_root + r.by_count_only == 0 && r.unreachable < r.objects) {
      out.To(2).Line(r.is_type ? "nothing else keeps any of them: without what was left out they would be gone" : "nothing else keeps it: without what was left out it would be gone", Style::kHeading);
    }
    WritePaths(out, r);
    WriteTree(out, r);
  }
  WriteWarnings(out, h);
}

void WriteJson(const Header&, const PathReport& r, JsonWriter& json) {
  json.Object().String("query", r.query).Bool("is_object", r.is_object);
  if (!r.is_object) {
    json.String("where", r.where).EndObject();
    return;
  }
  json.Key("type");
  r.type.empty() ? json.Null() : json.String(r.type);
  json.Unsigned("objects", r.objects).Unsigned("by_root", r.by_root).Unsigned("by_count_only", r.by_count_only).Unsigned("unreachable", r.unreachable);
  json.Key("excluded").Array();
  for (const std::string& glob : r.excluded) json.String(glob);
  json.EndArray().Key("nearest_types").Array();
  for (const std::string& name : r.nearest_types) json.String(name);
  json.EndArray().Unsigned("path_count", r.path_count).Key("paths").Array();
  for (const RootPath& path : r.paths) {
    json.Object();
    WritePathMembers(json, path);
    json.EndObject();
  }
  json.EndArray().Key("tree").Array();
  for (const PathBranch& branch : r.tree) WriteBranch(json, branch);
  json.EndArray().EndObject();
}

}  // namespace pygc::report
