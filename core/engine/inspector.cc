#include "core/engine/derived.h"
#include "core/engine/inspector.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/cpython/object_header.h"
#include "core/engine/place.h"
#include "core/engine/resources.h"
#include "core/engine/sites.h"
#include "core/objects/numpy_array.h"
#include "core/report/finalizer_kind.h"
#include "core/report/numbers.h"

namespace pygc::engine {
namespace {

using cpython::Field;

constexpr std::size_t kMaxTraceback = 10'000;  // entries; a chain that leads back to itself has no end

std::string GenerationName(const heap::HeapSnapshot& heap, heap::NodeId n) {
  const std::uint8_t generation = heap.Generation(n);
  if (!heap.IsTracked(n)) return "";
  if (generation < heap::kPermanent) return std::to_string(generation);
  return generation == heap::kPermanent ? "permanent" : generation == heap::kDetached ? "being collected" : "";
}

}  // namespace

Inspector::Inspector(const CommandInput& input)
    : in_(input), labels_(input.reader, input.request.redact), edges_(input.reader, input.heap, input.request.redact), repr_(input.reader), frames_(input.reader), resources_(input.reader), attributes_(input.reader) {}

const objects::TypeFacts* Inspector::FactsOf(Address object) const {
  const Result<Address> type = in_.reader.process().memory.ReadPointer(object + in_.reader.runtime().layout.Offset(Field::PyObject_ob_type));
  return type ? in_.reader.Type(*type) : nullptr;
}

bool Inspector::IsObject(Address address) const {
  if (in_.heap.index.Find(address) != heap::kNoNode) return true;
  return address % 8 == 0 && address != 0 && FactsOf(address) != nullptr;
}

std::string Inspector::NameOf(Address object, const std::string& type) const {
  if (type != "frame") return labels_.NameOf(object, type);
  const std::optional<objects::PythonFrame> frame = frames_.FromObject(object);
  if (!frame) return labels_.NameOf(object, type);
  return fmt::format("{}() at {}:{}", frames_.FunctionName(frame->code), frames_.FileName(frame->code), frame->line);
}

objects::ReprLimits Inspector::LimitsOfValue() const {
  objects::ReprLimits limits;
  limits.hide_values = in_.request.redact;
  limits.max_items = in_.request.limit == 0 ? kWholeItems : static_cast<std::size_t>(std::min<std::uint64_t>(in_.request.limit, kWholeItems));
  if (in_.request.limit == 0) {
    limits.max_text = kWholeText;
    limits.max_digits = kWholeDigits;
    limits.max_total = std::max(value_room_, kLeastValue);
    limits.max_depth = kWholeDepth;
  }
  return limits;
}

// ---- the card

report::ObjectCard Inspector::BriefCardOf(Address address) const {
  report::ObjectCard card;
  card.address = address;
  card.is_object = IsObject(address);
  if (!card.is_object) {
    card.where = DescribeAddress(in_, address);
    return card;
  }
  if (in_.heap.index.Find(address) == heap::kNoNode) {
    if (const std::string freed = DescribeFreed(in_, address); !freed.empty()) {
      card.is_object = false;
      card.where = fmt::format("{}: what is left of a freed {}", freed, labels_.TypeName(address));
      return card;
    }
  }
  card.type = labels_.TypeName(address);
  card.name = NameOf(address, card.type);
  AddCollectorFacts(card);
  return card;
}

report::ObjectCard Inspector::CardOf(Address address) const {
  report::ObjectCard card = BriefCardOf(address);
  if (!card.is_object) return card;
  const objects::TypeFacts* const facts = FactsOf(address);
  const objects::ReprText value = repr_.Of(address, LimitsOfValue());
  card.value = value.text;
  card.value_complete = value.complete;
  value_room_ -= std::min(value_room_, value.text.size());
  if (!value.complete && in_.request.limit == 0) {
    card.value_bounds = fmt::format("at most {} characters of a text, {} digits of an int, {} items and {} levels of containers, and {} of all values are written",
                                    report::Thousands(kWholeText), report::Thousands(kWholeDigits), report::Thousands(kWholeItems), kWholeDepth, report::Bytes(kWholeValues));
  }
  card.value_exact = value.exact;
  card.value_hidden = in_.request.redact;
  card.length = repr_.LengthOf(address);
  if (facts != nullptr) card.size = in_.reader.SizeOf(address, *facts);
  AddDetails(card);
  return card;
}

void Inspector::AddCollectorFacts(report::ObjectCard& card) const {
  const heap::HeapSnapshot& heap = in_.heap;
  const heap::NodeId n = heap.index.Find(card.address);
  card.in_graph = n != heap::kNoNode;
  if (!card.in_graph) {
    const cpython::ObjectHeaderReader header(in_.reader.runtime());
    const std::byte* const p = in_.reader.process().memory.At(card.address, header.size());
    const std::uint32_t count = p == nullptr ? heap::kSaturated : header.Refcount(p);
    card.immortal = count == heap::kImmortal;
    if (!card.immortal && count != heap::kSaturated) card.refcount = count;
    return;
  }
  card.immortal = heap.refcount[n] == heap::kImmortal;
  if (!card.immortal && heap.refcount[n] != heap::kSaturated) card.refcount = heap.refcount[n];
  card.tracked = heap.IsTracked(n);
  card.generation = GenerationName(heap, n);
  const analysis::State state = in_.verdict.state[n];
  card.state = in_.verdict.StateText(n);
  card.finalizer = std::string(report::FinalizerKind(heap.types[heap.type[n]], heap.flags[n]));
  if (!card.finalizer.empty() && (in_.reader.runtime().gc_head.finalized_bit != 0 || in_.reader.runtime().layout.flavor.free_threaded)) {
    const bool run = (heap.flags[n] & heap::kFinalized) != 0;
    card.finalizer_state = !run ? (state == analysis::State::kReachable ? "not run" : "pending") : in_.verdict.IsKnownInUse(n) ? "resurrected" : "has run";
  }
  card.quality = (heap.flags[n] & heap::kFault) != 0 ? "unknown" : objects::QualityName(static_cast<objects::ReferentQuality>(heap.QualityOf(n)));
}

void Inspector::AddCodeDetails(report::ObjectCard& card) const {
  const auto& memory = in_.reader.process().memory;
  const cpython::Layout& layout = in_.reader.runtime().layout;
  const auto pointer = [&](Field f) { return layout.Has(f) ? memory.ReadPointer(card.address + layout.Offset(f)).value_or(0) : 0; };
  if (card.type == "function" || card.type == "code") {
    const Address code = card.type == "code" ? card.address : pointer(Field::PyFunctionObject_func_code);
    card.details.emplace_back("file", frames_.FileName(code));
    card.details.emplace_back("line", std::to_string(frames_.FirstLine(code)));
  } else if (card.type == "frame") {
    const std::optional<objects::PythonFrame> frame = frames_.FromObject(card.address);
    if (!frame) return;
    card.details.emplace_back("function", frames_.QualifiedName(frame->code));
    card.details.emplace_back("file", frames_.FileName(frame->code));
    card.details.emplace_back("line", std::to_string(frame->line));
  }
}

void Inspector::AddGeneratorDetails(report::ObjectCard& card) const {
  if (card.type != "generator" && card.type != "coroutine" && card.type != "async_generator") return;
  const objects::GeneratorState state = frames_.StateOf(card.address);
  const char* const name = state == objects::GeneratorState::kCreated     ? "not begun"
                           : state == objects::GeneratorState::kRunning   ? "running"
                           : state == objects::GeneratorState::kSuspended ? "suspended"
                                                                          : "finished";
  const std::optional<objects::PythonFrame> frame = frames_.FromGenerator(card.address);
  if (frame && frame->code != 0) {
    card.details.emplace_back("function", frames_.QualifiedName(frame->code));
    card.details.emplace_back("file", frames_.FileName(frame->code));
    card.details.emplace_back("line", std::to_string(state == objects::GeneratorState::kCreated ? frames_.FirstLine(frame->code) : frame->line));
  }
  card.details.emplace_back("is", name);
}

// CPython: PyBaseExceptionObject.traceback [3.x]; 2.7 keeps it in the thread alone.
void Inspector::AddTraceback(report::ObjectCard& card) const {
  constexpr int kMostBases = 64;
  const cpython::Layout& layout = in_.reader.runtime().layout;
  Address first = card.type == "traceback" ? card.address : 0;
  const objects::TypeFacts* base = first != 0 || !layout.Has(Field::PyBaseExceptionObject_traceback) ? nullptr : FactsOf(card.address);
  for (int i = 0; base != nullptr && base->name != "BaseException" && i < kMostBases; ++i) base = base->tp_base == 0 ? nullptr : in_.reader.Type(base->tp_base);
  if (base != nullptr && base->name == "BaseException") {
    first = in_.reader.process().memory.ReadPointer(card.address + layout.Offset(Field::PyBaseExceptionObject_traceback)).value_or(0);
  }
  if (first == 0) return;
  const std::vector<objects::TracebackEntry> entries = frames_.TracebackOf(first, kMaxTraceback);
  card.traceback_count = entries.size();
  for (const objects::TracebackEntry& e : entries) {
    if (in_.request.limit != 0 && card.traceback.size() >= in_.request.limit) break;
    card.traceback.push_back(fmt::format("{}() at {}:{}", frames_.FunctionName(e.code), frames_.FileName(e.code), e.line < 0 ? "?" : std::to_string(e.line)));
  }
}

// True where the type or one of its bases has one of the names.
bool Inspector::IsOneOf(const objects::TypeFacts* type, std::initializer_list<std::string_view> names) const {
  constexpr int kMostBases = 64;
  for (int i = 0; type != nullptr && i < kMostBases; ++i) {
    if (std::find(names.begin(), names.end(), type->name) != names.end()) return true;
    type = type->tp_base == 0 ? nullptr : in_.reader.Type(type->tp_base);
  }
  return false;
}

// What has the descriptor below what open(), socket() and makefile() return: a text over a buffer over a _io.FileIO or a SocketIO [3.x], a socket of Python code over one in
// C [2.7]. Any other object: itself. CPython: Lib/socket.py: _socketobject, _fileobject, _closedsocket [2.7], SocketIO [3.x].
Address Inspector::DescriptorOwner(Address object) const {
  constexpr int kLayers = 4;
  Address at = object;
  for (int i = 0; i < kLayers; ++i) {
    const objects::TypeFacts* const facts = FactsOf(at);
    Address next = 0;
    if (IsOneOf(facts, {"_io.TextIOWrapper", "_io.BufferedReader", "_io.BufferedWriter", "_io.BufferedRandom"})) {
      objects::ReferentBuffer below;
      in_.reader.Referents(at, *facts, below);
      const auto found = std::find_if(below.begin(), below.end(), [&](Address r) {
        return IsOneOf(FactsOf(r), {"_io.TextIOWrapper", "_io.BufferedReader", "_io.BufferedWriter", "_io.BufferedRandom", "_io.FileIO", "socket.SocketIO"});
      });
      if (found != below.end()) next = *found;
    } else if (IsOneOf(facts, {"socket._socketobject", "socket._fileobject", "socket.SocketIO"})) {
      next = attributes_.Attribute(at, "_sock");
    }
    if (next == 0) break;
    at = next;
  }
  return at;
}

// CPython: TimerHandle, Lib/asyncio/events.py.
void Inspector::AddTimerDetails(report::ObjectCard& card) const {
  if (!IsOneOf(FactsOf(card.address), {"asyncio.events.TimerHandle"})) return;
  const objects::AsyncTimer timer = attributes_.ReadTimer(card.address);
  if (timer.due) card.details.emplace_back("due", fmt::format("{:.6f} by the loop's clock", *timer.due));
  card.details.emplace_back("is", timer.cancelled ? "cancelled" : timer.scheduled ? "scheduled" : "not scheduled");
}

void Inspector::AddArrayDetails(report::ObjectCard& card) const {
  const objects::TypeFacts* const facts = FactsOf(card.address);
  if (facts == nullptr || facts->size_rule != objects::SizeRule::kNumpyArray) return;
  const std::optional<objects::NumpyArray> array =
      objects::ReadNumpyArray(in_.reader.process().memory, in_.reader.runtime().layout.Size(cpython::Struct::PyObject), card.address);
  if (!array) return;
  card.details.emplace_back("shape", array->ShapeText());
  card.details.emplace_back("dtype", repr_.DtypeOf(array->descr, LimitsOfValue()).text);
  const bool view = !array->owns_data && array->base != 0;
  card.details.emplace_back("data", fmt::format("{} at {:#x}, {}", report::Bytes(array->bytes()), array->data,
                                                array->owns_data ? "its own" : view ? fmt::format("of {:#x}, its base", array->base) : "not its own"));
}

void Inspector::AddDetails(report::ObjectCard& card) const {
  AddCodeDetails(card);
  AddArrayDetails(card);
  AddGeneratorDetails(card);
  AddTraceback(card);
  AddTimerDetails(card);
  const Address owner = DescriptorOwner(card.address);
  if (owner != card.address && IsOneOf(FactsOf(owner), {"socket._closedsocket", "NoneType"})) card.details.emplace_back("socket", "closed");
  if (const std::optional<report::ResourceRow> owned = ResourceAt(in_, resources_, owner)) {
    const bool is_lock = owned->kind == "lock" || owned->kind == "rlock";
    card.details.emplace_back(is_lock ? "lock" : owned->kind, is_lock ? report::ResourceText(*owned) : owned->fd < 0 ? "closed" : "open");
    if (!is_lock && owned->fd >= 0) card.details.emplace_back("fd", std::to_string(owned->fd));
    if (!owned->family.empty()) card.details.emplace_back("family", owned->family);
  }
  const objects::AllocationSites* const sites = SitesIfOn(in_);
  if (sites == nullptr) return;
  for (const objects::SiteFrame& frame : sites->FramesOf(sites->TracebackOf(card.address), in_.reader)) card.allocated.push_back(fmt::format("{}:{}", frame.file, frame.line));
}

// ---- references

report::ReferenceRow Inspector::RowOf(Address other, std::string label) const {
  report::ReferenceRow row;
  row.address = other;
  row.type = labels_.TypeName(other);
  row.name = NameOf(other, row.type);
  row.label = std::move(label);
  const objects::TypeFacts* const facts = FactsOf(other);
  if (facts != nullptr) row.size = in_.reader.SizeOf(other, *facts);
  if (in_.request.show_values && !in_.request.redact) row.value = repr_.Of(other).text;
  return row;
}

std::vector<report::ReferenceRow> Inspector::Referents(Address object, std::uint64_t max, std::uint64_t* count) const {
  std::vector<report::ReferenceRow> rows;
  *count = 0;
  const objects::TypeFacts* const facts = FactsOf(object);
  if (facts == nullptr) return rows;
  std::vector<objects::LabelledReferent> labelled;
  if (facts->have_gc && in_.reader.IsGc(object, *facts)) {
    objects::ReferentBuffer all;
    in_.reader.Referents(object, *facts, all);
    *count = all.size();
    in_.reader.LabelledReferents(object, *facts, labelled, {0, {}, static_cast<std::size_t>(std::min<std::uint64_t>(max, *count))});
    for (const objects::LabelledReferent& r : labelled) rows.push_back(RowOf(r.referent, edges_.TextOf(r)));
  }
  if (const heap::NodeId node = in_.heap.index.Find(object); node != heap::kNoNode) {
    labelled.clear();
    edges_.OwnedBeside(node, labelled);
    *count += labelled.size();
    for (std::size_t i = 0; i < labelled.size() && rows.size() < max; ++i) {
      rows.push_back(RowOf(labelled[i].referent, edges_.TextOf(labelled[i])));
      rows.back().visited = false;
    }
  }
  return rows;
}

void Inspector::AppendReferrer(Address object, heap::NodeId referrer, std::uint32_t references, std::uint64_t max, std::vector<report::ReferenceRow>& rows) const {
  const Address from = in_.heap.AddressOf(referrer);
  const objects::TypeFacts* const facts = FactsOf(from);
  std::vector<objects::LabelledReferent> labelled;
  if (facts != nullptr) in_.reader.LabelledReferents(from, *facts, labelled, {object, {}, references});
  const std::size_t visited = labelled.size();
  if (visited < references) edges_.OwnedBeside(referrer, labelled, {object, {}, references - visited});
  for (std::uint32_t i = 0; i < references && rows.size() < max; ++i) {
    rows.push_back(RowOf(from, i < labelled.size() ? edges_.TextOf(labelled[i]) : ""));
    rows.back().visited = i < visited;
  }
}

bool Inspector::IsTypeObject(Address object) const {
  const objects::TypeFacts* const facts = FactsOf(object);
  return facts != nullptr && facts->is_type_object;
}

bool Inspector::IsStaticType(Address object) const {
  const objects::TypeFacts* const type = IsTypeObject(object) ? in_.reader.Type(object) : nullptr;
  return type != nullptr && !type->is_heap_type;
}

void Inspector::AppendRoots(Address object, bool of_static_type, std::uint64_t max, std::uint64_t* count, std::vector<report::ReferenceRow>& rows) const {
  if (in_.roots == nullptr) return;
  for (const heap::Root& root : in_.roots->roots) {
    // Modules are held by sys.modules, and their dicts by them; so are the fields of a static type by the type: those are edges of the graph already.
    if (root.object != object || root.kind == heap::RootKind::kModule || (of_static_type && root.kind == heap::RootKind::kStatic)) continue;
    ++*count;
    if (rows.size() >= max) continue;
    report::ReferenceRow& row = rows.emplace_back();
    row.kind = heap::RootKindName(root.kind);
    row.label = root.name;
    row.name = in_.roots->places[root.place];
  }
}

std::vector<report::ReferenceRow> Inspector::Referrers(Address object, std::uint64_t max, std::uint64_t* count) const {
  std::vector<report::ReferenceRow> rows;
  *count = 0;
  const heap::NodeId node = in_.heap.index.Find(object);
  bool of_static_type = false;
  if (node != heap::kNoNode) {
    std::vector<std::optional<bool>> is_class(in_.heap.types.size());  // by type: its objects are types; millions may refer to an object
    ReferrerList(in_, node).ForEach([&](heap::NodeId from, std::uint32_t references) {
      *count += references;
      if (rows.size() < max) AppendReferrer(object, from, references, max, rows);
      if (of_static_type) return;
      std::optional<bool>& known = is_class[in_.heap.type[from]];
      if (!known) known = IsTypeObject(in_.heap.AddressOf(from));
      of_static_type = *known && IsStaticType(in_.heap.AddressOf(from));
    });
  }
  AppendRoots(object, of_static_type, max, count, rows);
  return rows;
}

}  // namespace pygc::engine
