#include "core/audit/instance_plans.h"

#include <algorithm>

namespace pygc::audit {

namespace {

using objects::BodyKind;
using objects::ReaderKind;
using objects::SizeRule;
using objects::TypeFacts;

ReaderKind TraverseOf(const TypeFacts& f) {
  if (f.reader != ReaderKind::kInstance) return f.traverse_reader;
  return f.traverse_base != nullptr ? f.traverse_base->traverse_reader : ReaderKind::kNone;
}

bool MayPointToNative(const TypeFacts& f) {
  switch (f.body) {
    case BodyKind::kModule:
    case BodyKind::kTypeObject:
    case BodyKind::kCode:
    case BodyKind::kDescriptor:
    case BodyKind::kByteArray: return true;
    case BodyKind::kClosed: return TraverseOf(f) == ReaderKind::kFields || TraverseOf(f) == ReaderKind::kNone;
    default: return false;
  }
}

// The words of an instance of fixed size that no traversal shows as references.
std::vector<std::uint32_t> OtherWords(const TypeFacts& f, std::uint32_t object_size) {
  std::vector<std::uint32_t> visited(f.slot_offsets);
  if (f.visits_dict && f.dictoffset > 0) visited.push_back(static_cast<std::uint32_t>(f.dictoffset));
  const TypeFacts* const base = f.reader == ReaderKind::kInstance ? f.traverse_base : &f;
  if (base != nullptr) {
    for (const objects::VisitedField& field : base->fields) visited.push_back(field.offset);
  }
  std::vector<std::uint32_t> words;
  for (std::uint32_t at = object_size; at + 8 <= f.fixed_bytes; at += 8) {
    if (std::find(visited.begin(), visited.end(), at) == visited.end()) words.push_back(at);
  }
  return words;
}

}  // namespace

std::vector<InstancePlan> PlanInstances(const AuditInput& in) {
  const objects::Offsets offsets(in.reader.runtime().layout);
  std::vector<InstancePlan> plans(in.heap.types.size());
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const TypeFacts* const f = in.heap.types[i].address != 0 ? in.reader.Type(in.heap.types[i].address) : nullptr;
    InstancePlan& plan = plans[i];
    plan.type = f;
    if (f == nullptr) continue;
    plan.is_leaf = !f->have_gc && !f->body_grows && (f->body == BodyKind::kClosed || f->body == BodyKind::kText);
    plan.may_point_to_native = MayPointToNative(*f);
    plan.is_int = f->size_rule == SizeRule::kInt;
    plan.head_bytes = (f->have_gc ? offsets.gc_head_bytes : 0) + (f->has_preheader ? offsets.preheader_bytes : 0);
    const objects::Ownership::OfAll all = in.ownership.OfInstances(*f);
    if (!all.closed || all.owns_more || all.borrows) continue;
    plan.owns_type = all.owns_type;
    plan.kind = f->body == BodyKind::kDict ? InstancePlan::Kind::kDict : all.buffers ? InstancePlan::Kind::kBuffers : InstancePlan::Kind::kBody;
    if (!plan.may_point_to_native || plan.is_int) continue;
    plan.all_words = f->itemsize != 0;
    if (!plan.all_words) plan.words = OtherWords(*f, offsets.object_size);
  }
  return plans;
}

}  // namespace pygc::audit
