#include "core/report/path_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace pygc::report {
namespace {

// CPython: Lib/keyword.py, without those that are names in some releases.
constexpr std::array<std::string_view, 35> kKeywords = {"False", "None",   "True",   "and",  "as",     "assert", "async", "await",    "break", "class", "continue", "def",
                                                        "del",   "elif",   "else",   "except", "finally", "for", "from",  "global",   "if",    "import", "in",     "is",
                                                        "lambda", "nonlocal", "not", "or",   "pass",   "raise",  "return", "try",     "while", "with",  "yield"};

bool IsIdentifier(std::string_view word) {
  if (word.empty() || (word[0] >= '0' && word[0] <= '9') || std::find(kKeywords.begin(), kKeywords.end(), word) != kKeywords.end()) return false;
  return std::all_of(word.begin(), word.end(), [](char c) { return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); });
}

bool IsGenerator(const std::string& type) { return type == "generator" || type == "coroutine" || type == "async_generator"; }

/// Builds the text step by step.
class PathWriter {
 public:
  explicit PathWriter(const PathRoot& root) : valid_(!root.expression.empty()), in_cell_(root.through_cell), in_frame_(root.frame_object) {
    text_ = valid_ ? root.expression : root.place.empty() ? fmt::format("<{}>", root.name) : fmt::format("<{} in {}>", root.name, root.place);
  }

  void Add(const CycleStep& owner) {
    if (owner.elided > 0) {
      text_ += " … ";
      valid_ = false;
      return;
    }
    if (in_cell_) {  // a variable's expression gives the content of its cell, not the cell
      in_cell_ = false;
      if (owner.label == ".cell_contents") return;
      valid_ = false;
    }
    if (owner.kind == EdgeKind::kLocal) return AddLocal(owner);
    in_frame_ = false;
    // A function keeps its annotations as a tuple until somebody asks for the dict [3.10-3.13].
    if (owner.type == "tuple" && text_.ends_with(kAnnotations)) {
      text_.resize(text_.size() - kAnnotations.size());
      AddBraces(kAnnotations);
    }
    const bool of_type = in_class_dict_;
    in_class_dict_ = owner.label == ".__dict__" && owner.is_class && owner.type != "classobj";
    if (owner.kind == EdgeKind::kKey && AddKey(owner, of_type)) return;
    if (owner.kind == EdgeKind::kItem && !owner.subscript.empty()) return Append(owner.subscript);
    if (owner.kind == EdgeKind::kAttribute && IsIdentifier(owner.key)) return Append("." + owner.key);
    if (owner.kind == EdgeKind::kAttribute && !owner.subscript.empty()) return Append(".__dict__" + owner.subscript);
    if ((owner.kind == EdgeKind::kField || owner.kind == EdgeKind::kClosure) && IsAttribute(owner)) return Append(owner.label);
    AddBraces(owner.label.empty() ? "?" : owner.label);
  }

  [[nodiscard]] bool valid() const { return valid_ && !in_cell_ && !in_class_dict_; }  // a class gives a view of its __dict__, not the dict
  [[nodiscard]] std::string Take() { return std::move(text_); }

 private:
  static constexpr std::string_view kAnnotations = ".__annotations__";
  static bool IsAttribute(const CycleStep& owner) { return !owner.in_c && owner.label.size() > 1 && owner.label[0] == '.' && IsIdentifier(std::string_view(owner.label).substr(1)); }
  void AddBraces(std::string_view label) {
    valid_ = false;
    text_ += fmt::format("{{{}}}", label);
  }
  void Append(std::string_view part) { text_ += part; }

  // An entry of a dict: an attribute where the dict is an object's __dict__ (a class's gives descriptors, so there it stays an entry).
  bool AddKey(const CycleStep& owner, bool dict_of_type) {
    if (!owner.label.starts_with('[')) return false;  // a key, not a value
    if (text_.ends_with(".__dict__") && !dict_of_type && IsIdentifier(owner.key)) {
      text_.resize(text_.size() - std::string_view("__dict__").size());
      text_ += owner.key;
      return true;
    }
    if (owner.subscript.empty()) return false;
    text_ += owner.subscript;
    return true;
  }

  void AddLocal(const CycleStep& owner) {
    const char* const frame = owner.type == "frame"         ? ""
                              : owner.type == "generator"   ? ".gi_frame"
                              : owner.type == "coroutine"   ? ".cr_frame"
                              : owner.type == "async_generator" ? ".ag_frame"
                                                            : nullptr;
    if (frame == nullptr || !IsIdentifier(owner.key)) {
      AddBraces(owner.label);
      in_frame_ = false;
      return;
    }
    if (in_frame_) {
      text_ = owner.key;
      valid_ = true;
    } else {
      text_ += fmt::format("{}.f_locals['{}']", frame, owner.key);
    }
    local_ = true;
    in_frame_ = false;
  }

  std::string text_;
  bool valid_, in_cell_, in_frame_, in_class_dict_ = false, local_ = false;

  friend std::string BuildText(const RootPath& path, bool* valid);
};

std::string BuildText(const RootPath& path, bool* valid) {
  PathWriter writer(path.root);
  for (std::size_t i = 0; i + 1 < path.steps.size(); ++i) {
    writer.Add(path.steps[i]);
    // A variable that closures share: the frame refers to its cell, f_locals to the content.
    if (writer.local_ && path.steps[i + 1].type == "cell") writer.in_cell_ = true;
    writer.local_ = false;
  }
  *valid = writer.valid();
  return writer.Take();
}

// ---- where it is stuck

std::string Called(const CycleStep& step) { return step.name.empty() ? LastName(step.type) : step.name; }

bool IsAnyOf(std::string_view word, std::initializer_list<std::string_view> words) { return std::find(words.begin(), words.end(), word) != words.end(); }

// What a dict that stands for names has at the step: "global 'CACHE' of", or, where the path leads to the key itself, "the name of a global of".
std::string NamedEntry(std::string_view what, const CycleStep& step) {
  if (step.label.starts_with("key ")) return fmt::format("the name of {} {} of", what == "attribute" ? "an" : "a", what);
  return fmt::format("{} '{}' of", what, step.key.empty() ? step.label : step.key);
}

// What the last step before `i` whose object is had by that attribute is asked for: "6" of "[6]" behind "._fd_to_key"; empty where there is no such step.
std::string BehindAttribute(const Cycle& steps, std::size_t i, std::string_view attribute) {
  for (std::size_t k = std::min(i, steps.size()); k-- > 1;) {
    const CycleStep& before = steps[k - 1];
    const bool named = before.label == attribute || (before.kind == EdgeKind::kKey && "." + before.key == attribute);
    const std::string& label = steps[k].label;
    if (named && label.size() > 2 && label.front() == '[' && label.back() == ']') return label.substr(1, label.size() - 2);
  }
  return {};
}

// Where asyncio has what it will call or waits for. `owner`: the object's type, or that of what a __dict__ belongs to; `key`: the name of its reference.
// CPython: Lib/asyncio/events.py, futures.py, tasks.py; FutureObj_HEAD in Modules/_asynciomodule.c [3.6+].
StuckPlace PlaceInAsyncio(const Cycle& steps, std::size_t i, const std::string& owner, const std::string& key) {
  const CycleStep& s = steps[i];
  const std::string name = LastName(owner);
  const bool task = owner == "_asyncio.Task" || owner == "asyncio.tasks.Task";
  if (owner == "asyncio.events.Handle" || owner == "asyncio.events.TimerHandle") {
    const char* const what = key.find("_args") != std::string::npos ? "an argument of a callback" : "a callback";
    if (const std::string fd = BehindAttribute(steps, i, "._fd_to_key"); !fd.empty()) return {"asyncio", fmt::format("{} of the event loop for file descriptor {} (add_reader, add_writer)", what, fd)};
    if (const std::string number = BehindAttribute(steps, i, "._signal_handlers"); !number.empty()) return {"asyncio", fmt::format("{} of the event loop for signal {} (add_signal_handler)", what, number)};
    return {"asyncio", fmt::format("{} that the event loop is to run {} (asyncio {})", what, name == "Handle" ? "next" : "later", name)};
  }
  if (key.find("callback") != std::string::npos) return {"asyncio", fmt::format("a callback of an asyncio {} (add_done_callback)", task ? "task" : name)};
  if (name == "_GatheringFuture" && key.find("_children") != std::string::npos) return {"asyncio", "a future that asyncio.gather waits for"};
  if (name == "_AsCompletedIterator") return {"asyncio", "a future that asyncio.as_completed waits for"};
  if (task) return {"asyncio-task", key.find("coro") != std::string::npos ? "the coroutine of an asyncio task" : fmt::format("{} of an asyncio task", s.label)};
  return {"asyncio", fmt::format("{} of {}", s.label, owner)};
}

// What one step says of the object that it leads to; empty kind: nothing that a programmer would name.
StuckPlace PlaceOfStep(const Cycle& steps, std::size_t i) {
  const CycleStep& s = steps[i];
  const std::string key = s.key.empty() ? s.label : s.key;
  const CycleStep* const before = i > 0 ? &steps[i - 1] : nullptr;
  const bool in_dict = before != nullptr && before->label == ".__dict__" && s.kind == EdgeKind::kKey;
  const std::string& owner = in_dict ? before->type : s.type;
  if (s.type == "frame" && s.kind == EdgeKind::kLocal && before != nullptr && before->type == "traceback") {
    return {"traceback", fmt::format("local variable '{}' of {}, in a frame that a traceback keeps", key, Called(s))};
  }
  if (s.type == "method" || s.type == "instancemethod") {
    if (s.label == ".__self__") return {"bound-method", fmt::format("the bound method {}, which holds its object", Called(s))};
  }
  if (s.type == "cell") {
    const bool named = i >= 2 && steps[i - 2].kind == EdgeKind::kClosure;
    if (named) return {"closure", fmt::format("variable '{}' in the closure of {}", steps[i - 2].key, Called(steps[i - 2]))};
    if (before != nullptr && before->type == "tuple") return {"closure", "a variable in the closure of a function"};
  }
  // The attributes of a threading.local lie in one dict for each thread: behind the local's table of dummies, and behind a dummy in the thread's own dict.
  if (s.type == "dict" && s.kind == EdgeKind::kKey && before != nullptr) {
    const bool by_thread = before->type.ends_with("_localdummy");
    const CycleStep* const local = before->type == "dict" && i >= 2 ? &steps[i - 2] : nullptr;
    const bool by_local = local != nullptr && (local->type == "_thread._local" || local->type == "thread._local" || local->label.ends_with("dummies"));
    if (by_thread || by_local) return {"thread-local", fmt::format("attribute '{}' of a threading.local", key)};
  }
  if (s.type == "functools._lru_cache_wrapper") return {"lru-cache", "the cache of functools.lru_cache"};
  if (s.type.starts_with("weakref") && s.label == ".__callback__") return {"weakref-callback", "the callback of a weak reference"};
  if (owner.find("Thread") != std::string::npos && (s.kind == EdgeKind::kAttribute || in_dict)) {
    return {"thread-object", fmt::format("attribute {} of the thread object {}", key, LastName(owner))};
  }
  if (owner.starts_with("asyncio.") || owner.starts_with("_asyncio.")) return PlaceInAsyncio(steps, i, owner, key);
  if (s.type == "module" && s.name == "atexit" && s.kind == EdgeKind::kOther) return {"atexit", "a callback of atexit"};
  // The table of a context: each value behind its variable, which is no text.
  if (constexpr std::string_view kVariable = "[<ContextVar '"; s.type.starts_with("hamt_") && s.label.starts_with(kVariable) && s.label.ends_with("'>]")) {
    return {"contextvar", fmt::format("context variable '{}'", s.label.substr(kVariable.size(), s.label.size() - kVariable.size() - 3))};
  }
  if (owner == "_contextvars.Context" || owner == "Context" || owner == "hamt") return {"contextvar", "a context variable"};
  if (owner.starts_with("logging.")) return {"logging", fmt::format("{} of {}", s.label, owner)};
  if ((s.name == "as_completed" || (before != nullptr && before->name == "as_completed")) && s.kind == EdgeKind::kLocal && IsAnyOf(key, {"fs", "todo"})) {
    return {"asyncio", "a future that asyncio.as_completed waits for"};
  }
  if (s.type == "frame" && s.kind == EdgeKind::kLocal && before != nullptr && IsGenerator(before->type)) {
    return {"generator", fmt::format("local variable '{}' of the suspended {} {}", key, before->type, Called(*before))};
  }
  if (IsGenerator(s.type) && s.kind == EdgeKind::kLocal) return {"generator", fmt::format("local variable '{}' of the suspended {} {}", key, s.type, Called(s))};
  if (in_dict && before->type == "module" && before->name == "atexit") return {"atexit", "a callback of atexit"};
  if (in_dict && before->type == "module") return {"module-global", fmt::format("{} module {}", NamedEntry("global", s), Called(*before))};
  if (in_dict && before->is_class) return {"class-attribute", fmt::format("{} class {}", NamedEntry("attribute", s), Called(*before))};
  return {};
}

StuckPlace PlaceOfRoot(const RootPath& path) {
  const PathRoot& root = path.root;
  if (root.kind == "frame") {
    const bool variable = root.frame_object && !path.steps.empty() && path.steps[0].kind == EdgeKind::kLocal;
    return {"frame", fmt::format("{} of {}", variable ? path.steps[0].label : root.name, root.place)};
  }
  if (root.kind == "thread" && root.name.find("exc") != std::string::npos) return {"exception", fmt::format("{} of {}", root.name, root.place)};
  if (root.name.ends_with("of atexit") && root.kind == "interpreter") return {"atexit", root.name};
  if (root.name.starts_with("the signal handler of ")) return {"signal-handler", root.name};
  if (root.kind == "count-only") return {"count-only", "a reference whose holder was not found: native memory, or the stack of C code"};
  if (root.name == "the dict of module atexit") return {"atexit", "a callback of atexit"};  // a list in a module written in Python [2.7]
  if (root.kind == "module" && root.name.starts_with("the dict of ") && !path.steps.empty() && path.steps[0].kind == EdgeKind::kKey) {
    const CycleStep& s = path.steps[0];
    return {"module-global", fmt::format("{} {}", NamedEntry("global", s), root.name.substr(std::string_view("the dict of ").size()))};
  }
  if (root.kind == "native" || root.kind == "stack" || root.kind == "register") return {root.kind, fmt::format("native memory: {}", root.place)};
  return {root.kind, root.place.empty() ? root.name : fmt::format("{} of {}", root.name, root.place)};
}

// What the method at step `i` was given to, itself or in a list or tuple of callbacks: a signal, atexit, asyncio. Empty kind: nothing of these.
StuckPlace CallerOf(const RootPath& path, std::size_t i) {
  while (i > 0 && (path.steps[i - 1].type == "list" || path.steps[i - 1].type == "tuple")) --i;
  StuckPlace place = i == 0 ? StuckPlace() : PlaceOfStep(path.steps, i - 1);
  if (i <= 1 && place.kind.empty()) place = PlaceOfRoot(path);
  return IsAnyOf(place.kind, {"signal-handler", "atexit", "asyncio"}) ? place : StuckPlace();
}

}  // namespace

std::optional<std::string> ExpressionOf(const RootPath& path) {
  bool valid = false;
  std::string text = BuildText(path, &valid);
  return valid ? std::optional(std::move(text)) : std::nullopt;
}

std::string PathTextOf(const RootPath& path) {
  bool valid = false;
  return BuildText(path, &valid);
}

std::string PlacedPathOf(const RootPath& path) {
  const std::string text = PathTextOf(path);
  if (path.root.expression.empty() || path.root.place.empty()) return text;
  if (path.root.kind == "frame") return fmt::format("{} in {}", text, path.root.place.substr(0, path.root.place.find(" at ")));
  return IsOfSubinterpreter(path.root) ? fmt::format("{} in {}", text, path.root.place) : text;
}

bool IsOfSubinterpreter(const PathRoot& root) { return root.place.starts_with("interpreter "); }

StuckPlace StuckAt(const RootPath& path) {
  for (std::size_t i = path.steps.size(); i-- > 1;) {
    StuckPlace place = PlaceOfStep(path.steps, i - 1);
    if (place.kind.empty()) continue;
    if (place.kind == "bound-method") {
      // Who is going to call the method says more than that it has its object.
      const StuckPlace caller = CallerOf(path, i - 1);
      if (!caller.kind.empty()) return {caller.kind, fmt::format("{}: the bound method {}", caller.text, Called(path.steps[i - 1]))};
    }
    return place;
  }
  return PlaceOfRoot(path);
}

}  // namespace pygc::report
