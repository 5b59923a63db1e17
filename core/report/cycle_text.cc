#include "core/report/cycle_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include "core/report/numbers.h"

namespace pygc::report {
namespace {

bool IsOneOf(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool IsContainer(const CycleStep& s) {
  return IsOneOf(s.type, {"dict", "list", "tuple", "set", "frozenset", "collections.deque", "collections.OrderedDict", "collections.defaultdict",
                          "mappingproxy", "dictproxy"});
}
bool IsBoundMethod(const CycleStep& s) { return IsOneOf(s.type, {"method", "instancemethod", "method-wrapper"}); }
bool IsFunction(const CycleStep& s) { return s.type == "function"; }
bool IsCell(const CycleStep& s) { return s.type == "cell"; }
bool IsFrame(const CycleStep& s) { return s.type == "frame"; }
bool IsGenerator(const CycleStep& s) { return IsOneOf(s.type, {"generator", "coroutine", "async_generator"}); }
// A class of the program or of a library: its name has a module. Built-in types of extension modules do too, which is as well.
bool IsInstance(const CycleStep& s) { return s.type.find('.') != std::string::npos && !IsContainer(s); }
bool IsClass(const CycleStep& s) { return IsOneOf(s.type, {"type", "classobj", "abc.ABCMeta", "enum.EnumMeta", "enum.EnumType"}); }

unsigned Rank(const CycleStep& s) { return s.elided != 0 ? 9 : NameRank(s.type); }

const CycleStep& Previous(const Cycle& c, std::size_t i) { return c[(i + c.size() - 1) % c.size()]; }

// True where step i is the attribute dictionary of the step before it, so that ['x'] of it reads .x of the owner.
bool IsAttributeDict(const Cycle& c, std::size_t i) {
  return c[i].type == "dict" && IsOneOf(Previous(c, i).label, {".__dict__", ".in_dict"}) && c.size() > 1;
}

bool IsIdentifier(std::string_view s) {
  return !s.empty() && !(s[0] >= '0' && s[0] <= '9') && std::all_of(s.begin(), s.end(), [](char ch) {
    return ch == '_' || (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch & 0x80);
  });
}

// A reference with everything between two named objects folded into it.
struct FoldedStep {
  const CycleStep* from = nullptr;
  std::string label;      // ".children[0]"
  std::string attribute;  // the first attribute name of it: "children"; empty where there is none
  bool direct = true;     // one reference, at most through the attribute dictionary
};

std::vector<FoldedStep> Fold(const Cycle& cycle) {
  std::vector<FoldedStep> out;
  const bool only_containers = std::all_of(cycle.begin(), cycle.end(), [](const CycleStep& s) { return s.elided != 0 || IsContainer(s); });
  for (std::size_t i = 0; i < cycle.size(); ++i) {
    const CycleStep& s = cycle[i];
    if (i > 0 && IsAttributeDict(cycle, i)) {
      FoldedStep& owner = out.back();
      const bool attribute = s.kind == EdgeKind::kKey && IsIdentifier(s.key);
      const std::string label = attribute ? "." + s.key : ".__dict__" + s.label;
      owner.label = owner.label.substr(0, owner.label.size() - Previous(cycle, i).label.size()) + label;
      if (attribute && owner.attribute.empty()) owner.attribute = s.key;
      continue;
    }
    if (i > 0 && s.type == "tuple" && Previous(cycle, i).kind == EdgeKind::kClosure) continue;
    if (i > 0 && IsContainer(s) && !only_containers) {
      // Words ("key 'x'", "element") stand apart from the name before them; brackets do not.
      const bool word = !s.label.empty() && s.label[0] >= 'a' && s.label[0] <= 'z';
      out.back().label += fmt::format("{}{}", word ? " " : "", s.label);
      out.back().direct = false;
      continue;
    }
    // A function's closure is a tuple of cells: "closure name" says it all.
    if (i > 0 && IsCell(s) && (out.back().label.starts_with("closure ") || out.back().label.find(".__closure__") != std::string::npos)) continue;
    out.push_back({&s, s.label, s.kind == EdgeKind::kAttribute ? s.key : "", true});
  }
  return out;
}

bool IsParentName(std::string_view name) {
  while (name.starts_with('_')) name.remove_prefix(1);
  return IsOneOf(name, {"parent",     "parentNode",  "parent_node", "parentNodes",     "owner", "ownerDocument", "up",       "back",
                        "backref",    "prev",        "previous",    "previousSibling", "root",  "container",     "outer",    "master",
                        "parent_ref", "proxy_owner", "controller",  "manager",         "app",   "session",       "document", "enclosing"});
}

// "Node.parent", "list[0]", "Task task_fut_waiter".
std::string SubjectOf(const FoldedStep& s) {
  const bool joins = s.label.empty() || s.label.front() == '.' || s.label.front() == '[' || s.label.front() == '{';
  return LastName(s.from->type) + (joins ? "" : " ") + s.label;
}

}  // namespace

const char* EdgeKindName(EdgeKind kind) noexcept {
  switch (kind) {
    case EdgeKind::kAttribute:
      return "attribute";
    case EdgeKind::kKey:
      return "key";
    case EdgeKind::kItem:
      return "item";
    case EdgeKind::kElement:
      return "element";
    case EdgeKind::kField:
      return "field";
    case EdgeKind::kClosure:
      return "closure";
    case EdgeKind::kLocal:
      return "local";
    case EdgeKind::kOther:
      return "other";
  }
  return "other";
}

unsigned NameRank(const std::string& type) {
  CycleStep s;
  s.type = type;
  if (IsInstance(s)) return 0;
  if (IsClass(s)) return 1;
  if (IsGenerator(s)) return 2;
  if (IsFunction(s)) return 3;
  if (IsFrame(s) || IsBoundMethod(s) || IsCell(s) ||
      IsOneOf(type, {"builtin_function_or_method", "traceback", "getset_descriptor", "member_descriptor"}))
    return 5;
  if (IsContainer(s)) return 6;
  return 4;
}

std::string LastName(const std::string& type) {
  const std::size_t dot = type.rfind('.');
  return dot == std::string::npos || dot + 1 == type.size() ? type : type.substr(dot + 1);
}

Cycle StartWithBestKnown(Cycle cycle, const std::string& type) {
  if (cycle.size() < 2) return cycle;
  std::size_t best = 0;
  // The attribute's name, whether it is stored inline or in an attribute dictionary.
  const auto attribute = [&](std::size_t i) -> const std::string& {
    const CycleStep& next = cycle[(i + 1) % cycle.size()];
    return cycle[i].label == ".__dict__" && next.kind == EdgeKind::kKey ? next.key : cycle[i].key;
  };
  const auto better = [&](std::size_t a, std::size_t b) {
    if ((cycle[a].type == type) != (cycle[b].type == type)) return cycle[a].type == type;
    const unsigned ra = Rank(cycle[a]), rb = Rank(cycle[b]);
    if (ra != rb) return ra < rb;
    // Among equals the one that names its reference: `Node .children` before `Node .parent`.
    const std::string &ka = attribute(a), &kb = attribute(b);
    const bool pa = IsParentName(ka), pb = IsParentName(kb);
    if (pa != pb) return pb;
    return cycle[a].type != cycle[b].type ? cycle[a].type < cycle[b].type : ka < kb;
  };
  for (std::size_t i = 1; i < cycle.size(); ++i) {
    if (better(i, best)) best = i;
  }
  std::rotate(cycle.begin(), cycle.begin() + static_cast<std::ptrdiff_t>(best), cycle.end());
  return cycle;
}

std::vector<std::string> CycleParts(const Cycle& cycle, std::size_t max_parts) {
  if (cycle.empty()) return {};
  std::set<std::string> types;
  std::multiset<std::string> last_names;
  for (const CycleStep& s : cycle) {
    if (s.elided != 0) continue;
    if (types.insert(s.type).second) last_names.insert(LastName(s.type));
  }
  const auto described = [&](const CycleStep& s) {
    const std::string last = LastName(s.type);
    std::string type = last_names.count(last) > 1 ? s.type : last;
    if (IsOneOf(s.type, {"method", "instancemethod"})) type = "bound method";
    if (s.type == "builtin_function_or_method") type = "built-in method";
    if (IsFrame(s) && !s.name.empty()) return "frame of " + s.name + "()";
    return s.name.empty() ? type : type + " " + s.name;
  };
  const std::vector<FoldedStep> folded = Fold(cycle);
  std::vector<std::string> parts;
  std::uint64_t left_out = 0;
  // A ring of equal parts is understood from two of them.
  const bool all_equal = std::all_of(folded.begin(), folded.end(), [&](const FoldedStep& s) {
    return s.from->elided != 0 ||
           (s.label == folded.front().label && s.from->type == folded.front().from->type && s.from->name == folded.front().from->name);
  });
  const std::size_t limit = all_equal && max_parts >= 4 ? 4 : max_parts;
  const std::size_t head = all_equal ? 1 : limit / 2, tail = all_equal ? 1 : limit - head - 1;
  const bool fold_middle = limit >= 4 && folded.size() > limit;
  for (std::size_t i = 0; i < folded.size(); ++i) {
    const FoldedStep& s = folded[i];
    if (s.from->elided != 0 || (fold_middle && i >= head && i < folded.size() - tail)) {
      left_out += s.from->elided != 0 ? s.from->elided : 1;
      const bool last = i + 1 == folded.size() || (fold_middle ? i + 1 == folded.size() - tail : true);
      if (last) parts.push_back(fmt::format("… {} more …", Thousands(left_out)));
      continue;
    }
    parts.push_back(s.label.empty() ? described(*s.from) : described(*s.from) + " " + s.label);
  }
  parts.push_back(described(*folded.front().from));
  return parts;
}

Shape ShapeOf(const Cycle& cycle) {
  if (cycle.empty()) return Shape::kNone;
  const auto any = [&](auto&& predicate) { return std::any_of(cycle.begin(), cycle.end(), predicate); };
  if (any([](const CycleStep& s) { return s.type == "traceback"; })) return Shape::kTraceback;
  const std::vector<FoldedStep> folded = Fold(cycle);
  const auto at = [&](std::size_t i) -> const FoldedStep& { return folded[i % folded.size()]; };
  for (std::size_t i = 0; i < folded.size(); ++i) {
    if (!IsBoundMethod(*at(i).from) || (at(i).label != ".__self__" && at(i).label != ".im_self")) continue;
    return folded.size() == 2 ? Shape::kBoundMethodOnSelf : Shape::kBoundMethodElsewhere;
  }
  if (any(IsGenerator)) return Shape::kGenerator;
  for (std::size_t i = 0; i < folded.size(); ++i) {
    if (!IsFunction(*at(i).from)) continue;
    if (at(i).label.starts_with("closure ") || at(i).label.starts_with(".__closure__") || at(i).label.starts_with(".func_closure")) {
      return folded.size() == 1 ? Shape::kRecursiveClosure : any(IsInstance) ? Shape::kClosureOnSelf : Shape::kRecursiveClosure;
    }
  }
  if (any(IsFrame)) return Shape::kFrame;
  if (any([](const CycleStep& s) { return IsClass(s) || s.label == ".__mro__" || s.label == ".__objclass__"; })) return Shape::kClass;
  for (const FoldedStep& s : folded) {
    if (IsFunction(*s.from) && (s.label.starts_with(".__globals__") || s.label.starts_with(".func_globals"))) return Shape::kNamespace;
  }
  if (std::all_of(cycle.begin(), cycle.end(), [](const CycleStep& s) { return s.elided != 0 || IsContainer(s); })) return Shape::kContainerInItself;
  if (folded.size() == 1) return Shape::kSelfReference;
  for (const FoldedStep& s : folded) {
    if (s.direct && IsParentName(s.attribute)) return Shape::kParentPointer;
  }
  return Shape::kMutual;
}

const char* ShapeName(Shape shape) noexcept {
  switch (shape) {
    case Shape::kBoundMethodOnSelf:
      return "bound-method-on-self";
    case Shape::kBoundMethodElsewhere:
      return "bound-method";
    case Shape::kTraceback:
      return "traceback";
    case Shape::kFrame:
      return "frame";
    case Shape::kRecursiveClosure:
      return "recursive-closure";
    case Shape::kClosureOnSelf:
      return "closure-on-self";
    case Shape::kGenerator:
      return "generator";
    case Shape::kClass:
      return "class";
    case Shape::kNamespace:
      return "namespace";
    case Shape::kParentPointer:
      return "parent-pointer";
    case Shape::kSelfReference:
      return "self-reference";
    case Shape::kContainerInItself:
      return "container";
    case Shape::kMutual:
      return "mutual";
    case Shape::kNone:
      return "none";
  }
  return "none";
}

std::string FixFor(const Cycle& cycle) {
  const Shape shape = ShapeOf(cycle);
  if (shape == Shape::kNone) return {};
  const std::vector<FoldedStep> folded = Fold(cycle);
  const auto find = [&](auto&& predicate) -> const FoldedStep* {
    const auto f = std::find_if(folded.begin(), folded.end(), predicate);
    return f == folded.end() ? nullptr : &*f;
  };
  const auto before = [&](const FoldedStep* s) -> const FoldedStep& {
    const auto i = static_cast<std::size_t>(s - folded.data());
    return folded[(i + folded.size() - 1) % folded.size()];
  };
  switch (shape) {
    case Shape::kBoundMethodOnSelf: {
      const FoldedStep* method = find([](const FoldedStep& s) { return IsBoundMethod(*s.from); });
      const FoldedStep& holder = before(method);
      const std::string name = method->from->name.empty() ? "method" : method->from->name;
      if (holder.direct && !holder.attribute.empty()) {
        return fmt::format("`self.{0} = self.{1}` stores a reference to self in self; make the alias at class level (`{0} = {1}` in the class body)",
                           holder.attribute, name);
      }
      return fmt::format("{} holds the bound method {} of its own object; store the function or the method's name, or a weakref.WeakMethod",
                         SubjectOf(holder), name);
    }
    case Shape::kBoundMethodElsewhere: {
      const FoldedStep* method = find([](const FoldedStep& s) { return IsBoundMethod(*s.from); });
      const FoldedStep& holder = before(method);
      const std::string owner = LastName(folded[(static_cast<std::size_t>(method - folded.data()) + 1) % folded.size()].from->type);
      return fmt::format("{} holds the bound method {} of {}, and so the object itself; unregister it when done, or store a weakref.WeakMethod",
                         SubjectOf(holder), method->from->name.empty() ? "method" : method->from->name, owner);
    }
    case Shape::kTraceback: {
      const auto local =
          std::find_if(cycle.begin(), cycle.end(), [](const CycleStep& s) { return IsFrame(s) && !s.key.empty() && s.kind == EdgeKind::kLocal; });
      const std::string where =
          local == cycle.end() ? "a local variable" : fmt::format("`{}` in {}()", local->key, local->name.empty() ? "the function" : local->name);
      return fmt::format(
          "{} keeps an exception alive whose traceback keeps that frame alive; `del` the variable in a finally block, or keep "
          "traceback.format_exception() (or err.with_traceback(None)) instead of the exception",
          where);
    }
    case Shape::kFrame:
      return "a frame object is kept (sys._getframe(), inspect.currentframe(), a traceback's tb_frame); `del` it in a finally block";
    case Shape::kRecursiveClosure: {
      const FoldedStep* f = find([](const FoldedStep& s) { return IsFunction(*s.from); });
      const std::string name = f == nullptr || f->from->name.empty() ? "the inner function" : f->from->name;
      return fmt::format(
          "{} refers to itself through its enclosing function's variable; move it to module level, pass it to itself as an argument, or set the "
          "variable to None when done",
          name);
    }
    case Shape::kClosureOnSelf: {
      const FoldedStep* f = find([](const FoldedStep& s) { return IsFunction(*s.from); });
      const FoldedStep& holder = before(f);
      const std::string variable =
          f->label.starts_with("closure ") ? fmt::format("`{}`", f->label.substr(8, f->label.find_first_of(".[ ", 8) - 8)) : "the object";
      return fmt::format("the function {} kept in {} closes over {}; close over a weakref, or pass the object as an argument", f->from->name,
                         SubjectOf(holder), variable);
    }
    case Shape::kGenerator:
      return "a suspended generator or coroutine holds its locals, which lead back to it; run it to its end or close() it, and do not store it where "
             "its own locals can reach it";
    case Shape::kClass:
      return "every class refers to itself (__mro__, __dict__, its functions); a class made at run time always needs the collector: make it once and "
             "keep it";
    case Shape::kNamespace:
      return "functions and the namespace they were defined in refer to each other (exec(), a module dropped from sys.modules, namedtuple); clear "
             "the namespace when done";
    case Shape::kParentPointer: {
      const FoldedStep* s = find([](const FoldedStep& f) { return f.direct && IsParentName(f.attribute); });
      return fmt::format("{}.{} points back at its owner; make it a weak reference (weakref.ref), or clear it when the object is taken out",
                         LastName(s->from->type), s->attribute);
    }
    case Shape::kSelfReference: {
      if (folded[0].direct && !folded[0].attribute.empty())
        return fmt::format("`self.{}` is the object itself: drop it, or make it a property", folded[0].attribute);
      return fmt::format("{} holds the object itself; leave it out, or hold a weakref", SubjectOf(folded[0]));
    }
    case Shape::kContainerInItself:
      return "a container that holds itself, directly or through others; clear() it when done";
    case Shape::kMutual: {
      const FoldedStep& s = folded.back();
      return fmt::format(
          "make one of these references weak (weakref.ref), for example {}, or break it when the objects are done (a close() method, a with block)",
          SubjectOf(s));
    }
    case Shape::kNone:
      break;
  }
  return {};
}

}  // namespace pygc::report
