#include "core/audit/left_threads.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <vector>

#include "core/audit/left_out_memory.h"
#include "core/audit/static_data.h"
#include "core/base/byte_reader.h"

namespace pygc::audit {

namespace {

using cpython::Field;
using cpython::Struct;
using objects::TypeFacts;

constexpr std::uint64_t kStackPage = 4096;
constexpr std::uint64_t kLeastStackChunk = 16 * 1024, kMostStackChunk = std::uint64_t{1} << 30;  // DATA_STACK_CHUNK_SIZE, Python/pystate.c
constexpr std::size_t kMaxChain = 1u << 20;  // frames or chunks of a thread
constexpr std::size_t kMaxGreenletBases = 64;
constexpr Address kStackRefTags = 7;

class LeftThreads {
 public:
  LeftThreads(const AuditInput& in, const heap::ReferenceAudit& counts) : in_(in), counts_(counts), runtime_(in.reader.runtime()), layout_(runtime_.layout), memory_(in.reader.process().memory) {}

  [[nodiscard]] std::uint64_t Count() const {
    const std::vector<target::Thread>& threads = in_.reader.process().threads;
    if (threads.empty() || std::any_of(threads.begin(), threads.end(), [](const target::Thread& t) { return t.fs_base() == 0; })) return 0;
    const std::uint64_t without = States(), remains = Frames() + Chunks(), greenlets = Greenlets();
    return without + (remains > greenlets ? remains - greenlets : 0);
  }

 private:
  [[nodiscard]] Address PointerAt(Address base, Field field) const { return memory_.ReadPointer(base + layout_.Offset(field)).value_or(0); }
  template <typename F>
  void ForEachState(F&& f) const {
    for (const cpython::Interpreter& i : runtime_.interpreters) {
      for (const cpython::PyThread& t : i.threads) f(t);
    }
  }
  [[nodiscard]] bool Runs(const cpython::PyThread& t) const {
    const std::vector<target::Thread>& threads = in_.reader.process().threads;
    return std::any_of(threads.begin(), threads.end(), [&](const target::Thread& thread) { return thread.fs_base() == t.thread_id; });
  }
  [[nodiscard]] std::uint64_t States() const {
    // 2.7 frees none of them, and a new thread on the stack of one that is no more gets its id.
    const bool stay = !HasFrameStates() && !layout_.Has(Field::PyThreadState_datastack_chunk);
    std::uint64_t count = 0;
    for (const cpython::Interpreter& i : runtime_.interpreters) {
      std::set<std::uint64_t> ids;
      for (const cpython::PyThread& t : i.threads) count += t.thread_id != 0 && (!Runs(t) || (!ids.insert(t.thread_id).second && stay));
    }
    return count;
  }
  [[nodiscard]] bool HasFrameStates() const { return layout_.Has(Field::PyFrameObject_f_executing) || layout_.Has(Field::PyFrameObject_f_state); }
  [[nodiscard]] std::uint64_t Frames() const {
    if (!HasFrameStates() || !layout_.Has(Field::PyThreadState_frame) || !layout_.Has(Field::PyFrameObject_f_back)) return 0;
    std::set<Address> of_threads;
    ForEachState([&](const cpython::PyThread& t) {
      std::size_t depth = 0;
      for (Address f = PointerAt(t.tstate, Field::PyThreadState_frame); f != 0 && depth < kMaxChain; f = PointerAt(f, Field::PyFrameObject_f_back), ++depth) of_threads.insert(f);
    });
    std::uint64_t count = 0;
    const auto look = [&](Address a, const TypeFacts* type) {
      if (type != nullptr && type->body == objects::BodyKind::kFrame && PointerAt(a, Field::PyFrameObject_f_back) == 0) count += in_.ownership.IsExecuting(a, *type) && !of_threads.contains(a);
    };
    std::vector<bool> are_frames;
    for (const heap::TypeRecord& t : in_.heap.types) {
      const TypeFacts* const facts = t.address != 0 ? in_.reader.Type(t.address) : nullptr;
      are_frames.push_back(facts != nullptr && facts->body == objects::BodyKind::kFrame);
    }
    in_.heap.index.ForEach(0, in_.heap.size(), [&](heap::NodeId n, Address a) {
      if (are_frames[in_.heap.type[n]]) look(a, in_.reader.Type(in_.heap.types[in_.heap.type[n]].address));
    });
    for (const heap::UnreachedObject& u : counts_.unreached) look(u.object, in_.reader.Type(u.type));
    return count;
  }
  // The first chunk of a thread: {previous, size, top, data}, the first frame one word behind the beginning of `data`. CPython: push_chunk(), Python/pystate.c.
  [[nodiscard]] std::uint64_t Chunks() const {
    if (!layout_.Has(Field::PyThreadState_datastack_chunk) || !layout_.Has(Field::PyStackChunk_data) || !layout_.Has(Field::PyInterpreterFrame_f_executable)) return 0;
    std::set<Address> of_threads;
    ForEachState([&](const cpython::PyThread& t) {
      std::size_t depth = 0;
      for (Address c = PointerAt(t.tstate, Field::PyThreadState_datastack_chunk); c != 0 && depth < kMaxChain; c = PointerAt(c, Field::PyStackChunk_previous), ++depth) of_threads.insert(c);
    });
    std::uint64_t count = 0;
    for (const target::Segment& s : memory_.segments()) {
      if (!s.writable || s.bytes == nullptr || ModuleOfData(in_.reader.process(), s.range.begin) != nullptr) continue;
      for (Address at = (s.range.begin + kStackPage - 1) & ~(kStackPage - 1); at + kLeastStackChunk <= s.range.end; at += kStackPage) count += IsFirstChunk(at, s.range.end) && !of_threads.contains(at);
    }
    return count;
  }
  [[nodiscard]] bool IsFirstChunk(Address at, Address end) const {
    if (PointerAt(at, Field::PyStackChunk_previous) != 0) return false;
    const std::uint64_t size = PointerAt(at, Field::PyStackChunk_size), top = PointerAt(at, Field::PyStackChunk_top);
    if (size < kLeastStackChunk || size > kMostStackChunk || size % kStackPage != 0 || size > end - at || top > size / 8) return false;
    const Address frame = at + layout_.Offset(Field::PyStackChunk_data) + 8;
    const Address code = PointerAt(frame, Field::PyInterpreterFrame_f_executable) & ~kStackRefTags;
    const TypeFacts* const type = code != 0 ? in_.reader.Type(memory_.ReadPointer(code + layout_.Offset(Field::PyObject_ob_type)).value_or(0)) : nullptr;
    return type != nullptr && type->body == objects::BodyKind::kCode;
  }
  [[nodiscard]] std::uint64_t Greenlets() const {
    std::vector<bool> are_greenlets;
    bool any = false;
    for (const heap::TypeRecord& t : in_.heap.types) {
      const TypeFacts* facts = t.address != 0 ? in_.reader.Type(t.address) : nullptr;
      bool is = false;
      for (std::size_t depth = 0; facts != nullptr && !is && depth < kMaxGreenletBases; ++depth) {
        is = facts->name.starts_with("greenlet.") || facts->name.find(".greenlet.") != std::string_view::npos;
        facts = facts->tp_base != 0 ? in_.reader.Type(facts->tp_base) : nullptr;
      }
      are_greenlets.push_back(is);
      any = any || is;
    }
    if (!any) return 0;
    std::uint64_t count = 0;
    for (heap::NodeId n = 0; n < in_.heap.size(); ++n) count += are_greenlets[in_.heap.type[n]];
    return count;
  }

  const AuditInput& in_;
  const heap::ReferenceAudit& counts_;
  const cpython::Runtime& runtime_;
  const cpython::Layout& layout_;
  const target::MemoryImage& memory_;
};

}  // namespace

std::uint64_t ThreadsLeftByFork(const AuditInput& input, const heap::ReferenceAudit& counts) { return LeftThreads(input, counts).Count(); }

std::vector<AddressRange> FindAbsentFrames(const target::Process& process, const cpython::Runtime& runtime) {
  std::vector<AddressRange> absent;
  const cpython::Layout& layout = runtime.layout;
  if (!layout.Has(Field::PyThreadState_datastack_chunk) || !layout.Has(Field::PyThreadState_datastack_limit) || !layout.Has(Field::PyStackChunk_previous)) return absent;
  const target::MemoryImage& memory = process.memory;
  const auto pointer = [&](Address base, Field field) { return memory.ReadPointer(base + layout.Offset(field)).value_or(0); };
  for (const cpython::Interpreter& i : runtime.interpreters) {
    for (const cpython::PyThread& t : i.threads) {
      const Address end = pointer(t.tstate, Field::PyThreadState_datastack_limit);  // of the newest chunk; of an older one `size` says it, if that is there
      std::size_t depth = 0;
      std::set<Address> seen;
      for (Address c = pointer(t.tstate, Field::PyThreadState_datastack_chunk); c != 0 && c % kStackPage == 0 && depth < kMaxChain && seen.insert(c).second; ++depth) {
        const std::uint64_t size = depth == 0 ? end - c : pointer(c, Field::PyStackChunk_size);
        const bool plausible = size >= kLeastStackChunk && size <= kMostStackChunk && size % kStackPage == 0;
        if (const std::uint64_t bytes = plausible ? size : kLeastStackChunk; c + bytes > c) AppendUntold(process, {c, c + bytes}, absent);
        c = pointer(c, Field::PyStackChunk_previous);
      }
    }
  }
  return absent;
}

}  // namespace pygc::audit
