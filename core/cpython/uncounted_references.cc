#include "core/cpython/uncounted_references.h"

#include <algorithm>
#include <unordered_set>

#include "core/cpython/target_objects.h"

namespace pygc::cpython {
namespace {

constexpr std::uint64_t kWord = sizeof(std::uint64_t);

class Reader {
 public:
  Reader(const target::Process& process, const Runtime& runtime, const Limits& limits)
      : memory_(process.memory), runtime_(runtime), layout_(runtime.layout), limits_(limits), objects_(process.memory, runtime.layout) {
    std::uint64_t bytes = 0;
    for (const target::Segment& s : memory_.segments()) bytes += s.range.size();
    budget_ = bytes / kWord;  // every entry is a word of the target's memory
  }

  UncountedReferences Run() {
    for (const Interpreter& interpreter : runtime_.interpreters) {
      if (layout_.Has(Field::PyInterpreterState_mem_free_queue_head)) {
        ReadDelayed(interpreter.address + layout_.Offset(Field::PyInterpreterState_mem_free_queue_head));
      }
      for (const PyThread& thread : interpreter.threads) ReadThread(interpreter, thread);
    }
    if (budget_ == 0) Note("more queued references than the memory has words: the queues share their memory, and were not read to their end");
    Merge();
    return std::move(out_);
  }

 private:
  void Note(std::string text) { out_.notes.push_back(std::move(text)); }
  void Add(Address object, std::int64_t by) {
    if (object != 0) out_.changes.push_back({object, by});
  }
  bool Spend() {
    if (budget_ == 0) return false;
    --budget_;
    return true;
  }

  void ReadThread(const Interpreter& interpreter, const PyThread& thread) {
    for (const Field f : {Field::PyThreadStateImpl_brc_objects_to_merge, Field::PyThreadStateImpl_brc_local_objects_to_merge}) {
      if (layout_.Has(f)) ReadStack(objects_.Get(thread.tstate, f).value_or(0));
    }
    if (layout_.Has(Field::PyThreadStateImpl_mem_free_queue)) ReadDelayed(thread.tstate + layout_.Offset(Field::PyThreadStateImpl_mem_free_queue));
    ReadThreadCounts(interpreter, thread);
    if (!layout_.Has(Constant::STACKREF_TAGGED)) return;
    ReadCStack(thread);
    ReadFrames(thread);
  }

  // _PyObjectStack: chunks of at most 254 objects, newest first.
  void ReadStack(Address chunk) {
    const std::uint64_t room = layout_.Width(Field::PyObjectStackChunk_objs) / kWord;
    std::unordered_set<Address> seen;
    while (chunk != 0) {
      const auto n = objects_.Get(chunk, Field::PyObjectStackChunk_n), previous = objects_.Get(chunk, Field::PyObjectStackChunk_prev);
      if (!n || !previous || *n > room || !seen.insert(chunk).second) {
        Note(fmt::format("a queue of objects to merge is damaged at {:#x}: some counts are one too high", chunk));
        return;
      }
      const Address objects = chunk + layout_.Offset(Field::PyObjectStackChunk_objs);
      out_.queues.push_back({chunk, objects + room * kWord});
      for (std::uint64_t i = 0; i < *n && Spend(); ++i) {
        Add(memory_.ReadPointer(objects + i * kWord).value_or(0), -1);
      }
      chunk = *previous;
    }
  }

  // From 3.14 on entries with the low bit are references to give back; all others are memory to free. CPython: free_work_item(), Objects/obmalloc.c.
  void ReadDelayed(Address head) {
    if (!layout_.Has(Struct::mem_work_chunk)) return;
    const bool holds_one = layout_.Value(Constant::RULE_DELAYED_FREE_HOLDS_ONE) != 0;
    const std::uint64_t room = layout_.Width(Field::mem_work_chunk_array) / (2 * kWord);
    std::unordered_set<Address> seen;
    auto node = memory_.ReadPointer(head);
    if (node && *node == 0) return;  // not set up yet
    while (node && *node != head) {
      const Address chunk = *node - layout_.Offset(Field::mem_work_chunk_node);
      const auto from = objects_.Get(chunk, Field::mem_work_chunk_rd_idx), to = objects_.Get(chunk, Field::mem_work_chunk_wr_idx);
      if (!from || !to || *from > *to || *to > room || !seen.insert(chunk).second) {
        if (holds_one) Note(fmt::format("the queue of delayed decrements at {:#x} is damaged at {:#x}: some counts are one too high", head, chunk));
        return;
      }
      const Address items = chunk + layout_.Offset(Field::mem_work_chunk_array);
      out_.queues.push_back({chunk, items + room * 2 * kWord});
      for (std::uint64_t i = *from; i < *to && Spend(); ++i) {
        const auto word = memory_.ReadPointer(items + i * 2 * kWord);
        if (!word) continue;
        if (holds_one && (*word & 1)) {
          Add(*word - 1, -1);
        } else {
          out_.freed.push_back(*word & ~std::uint64_t{1});
        }
      }
      node = memory_.ReadPointer(*node);
    }
  }

  // Types, code objects and some dicts have a number, under which each thread counts for itself. CPython: Python/uniqueid.c [3.14t+].
  void ReadThreadCounts(const Interpreter& interpreter, const PyThread& thread) {
    if (!layout_.Has(Field::PyThreadStateImpl_refcounts_values)) return;
    const auto values = objects_.Get(thread.tstate, Field::PyThreadStateImpl_refcounts_values);
    const auto size = objects_.Get(thread.tstate, Field::PyThreadStateImpl_refcounts_size);
    const auto table = objects_.Get(interpreter.address, Field::PyInterpreterState_unique_ids_table);
    const auto ids = objects_.Get(interpreter.address, Field::PyInterpreterState_unique_ids_size);
    if (!values || !size || !table || !ids || *values == 0 || *table == 0) return;
    const std::uint64_t count = std::min(*size, *ids);
    if (count > budget_ || memory_.At(*values, count * kWord) == nullptr || memory_.At(*table, count * kWord) == nullptr) {
      Note(fmt::format("the counts of the thread state at {:#x} cannot be read: counts of types and code objects are wrong", thread.tstate));
      return;
    }
    for (std::uint64_t i = 0; i < count && Spend(); ++i) {
      const auto value = static_cast<std::int64_t>(memory_.ReadPointer(*values + i * kWord).value_or(0));
      if (value != 0) Add(memory_.ReadPointer(*table + i * kWord).value_or(0), value);
    }
  }

  // A reference without a count keeps its object only as long as the collector is told of it.
  void AddDeferred(std::uint64_t reference) {
    const auto mask = static_cast<std::uint64_t>(layout_.Value(Constant::STACKREF_TAG_MASK));
    if ((reference & mask) == static_cast<std::uint64_t>(layout_.Value(Constant::STACKREF_TAG_BORROWED))) Add(reference & ~mask, 1);
  }

  void ReadCStack(const PyThread& thread) {
    if (!layout_.Has(Field::PyThreadStateImpl_c_stack_refs) || !layout_.Has(Struct::PyCStackRef)) return;
    std::unordered_set<Address> seen;
    auto node = objects_.Get(thread.tstate, Field::PyThreadStateImpl_c_stack_refs);
    while (node && *node != 0 && seen.insert(*node).second && seen.size() <= limits_.max_frames) {
      AddDeferred(objects_.Get(*node, Field::PyCStackRef_ref).value_or(0));
      node = objects_.Get(*node, Field::PyCStackRef_next);
    }
    if (!node || *node != 0) Note(fmt::format("the references on the C stack of the thread state at {:#x} cannot be followed to their end", thread.tstate));
  }

  // CPython: gc_visit_thread_stacks(). f_funcobj is not among what the collector visits there.
  void ReadFrames(const PyThread& thread) {
    std::unordered_set<Address> seen;
    auto frame = objects_.Get(thread.tstate, Field::PyThreadState_current_frame);
    const auto entry = static_cast<std::uint64_t>(layout_.Value(Constant::FRAME_OWNER_ENTRY, 3));
    while (frame && *frame != 0 && seen.insert(*frame).second && seen.size() <= limits_.max_frames) {
      const auto owner = objects_.Get(*frame, Field::PyInterpreterFrame_owner);
      if (owner && *owner < entry) ReadFrame(*frame);
      frame = objects_.Get(*frame, Field::PyInterpreterFrame_previous);
    }
    if (!frame || *frame != 0) Note(fmt::format("the frames of the thread state at {:#x} cannot be followed to their end", thread.tstate));
  }
  void ReadFrame(Address frame) {
    AddDeferred(objects_.Get(frame, Field::PyInterpreterFrame_f_executable).value_or(0));
    const auto end = objects_.Get(frame, Field::PyInterpreterFrame_stackpointer);
    const Address begin = frame + layout_.Offset(Field::PyInterpreterFrame_localsplus);
    if (end && *end == 0) {
      out_.all_deferred_held = true;
    } else if (!end || *end < begin || memory_.At(begin, *end - begin) == nullptr) {
      Note(fmt::format("the stack of the frame at {:#x} cannot be read", frame));
    } else {
      for (Address at = begin; at + kWord <= *end && Spend(); at += kWord) AddDeferred(memory_.ReadPointer(at).value_or(0));
    }
  }

  void Merge() {
    std::vector<CountChange>& changes = out_.changes;
    std::sort(changes.begin(), changes.end(), [](const CountChange& a, const CountChange& b) { return a.object < b.object; });
    std::size_t kept = 0;
    for (const CountChange& c : changes) {
      if (kept > 0 && changes[kept - 1].object == c.object) {
        // Unsigned: the numbers are the target's.
        changes[kept - 1].by = static_cast<std::int64_t>(static_cast<std::uint64_t>(changes[kept - 1].by) + static_cast<std::uint64_t>(c.by));
      } else {
        changes[kept++] = c;
      }
    }
    changes.resize(kept);
  }

  const target::MemoryImage& memory_;
  const Runtime& runtime_;
  const Layout& layout_;
  const Limits& limits_;
  TargetObjects objects_;
  std::uint64_t budget_ = 0;
  UncountedReferences out_;
};

}  // namespace

UncountedReferences ReadUncountedReferences(const target::Process& process, const Runtime& runtime, const Limits& limits) {
  if (runtime.refcount != RefcountFormat::kBiased) return {};
  return Reader(process, runtime, limits).Run();
}

}  // namespace pygc::cpython
