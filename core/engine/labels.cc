#include "core/engine/labels.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/engine/edge_labels.h"
#include "core/objects/code_names.h"
#include "core/objects/offsets.h"
#include "core/objects/values.h"
#include "core/report/escape.h"

namespace pygc::engine {
namespace {

using cpython::Field;
using objects::LabelledReferent;
using objects::SlotKind;

constexpr std::size_t kMaxKey = 64, kMaxName = 200, kMaxSteps = 64;

// Stack references of 3.14+ carry tags in the two low bits; object addresses have none there.
constexpr Address kTagMask = ~Address{3};

report::EdgeKind KindOf(const LabelledReferent& r) {
  switch (r.kind) {
    case SlotKind::kAttribute:
    case SlotKind::kSlot:
      return report::EdgeKind::kAttribute;
    case SlotKind::kField:
    case SlotKind::kCField:
    case SlotKind::kType:
      return report::EdgeKind::kField;
    case SlotKind::kItem:
      return report::EdgeKind::kItem;
    case SlotKind::kDictKey:
    case SlotKind::kDictValue:
      return report::EdgeKind::kKey;
    case SlotKind::kSetEntry:
      return report::EdgeKind::kElement;
    case SlotKind::kLocal:
      return report::EdgeKind::kLocal;
    case SlotKind::kStackItem:
    case SlotKind::kUnknown:
      return report::EdgeKind::kOther;
  }
  return report::EdgeKind::kOther;
}

// Of several references to the same object the one that says most.
unsigned Preference(SlotKind kind) {
  switch (kind) {
    case SlotKind::kAttribute:
    case SlotKind::kSlot:
      return 0;
    case SlotKind::kLocal:
      return 1;
    case SlotKind::kField:
    case SlotKind::kCField:
      return 2;
    case SlotKind::kDictValue:
      return 3;
    case SlotKind::kItem:
      return 4;
    case SlotKind::kSetEntry:
      return 5;
    case SlotKind::kDictKey:
      return 6;
    case SlotKind::kStackItem:
      return 7;
    case SlotKind::kType:
      return 8;
    case SlotKind::kUnknown:
      return 9;
  }
  return 9;
}

bool IsFunctionType(const std::string& t) { return t == "function"; }
bool IsMethodType(const std::string& t) { return t == "method" || t == "instancemethod"; }
bool IsGeneratorType(const std::string& t) { return t == "generator" || t == "coroutine" || t == "async_generator"; }

}  // namespace

Address Labels::PointerIn(Address object, cpython::Field field) const {
  if (object == 0 || !layout().Has(field)) return 0;
  return reader_.process().memory.ReadPointer(object + layout().Offset(field)).value_or(0);
}

std::string Labels::TextField(Address object, cpython::Field field) const {
  const Address text = PointerIn(object, field);
  return text == 0 ? "" : reader_.Text(text, kMaxName).value_or("");
}

const objects::TypeFacts* Labels::FactsOf(Address object) const {
  const Address type = PointerIn(object, Field::PyObject_ob_type);
  return type == 0 ? nullptr : reader_.Type(type);
}

std::string Labels::TypeName(Address object, const std::string& otherwise) const {
  const objects::TypeFacts* facts = FactsOf(object);
  return facts == nullptr ? otherwise : reader_.DisplayTypeName(object, *facts);
}

std::uint64_t Labels::SizeOf(Address object) const {
  const objects::TypeFacts* facts = FactsOf(object);
  return facts == nullptr ? 0 : reader_.SizeOf(object, *facts).value_or(0);
}

Address Labels::CodeOfFrame(Address frame) const {
  if (layout().Has(Field::PyFrameObject_f_code)) return PointerIn(frame, Field::PyFrameObject_f_code);
  return PointerIn(PointerIn(frame, Field::PyFrameObject_f_frame), Field::PyInterpreterFrame_f_executable) & kTagMask;
}

std::string Labels::NameOf(Address object, const std::string& type) const {
  if (IsFunctionType(type)) return TextField(object, Field::PyFunctionObject_func_name);
  if (IsMethodType(type)) return TextField(PointerIn(object, Field::PyMethodObject_im_func), Field::PyFunctionObject_func_name);
  if (type == "frame") return TextField(CodeOfFrame(object), Field::PyCodeObject_co_name);
  if (type == "code") return TextField(object, Field::PyCodeObject_co_name);
  if (IsGeneratorType(type)) {
    if (layout().Has(Field::PyGenObject_gi_name)) return TextField(object, Field::PyGenObject_gi_name);
    return TextField(PointerIn(object, Field::PyGenObject_gi_code), Field::PyCodeObject_co_name);
  }
  if (type == "builtin_function_or_method" || type == "builtin_method") {
    const Address name = PointerIn(PointerIn(object, Field::PyCFunctionObject_m_ml), Field::PyMethodDef_ml_name);
    return name == 0 ? "" : reader_.process().memory.ReadCString(name, kMaxName).value_or("");
  }
  if (type == "module") return TextField(object, Field::PyModuleObject_md_name);
  if (type == "classobj") return TextField(object, Field::PyClassObject_cl_name);
  if (type == "getset_descriptor" || type == "member_descriptor" || type == "method_descriptor" || type == "wrapper_descriptor") {
    return TextField(object, Field::PyDescrObject_d_name);
  }
  // Classes: the name of the type object itself.
  if (FactsOf(object) != nullptr && (type == "type" || type.ends_with("Meta"))) {
    const objects::TypeFacts* self = reader_.Type(object);
    if (self != nullptr) return self->name;
  }
  return {};
}

std::string Labels::NamesOf(const std::vector<Address>& objects, const std::string& type) const {
  constexpr std::size_t kLookedAt = 1000, kShown = 3;  // enough to tell "all the same" from "many"
  std::vector<std::string> names;
  for (std::size_t i = 0; i < objects.size() && i < kLookedAt && names.size() <= kShown; ++i) {
    std::string name = NameOf(objects[i], type);
    if (name.empty()) return {};
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
  }
  std::string out;
  for (std::size_t i = 0; i < names.size(); ++i) out += fmt::format("{}{}", i == 0 ? "" : ", ", i == kShown ? "…" : names[i]);
  return out;
}

std::string Labels::CodeNameOfAll(const std::vector<Address>& objects, const std::string& type) const {
  constexpr std::size_t kLookedAt = 1000;
  std::string name;
  for (std::size_t i = 0; i < std::min(objects.size(), kLookedAt); ++i) {
    std::string next = objects::CodeNameOf(reader_, objects[i], type);
    if (next.empty() || (i > 0 && next != name)) return {};
    name = std::move(next);
  }
  return name;
}

// HEURISTIC: a name that the interpreter interned is one that the source spells: names and name-like constants are, what a program reads is not unless it asks for
// it. One character does not count: those are shared, whoever made them. A wrong yes: a fingerprint that another run does not have; a wrong no: two leaks with one.
std::string Labels::ProgramKey(Address key) const {
  const objects::Offsets offsets(layout());
  if (!objects::Values(reader_.process().memory, offsets, reader_.runtime().lookdict).IsInterned(key)) return {};
  const std::string text = reader_.Text(key, kMaxKey + 1).value_or("");
  const auto of_name = [](char c) { return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const bool is_name = text.size() > 1 && text.size() <= kMaxKey && !(text[0] >= '0' && text[0] <= '9') && std::all_of(text.begin(), text.end(), of_name);
  return is_name ? text : "";
}

std::string Labels::FreeVariable(Address function, std::uint64_t index) const {
  const Address code = PointerIn(function, Field::PyFunctionObject_func_code);
  if (code == 0) return {};
  const auto item = [&](Address tuple, std::uint64_t i) -> std::string {
    const Address count_at = tuple + layout().Offset(Field::PyVarObject_ob_size);
    const std::uint64_t count = reader_.process().memory.ReadValue<std::uint64_t>(count_at).value_or(0);
    if (tuple == 0 || i >= count) return {};
    const Address text = reader_.process().memory.ReadPointer(tuple + layout().Offset(Field::PyTupleObject_ob_item) + i * 8).value_or(0);
    return text == 0 ? "" : reader_.Text(text, kMaxName).value_or("");
  };
  if (layout().Has(Field::PyCodeObject_co_freevars)) return item(PointerIn(code, Field::PyCodeObject_co_freevars), index);
  // 3.11+: names of locals, cells and free variables in one tuple, the free ones last. CPython: _PyCode_New(), Objects/codeobject.c [3.11+].
  const auto number = [&](cpython::Field f) -> std::uint64_t {
    if (!layout().Has(f)) return 0;
    return reader_.process().memory.ReadValue<std::uint32_t>(code + layout().Offset(f)).value_or(0);
  };
  const std::uint64_t all = number(Field::PyCodeObject_co_nlocalsplus), free = number(Field::PyCodeObject_co_nfreevars);
  if (free > all || index >= free) return {};
  return item(PointerIn(code, Field::PyCodeObject_co_localsplusnames), all - free + index);
}

// What Python code writes behind the object to get what the reference leads to; empty where nothing does it, or a __getitem__ of the class may do something else.
std::string Labels::SubscriptOf(Address object, const objects::TypeFacts& type, const LabelledReferent& r) const {
  if (r.kind == SlotKind::kAttribute || r.kind == SlotKind::kDictValue) {
    if (r.kind == SlotKind::kDictValue && reader_.ClassDefines(type, "__getitem__")) return {};
    const std::optional<std::string> key = r.key == 0 ? std::nullopt : reader_.LiteralOf(r.key);
    return key ? "[" + *key + "]" : "";
  }
  if (r.kind != SlotKind::kItem || reader_.ClassDefines(type, "__getitem__")) return {};
  if (!r.text.empty()) return r.text;
  const objects::ReaderKind reader = type.reader == objects::ReaderKind::kInstance ? type.base_reader : type.reader;
  const bool is_tuple = reader_.IsTuple(type) || type.body == objects::BodyKind::kStructSequence;
  if (!is_tuple && reader != objects::ReaderKind::kList && reader != objects::ReaderKind::kDeque) return {};
  // A struct sequence has items behind those that its length counts.
  if (is_tuple && r.index >= reader_.process().memory.ReadValue<std::uint64_t>(object + layout().Offset(Field::PyVarObject_ob_size)).value_or(0)) return {};
  return fmt::format("[{}]", r.index);
}

report::CycleStep Labels::Step(Address from, Address to) const {
  report::CycleStep step;
  step.address = from;
  step.type = TypeName(from);
  step.name = NameOf(from, step.type);
  step.code_name = objects::CodeNameOf(reader_, from, step.type);
  const objects::TypeFacts* facts = FactsOf(from);
  if (facts == nullptr) return step;
  step.is_class = facts->body == objects::BodyKind::kTypeObject || step.type == "classobj";
  std::vector<LabelledReferent> referents;
  // All places in a list or tuple say the same: one is enough, and there may be millions.
  const bool is_sequence = facts->reader == objects::ReaderKind::kList || facts->reader == objects::ReaderKind::kTuple;
  reader_.LabelledReferents(from, *facts, referents, {to, {}, is_sequence ? 1 : ~std::size_t{0}});
  if (referents.empty()) ownership_.LabelledNotVisited(from, *facts, true, referents, {to, {}, 1});
  const LabelledReferent* best = nullptr;
  for (const LabelledReferent& r : referents) {
    if (r.referent == to && (best == nullptr || Preference(r.kind) < Preference(best->kind))) best = &r;
  }
  if (best == nullptr) return step;
  step.kind = KindOf(*best);
  step.label = reader_.LabelText(*best);
  step.subscript = SubscriptOf(from, *facts, *best);
  step.in_c = best->kind == SlotKind::kCField;
  if (best->key != 0 && (best->kind == SlotKind::kDictValue || best->kind == SlotKind::kDictKey)) step.program_key = ProgramKey(best->key);
  switch (best->kind) {
    case SlotKind::kDictKey:  // no key that leads to it
      if (report::CodePoints(reader_.Text(best->key, kMaxKey + 1).value_or("")) > kMaxKey) step.label = fmt::format("key '{}…'", reader_.Text(best->key, kMaxKey).value_or(""));
      break;
    case SlotKind::kAttribute:
    case SlotKind::kDictValue:
    case SlotKind::kLocal:
      if (best->key != 0) step.key = reader_.Text(best->key, kMaxKey + 1).value_or("");
      if (report::CodePoints(step.key) > kMaxKey) {
        step.key = reader_.Text(best->key, kMaxKey).value_or("") + "…";
        if (best->kind == SlotKind::kDictValue) step.label = fmt::format("['{}']", step.key);
      }
      break;
    case SlotKind::kSlot:
      step.key = !best->text.empty() ? best->text : best->name != nullptr ? best->name : "";
      break;
    case SlotKind::kItem:
      step.key = best->text.empty() ? std::to_string(best->index) : best->text;
      break;
    default:
      break;
  }
  if (step.key.empty() && step.kind == report::EdgeKind::kLocal && step.label.starts_with("local ")) step.key = step.label.substr(6);
  return step;
}

// function -> tuple -> cell: the cell's variable says more than its place. `closed`: the last step refers to the first.
void Labels::NameClosures(report::Cycle& steps, bool closed) const {
  for (std::size_t i = 0; i + (closed ? 0 : 1) < steps.size(); ++i) {
    report::CycleStep& step = steps[i];
    const report::CycleStep& tuple = steps[(i + 1) % steps.size()];
    if (!IsFunctionType(step.type) || step.label != ".__closure__" || tuple.type != "tuple" || tuple.kind != report::EdgeKind::kItem || &tuple == &step) continue;
    const std::string variable = FreeVariable(step.address, std::strtoull(tuple.key.c_str(), nullptr, 10));
    if (variable.empty()) continue;
    if (closed) step.label = "closure " + variable;
    step.key = variable;
    step.kind = report::EdgeKind::kClosure;
  }
}

// Keys of a module's dict are names of the program.
bool IsModuleNamespace(const objects::ObjectReader& reader, Address dict) {
  const objects::Offsets offsets(reader.runtime().layout);
  const objects::Values values(reader.process().memory, offsets, reader.runtime().lookdict);
  return values.DictGet(dict, "__name__") != 0 && values.DictGet(dict, "__doc__") != 0 && values.DictGet(dict, "__package__") != 0;
}

void Labels::HideKeys(report::Cycle& steps) const {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const report::CycleStep& before = steps[(i + steps.size() - 1) % steps.size()];
    if (steps[i].kind == report::EdgeKind::kAttribute && steps[i].label.starts_with(".") && ProgramText(steps[i].label) != steps[i].label) {
      steps[i].label = ".…";
      steps[i].key.clear();
      steps[i].subscript.clear();
      continue;
    }
    if (steps[i].kind != report::EdgeKind::kKey || (before.label == ".__dict__" && ProgramText("." + steps[i].key) == "." + steps[i].key) || IsModuleNamespace(reader_, steps[i].address)) continue;
    steps[i].label = steps[i].label.starts_with("key ") ? "key …" : "['…']";
    steps[i].key.clear();
    steps[i].subscript.clear();
  }
}

report::Cycle Labels::PathOf(const std::vector<Address>& objects, std::size_t max_steps) const {
  report::Cycle path;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    if (objects.size() > max_steps && i == max_steps / 2) {
      const std::size_t left_out = objects.size() - max_steps;
      path.emplace_back().elided = left_out;
      i += left_out - 1;
      continue;
    }
    if (i + 1 < objects.size()) {
      path.push_back(Step(objects[i], objects[i + 1]));
    } else {
      report::CycleStep& last = path.emplace_back();
      last.address = objects[i];
      last.type = TypeName(objects[i]);
      last.name = NameOf(objects[i], last.type);
    }
  }
  NameClosures(path, false);
  if (redact_) HideKeys(path);
  return path;
}

report::Cycle Labels::CycleOf(const std::vector<Address>& nodes, const std::string& type) const {
  report::Cycle cycle;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (nodes.size() > kMaxSteps && i == kMaxSteps / 2) {  // a ring of a million is understood from its ends
      const std::size_t left_out = nodes.size() - kMaxSteps;
      cycle.emplace_back().elided = left_out;
      i += left_out - 1;
      continue;
    }
    cycle.push_back(Step(nodes[i], nodes[(i + 1) % nodes.size()]));
  }
  NameClosures(cycle, true);
  if (redact_) HideKeys(cycle);
  return report::StartWithBestKnown(std::move(cycle), type);
}

}  // namespace pygc::engine
