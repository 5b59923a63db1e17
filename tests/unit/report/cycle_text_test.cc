#include "core/report/cycle_text.h"

#include <doctest/doctest.h>

#include <sstream>

#include "core/report/path_text.h"

using namespace pygc::report;

namespace {

EdgeKind KindOf(const std::string& label) {
  if (label.starts_with("['")) return EdgeKind::kKey;
  if (label.starts_with("[")) return EdgeKind::kItem;
  if (label.starts_with("closure ")) return EdgeKind::kClosure;
  if (label.starts_with("local ")) return EdgeKind::kLocal;
  if (label.starts_with(".__") || label == ".cell_contents" || label.starts_with(".tb_") || label.starts_with(".f_")) return EdgeKind::kField;
  return EdgeKind::kAttribute;
}

// "app.Holder .isClosed | method:is_closed .__self__": one step a part, `type[:name] label`.
Cycle Parse(const std::string& text) {
  Cycle cycle;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, '|');) {
    part.erase(0, part.find_first_not_of(' '));
    part.erase(part.find_last_not_of(' ') + 1);
    CycleStep s;
    const std::size_t space = part.find(' ');
    std::string head = part.substr(0, space);
    s.label = space == std::string::npos ? "" : part.substr(space + 1);
    const std::size_t colon = head.find(':');
    s.type = head.substr(0, colon);
    if (colon != std::string::npos) s.name = head.substr(colon + 1);
    s.kind = KindOf(s.label);
    if (s.kind == EdgeKind::kKey) s.key = s.label.substr(2, s.label.size() - 4);
    if (s.kind == EdgeKind::kAttribute) s.key = s.label.substr(1);
    if (s.kind == EdgeKind::kClosure) s.key = s.label.substr(8);
    if (s.kind == EdgeKind::kLocal) s.key = s.label.substr(6);
    s.address = 0x1000 + cycle.size() * 16;
    cycle.push_back(s);
  }
  return cycle;
}

std::string Words(const std::string& text) {
  std::string out;
  for (const std::string& part : CycleParts(StartWithBestKnown(Parse(text)))) out += (out.empty() ? "" : " -> ") + part;
  return out;
}
std::string Shaped(const std::string& text) { return ShapeName(ShapeOf(StartWithBestKnown(Parse(text)))); }
std::string Fixed(const std::string& text) { return FixFor(StartWithBestKnown(Parse(text))); }
bool Contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("attribute dictionaries are folded into the attribute, with or without a dict object") {
  const std::string inline_values = "app.pipes.OsPipeHolder .isClosed | method:is_closed .__self__";
  const std::string with_dict = "instancemethod:is_closed .__self__ | app.pipes.OsPipeHolder .__dict__ | dict ['isClosed']";
  CHECK(Words(inline_values) == "OsPipeHolder .isClosed -> bound method is_closed .__self__ -> OsPipeHolder");
  CHECK(Words(with_dict) == Words(inline_values));
  CHECK(Fixed(with_dict) == Fixed(inline_values));
  CHECK(Words("app.Below .up | app.Kept .below") == Words("app.Below .__dict__ | dict ['up'] | app.Kept .__dict__ | dict ['below']"));
}

TEST_CASE("containers between two objects are folded into the reference") {
  CHECK(Words("app.Node .children | list [0] | app.Node .parent") == "Node .children[0] -> Node .parent -> Node");
  CHECK(Words("app.Reg .__dict__ | dict ['handlers'] | dict ['x'] | tuple [1] | app.Handler .reg") ==
        "Handler .reg -> Reg .handlers['x'][1] -> Handler");
}

TEST_CASE("elements and keys read as words") {
  CHECK(Words("app.M .things | set element") == "M .things element -> M");
  CHECK(Words("app.M .d | dict key <app.M>") == "M .d key <app.M> -> M");
}

TEST_CASE("the object that the report is named after comes first") {
  const Cycle cycle = StartWithBestKnown(Parse("app.A .parent | app.B .child"), "app.B");
  CHECK(cycle.front().type == "app.B");
  CHECK(StartWithBestKnown(Parse("dict ['x'] | app.B .d"), "").front().type == "app.B");
}

TEST_CASE("a key that is no identifier is not shown as an attribute") {
  CHECK(Words("app.A .__dict__ | dict ['not an attribute']") == "A .__dict__['not an attribute'] -> A");
}

TEST_CASE("containers alone are shown as they are") {
  CHECK(Words("list [0]") == "list [0] -> list");
  CHECK(Words("dict ['self']") == "dict ['self'] -> dict");
  CHECK(Shaped("list [0]") == "container");
}

TEST_CASE("equal last names keep their modules") { CHECK(Words("a.Node .x | b.Node .y") == "a.Node .x -> b.Node .y -> a.Node"); }

TEST_CASE("closures are shown by the variable's name") {
  CHECK(Words("function:fact closure fact | tuple [0] | cell .cell_contents") == "function fact closure fact -> function fact");
  CHECK(Words("app.W .cb | function:on_done closure self | tuple [0] | cell .cell_contents") == "W .cb -> function on_done closure self -> W");
}

TEST_CASE("long cycles are folded in the middle") {
  std::string ring;
  for (int i = 0; i < 10; ++i) ring += std::string(i ? " | " : "") + "app.Track .next";
  CHECK(Words(ring) == "Track .next -> … 8 more … -> Track .next -> Track");
  std::string mixed;
  for (int i = 0; i < 12; ++i) mixed += std::string(i ? " | " : "") + "app.T" + std::to_string(i) + " .next";
  CHECK(Words(mixed) == "T0 .next -> T1 .next -> T2 .next -> T3 .next -> … 5 more … -> T9 .next -> T10 .next -> T11 .next -> T0");
  Cycle cut = Parse("app.T .next | app.T .next | app.T .next");
  cut[1] = CycleStep{};
  cut[1].elided = 999998;
  const std::vector<std::string> parts = CycleParts(cut);
  REQUIRE(parts.size() == 4);
  CHECK(parts[1] == "… 999,998 more …");
}

TEST_CASE("each shape gets its name and advice with the names of the case") {
  struct Case {
    const char *cycle, *shape, *advice;
  };
  const Case cases[] = {
      {"app.H .alias | method:is_closed .__self__", "bound-method-on-self", "`alias = is_closed` in the class body"},
      {"app.H .__dict__ | dict ['handlers'] | list [0] | method:go .__self__", "bound-method-on-self", "H.handlers[0] holds the bound method go"},
      {"app.View .button | app.Button .callback | method:clicked .__self__", "bound-method",
       "Button.callback holds the bound method clicked of View"},
      {"ValueError .__traceback__ | traceback .tb_frame | frame:handle local err", "traceback", "`err` in handle()"},
      {"function:fact closure fact | tuple [0] | cell .cell_contents", "recursive-closure", "fact refers to itself"},
      {"app.W .cb | function:done closure self | tuple [0] | cell .cell_contents", "closure-on-self", "W.cb closes over `self`"},
      {"generator:run local self | app.Task .gen", "generator", "close()"},
      {"app.Node .children | list [0] | app.Node .parent", "parent-pointer", "Node.parent points back"},
      {"app.X .me", "self-reference", "`self.me` is the object itself"},
      {"app.A .b | app.B .a", "mutual", "weakref"},
      {"dict ['self']", "container", "clear()"},
      {"type:C .__mro__ | tuple [0]", "class", "class made at run time"},
      {"function:f .__globals__ | dict ['f']", "namespace", "namespace"},
      {"frame:f local fr", "frame", "frame object"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.cycle);
    CHECK(Shaped(c.cycle) == c.shape);
    CHECK_MESSAGE(Contains(Fixed(c.cycle), c.advice), Fixed(c.cycle));
  }
}

TEST_CASE("no cycle, no advice") {
  CHECK(FixFor({}).empty());
  CHECK(CycleParts({}).empty());
}

TEST_CASE("a path names the interpreter whose sys.modules it starts from, unless it is the main one") {
  RootPath path;
  path.root = {"module", "module sys", "", "sys.modules['sys']"};
  path.steps.resize(3);
  path.steps[0].type = "module";
  path.steps[0].label = ".__dict__";
  path.steps[0].kind = EdgeKind::kField;
  path.steps[1].type = "dict";
  path.steps[1].label = "['subkeep']";
  path.steps[1].key = "subkeep";
  path.steps[1].kind = EdgeKind::kKey;
  CHECK(PlacedPathOf(path) == "sys.modules['sys'].subkeep");
  path.root.place = "interpreter 1";
  CHECK(PlacedPathOf(path) == "sys.modules['sys'].subkeep in interpreter 1");
}
