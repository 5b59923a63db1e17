#include "core/snapshot/type_columns.h"

#include <algorithm>
#include <utility>

#include "core/objects/traverse_interpreter.h"

namespace pygc::snapshot {
namespace {

using objects::FinalizerKind;
using objects::TypeFacts;

heap::TypeRecord::Finalizer FinalizerOf(FinalizerKind kind) {
  switch (kind) {
    case FinalizerKind::kDel:
      return heap::TypeRecord::Finalizer::kDel;
    case FinalizerKind::kTpFinalize:
      return heap::TypeRecord::Finalizer::kTpFinalize;
    case FinalizerKind::kTpDel:
      return heap::TypeRecord::Finalizer::kTpDel;
    case FinalizerKind::kNone:
      break;
  }
  return heap::TypeRecord::Finalizer::kNone;
}

/// The module that a type comes from; nullptr: a class made by a class statement, or unknown.
const target::Module* ModuleOf(const TypeFacts& facts, const objects::ObjectReader& reader) {
  const target::Process& process = reader.process();
  // A class made by a class statement has the interpreter's own subtype_traverse; its module is not where that lies.
  if (facts.is_heap_type && facts.reader == objects::ReaderKind::kInstance) return nullptr;
  if (const target::Module* const own = process.FindModule(facts.address)) return own;
  if (const target::Module* const code = process.FindModule(facts.tp_traverse)) return code;
  if (!facts.is_heap_type) return nullptr;
  // CPython: PyType_FromMetaclass() and before it PyType_FromSpecWithBases(), Objects/typeobject.c: tp_methods and tp_getset are the arrays of the slots,
  // which no type inherits and type_new() leaves empty. Without a slot tp_dealloc is subtype_dealloc(), as in classes made by a class statement.
  const cpython::Layout& layout = reader.runtime().layout;
  for (const cpython::Field slot : {cpython::Field::PyTypeObject_tp_dealloc, cpython::Field::PyTypeObject_tp_methods, cpython::Field::PyTypeObject_tp_getset}) {
    if (!layout.Has(slot)) continue;
    const target::Module* const module = process.FindModule(process.memory.ReadPointer(facts.address + layout.Offset(slot)).value_or(0));
    const bool of_interpreter = module != nullptr && reader.runtime().module_index < process.modules.size() && module == &process.modules[reader.runtime().module_index];
    if (module != nullptr && !of_interpreter) return module;
  }
  return nullptr;
}

}  // namespace

heap::TypeRecord MakeTypeRecord(const TypeFacts& facts, const TypeUse& use, const objects::ObjectReader& reader) {
  heap::TypeRecord record;
  record.address = facts.address;
  record.name = facts.name;
  if (const target::Module* const module = ModuleOf(facts, reader)) record.module_file = module->path;
  record.finalizer = FinalizerOf(facts.finalizer);
  record.legacy_finalizer = facts.legacy_finalizer;
  record.may_have_legacy_finalizer = facts.object_decides_legacy_finalizer;
  std::uint64_t not_exact = 0;
  for (std::size_t q = 0; q < use.by_quality.size(); ++q) {
    if (!objects::IsExact(static_cast<objects::ReferentQuality>(q))) not_exact += use.by_quality[q];
  }
  if (not_exact > 0) {
    objects::NotExactReason why = reader.WhyNotExact(facts);
    record.approximate_code = std::move(why.code);
    record.approximate_reason = std::move(why.text);
  }
  return record;
}

void TypeColumn::Use(std::span<const TypeUse> uses) {
  if (uses.size() > use_.size()) use_.resize(uses.size());
  for (std::size_t id = 0; id < uses.size(); ++id) {
    for (std::size_t q = 0; q < uses[id].by_quality.size(); ++q) use_[id].by_quality[q] += uses[id].by_quality[q];
  }
}

std::vector<heap::TypeRecord> TypeColumn::Records(const objects::ObjectReader& reader) {
  std::vector<const TypeFacts*> used;
  for (std::size_t id = 0; id < facts_.size(); ++id) {
    const auto& counts = use_[id].by_quality;
    if (facts_[id] != nullptr && std::any_of(counts.begin(), counts.end(), [](std::uint64_t n) { return n > 0; })) used.push_back(facts_[id]);
  }
  std::sort(used.begin(), used.end(), [](const TypeFacts* a, const TypeFacts* b) { return a->address < b->address; });
  index_.assign(facts_.size(), 0);
  std::vector<heap::TypeRecord> records;
  records.reserve(used.size() + 2);
  for (const TypeFacts* facts : used) {
    index_[facts->id] = static_cast<std::uint32_t>(records.size());
    records.push_back(MakeTypeRecord(*facts, use_[facts->id], reader));
  }
  no_type_ = static_cast<std::uint32_t>(records.size());
  for (const char* name : {"<not a type>", "<unreadable>"}) {
    heap::TypeRecord& record = records.emplace_back();
    record.name = name;
    record.approximate_code = "unreadable";
    record.approximate_reason = "the object or its type could not be read";
  }
  return records;
}

void TypeColumn::Translate(std::span<std::uint32_t> column) const {
  for (std::uint32_t& type : column) {
    if (type == TypeUse::kNoType) {
      type = no_type_;
    } else if (type == TypeUse::kUnreadable) {
      type = no_type_ + 1;
    } else {
      type = index_[type];
    }
  }
}

}  // namespace pygc::snapshot
