#include "core/audit/pymalloc_heap.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <optional>

#include "core/audit/left_out_memory.h"
#include "core/audit/static_data.h"
#include "core/snapshot/thread_words.h"

namespace pygc::audit {

namespace {

using cpython::Constant;
using cpython::Field;
using cpython::Struct;

constexpr std::uint32_t kSmallRequestBytes = 512;  // SMALL_REQUEST_THRESHOLD
constexpr Address kArenaPage = 4096;
constexpr std::uint64_t kInitialArenas = 16;       // INITIAL_ARENA_OBJECTS

std::uint64_t Word(const std::byte* p, std::uint32_t offset) { return LoadUnchecked<std::uint64_t>(p + offset); }
std::uint32_t Half(const std::byte* p, std::uint32_t offset) { return LoadUnchecked<std::uint32_t>(p + offset); }

class PymallocReader {
 public:
  PymallocReader(const target::Process& process, const cpython::Runtime& runtime, const Limits& limits)
      : process_(process),
        runtime_(runtime),
        max_arenas_(std::min<std::uint64_t>(limits.max_objects, 1u << 24)),
        arena_bytes_(static_cast<std::uint32_t>(runtime.layout.Value(Constant::OBMALLOC_ARENA_BYTES))),
        pool_bytes_(static_cast<std::uint32_t>(runtime.layout.Value(Constant::OBMALLOC_POOL_BYTES))),
        alignment_(static_cast<std::uint32_t>(runtime.layout.Value(Constant::OBMALLOC_ALIGNMENT, 16))),
        arena_size_(runtime.layout.Has(Struct::arena_object) ? runtime.layout.Size(Struct::arena_object) : 0) {}

  BlockHeap::Parts Read();
  std::vector<AddressRange> Absent();

 private:
  template <typename F>
  void ForEachArray(F&& f);
  [[nodiscard]] bool IsUsable() const noexcept {
    const cpython::Layout& layout = runtime_.layout;
    return !layout.flavor.free_threaded && arena_bytes_ != 0 && pool_bytes_ != 0 && alignment_ != 0 && layout.Has(Struct::arena_object) && layout.Has(Struct::pool_header) && arena_size_ >= 32;
  }
  [[nodiscard]] bool FindArenas(Address& array, std::uint64_t& count, const cpython::Interpreter* interpreter) const;
  /// How many arenas an array of `count` arena_objects would name; 0 where it cannot be one.
  [[nodiscard]] std::uint64_t LooksLikeArenas(Address array, std::uint64_t count) const;
  void ReadArenas(Address array, std::uint64_t count);
  void ReadArena(Address base, Address pool_address, std::uint32_t total_pools, std::uint32_t free_pools);
  /// False where the pool's header is damaged.
  bool ReadPool(Address pool, Address arena);
  [[nodiscard]] bool IsBeingChanged(Address pool, std::uint64_t counted, std::uint64_t found);
  bool FollowFree(BlockPool& pool, Address head);
  void Damaged(std::string what) {
    if (damage_count_++ < kMaxDamageLines) parts_.damage.push_back(std::move(what));
  }

  const target::Process& process_;
  std::optional<snapshot::WordsInHand> hand_;
  const cpython::Runtime& runtime_;
  std::uint64_t max_arenas_;
  std::uint32_t arena_bytes_, pool_bytes_, alignment_, arena_size_, overhead_ = 0;
  BlockHeap::Parts parts_;
  std::uint64_t damage_count_ = 0;
};

BlockHeap::Parts PymallocReader::Read() {
  const cpython::Layout& layout = runtime_.layout;
  parts_.allocator = "pymalloc";
  if (!IsUsable()) return std::move(parts_);
  overhead_ = (layout.Size(Struct::pool_header) + alignment_ - 1) / alignment_ * alignment_;
  if (overhead_ >= pool_bytes_ || !std::has_single_bit(pool_bytes_)) return std::move(parts_);
  parts_.place_shift = static_cast<unsigned>(std::countr_zero(pool_bytes_));
  ForEachArray([this](Address array, std::uint64_t count) { ReadArenas(array, count); });
  return std::move(parts_);
}

// f(array, count) for the array of arena_objects of each interpreter.
template <typename F>
void PymallocReader::ForEachArray(F&& f) {
  std::vector<Address> seen;
  const auto read = [&](const cpython::Interpreter* interpreter) {
    Address array = 0;
    std::uint64_t count = 0;
    if (!FindArenas(array, count, interpreter) || std::find(seen.begin(), seen.end(), array) != seen.end()) return;
    seen.push_back(array);
    f(array, count);
  };
  if (runtime_.layout.Has(Struct::obmalloc_state)) {
    for (const cpython::Interpreter& i : runtime_.interpreters) read(&i);
  } else {
    read(nullptr);
  }
}

std::vector<AddressRange> PymallocReader::Absent() {
  std::vector<AddressRange> absent;
  if (!IsUsable()) return absent;
  const target::MemoryImage& memory = process_.memory;
  ForEachArray([&](Address array, std::uint64_t count) {
    const std::byte* p = memory.At(array, count * arena_size_);
    for (std::uint64_t i = 0; p != nullptr && i < count; ++i, p += arena_size_) {
      const Address base = Word(p, runtime_.layout.Offset(Field::arena_object_address));
      if (base == 0 || base % kArenaPage != 0 || base + arena_bytes_ < base) continue;
      AppendUntold(process_, {base, base + arena_bytes_}, absent);
    }
  });
  return absent;
}

bool PymallocReader::FindArenas(Address& array, std::uint64_t& count, const cpython::Interpreter* interpreter) const {
  const target::MemoryImage& memory = process_.memory;
  const cpython::Layout& layout = runtime_.layout;
  if (interpreter != nullptr) {
    Address state = interpreter->address + layout.Offset(Field::PyInterpreterState_obmalloc);
    if (layout.Value(Constant::OBMALLOC_IS_POINTER) != 0) state = memory.ReadPointer(state).value_or(0);
    const Result<Address> found = memory.ReadPointer(state + layout.Offset(Field::obmalloc_state_mgmt_arenas));
    const Result<std::uint32_t> max = memory.ReadValue<std::uint32_t>(state + layout.Offset(Field::obmalloc_state_mgmt_maxarenas));
    if (state == 0 || !found || !max || *found == 0) return false;
    array = *found;
    count = *max;
    return LooksLikeArenas(array, count) != 0;
  }
  const std::optional<Address> arenas = cpython::FindInterpreterSymbol(process_, runtime_, "arenas");
  const std::optional<Address> max = cpython::FindInterpreterSymbol(process_, runtime_, "maxarenas");
  if (arenas && max) {
    array = memory.ReadPointer(*arenas).value_or(0);
    count = memory.ReadValue<std::uint32_t>(*max).value_or(0);
    if (array != 0 && LooksLikeArenas(array, count) != 0) return true;
  }
  // HEURISTIC: without symbols, a word in the interpreter's writable data that leads to an array of arena_objects which fit together. The number of them
  // stands in a static nearby; the array doubles, so powers of two times 16 are tried from the largest down. A wrong yes would need a foreign array in
  // which every element is unused or a plausible arena; a wrong no makes all of that memory possible references. Other statics lead into the middle of the
  // array (usable_arenas, unused_arena_objects): the one from which most arenas are seen is its beginning.
  if (runtime_.module_index >= process_.modules.size()) return false;
  std::uint64_t most = 0;
  for (const target::Segment& s : memory.segments()) {
    if (!s.writable || s.bytes == nullptr) continue;
    if (ModuleOfData(process_, s.range.begin) != &process_.modules[runtime_.module_index]) continue;
    for (Address a = (s.range.begin + 7) & ~Address{7}; a + 8 <= s.range.end; a += 8) {
      const Address candidate = Word(s.bytes + (a - s.range.begin), 0);
      if (candidate % 16 != 0 || candidate < 4096 || memory.At(candidate, kInitialArenas * arena_size_) == nullptr) continue;
      std::uint64_t seen = LooksLikeArenas(candidate, kInitialArenas), length = kInitialArenas;
      if (seen == 0 || candidate == array) continue;
      for (std::uint64_t more = 0; length * 2 <= max_arenas_ && (more = LooksLikeArenas(candidate, length * 2)) != 0; length *= 2) seen = more;
      if (seen < most || (seen == most && candidate >= array)) continue;
      most = seen;
      array = candidate;
      count = length;
    }
  }
  return most > 0;
}

std::uint64_t PymallocReader::LooksLikeArenas(Address array, std::uint64_t count) const {
  if (count == 0 || count > max_arenas_) return 0;  // LIMIT: max_objects, 2^24
  const target::MemoryImage& memory = process_.memory;
  const cpython::Layout& layout = runtime_.layout;
  const std::byte* p = memory.At(array, count * arena_size_);
  if (p == nullptr) return 0;
  const std::uint32_t address = layout.Offset(Field::arena_object_address), next = layout.Offset(Field::arena_object_pool_address);
  const std::uint32_t free_pools = layout.Offset(Field::arena_object_nfreepools), total = layout.Offset(Field::arena_object_ntotalpools);
  std::uint64_t used = 0, absent = 0;  // in memory that was left out of the image
  for (std::uint64_t i = 0; i < count; ++i, p += arena_size_) {
    const Address base = Word(p, address);
    if (base == 0) continue;
    const Address end = base + arena_bytes_;
    if (base % 4096 != 0 || Word(p, next) < base || Word(p, next) > end || Half(p, total) > arena_bytes_ / pool_bytes_ || Half(p, total) + 1 < arena_bytes_ / pool_bytes_ ||
        Half(p, free_pools) > Half(p, total)) {
      return 0;
    }
    ++(memory.At(base, pool_bytes_) == nullptr ? absent : used);
  }
  return used > absent ? used : 0;
}

void PymallocReader::ReadArenas(Address array, std::uint64_t count) {
  const cpython::Layout& layout = runtime_.layout;
  const std::byte* p = process_.memory.At(array, count * arena_size_);
  if (p != nullptr) parts_.bookkeeping.push_back({array, array + count * arena_size_});  // of unused elements only the address and the next one were written
  for (std::uint64_t i = 0; p != nullptr && i < count; ++i, p += arena_size_) {
    const Address base = Word(p, layout.Offset(Field::arena_object_address));
    if (base == 0) continue;
    ReadArena(base, Word(p, layout.Offset(Field::arena_object_pool_address)), Half(p, layout.Offset(Field::arena_object_ntotalpools)),
              Half(p, layout.Offset(Field::arena_object_nfreepools)));
  }
}

void PymallocReader::ReadArena(Address base, Address pool_address, std::uint32_t total_pools, std::uint32_t free_pools) {
  const Address first = (base + pool_bytes_ - 1) / pool_bytes_ * pool_bytes_;
  parts_.arenas.push_back({base, base + arena_bytes_});
  std::uint32_t unused = total_pools;
  for (std::uint32_t i = 0; i < total_pools && first + std::uint64_t{i} * pool_bytes_ < pool_address; ++i) {
    const Address pool = first + std::uint64_t{i} * pool_bytes_;
    const std::size_t before = parts_.pools.size();
    if (!ReadPool(pool, base)) {
      parts_.damaged.push_back({pool, pool + pool_bytes_});
      --unused;
    } else if (parts_.pools.size() != before) {
      --unused;
    }
  }
  if (unused != free_pools) Damaged(fmt::format("the arena at {:#x} counts {} free pools, {} were found", base, free_pools, unused));
}

bool PymallocReader::ReadPool(Address pool, Address arena) {
  const cpython::Layout& layout = runtime_.layout;
  const std::byte* p = process_.memory.At(pool, pool_bytes_);
  if (p == nullptr) {
    Damaged(fmt::format("the pool at {:#x} of the arena at {:#x} cannot be read", pool, arena));
    return false;
  }
  const std::uint32_t used = Half(p, layout.Offset(Field::pool_header_ref_count));
  if (used == 0) return true;  // on the arena's list of free pools
  const std::uint32_t size_class = Half(p, layout.Offset(Field::pool_header_szidx));
  const std::uint64_t block_bytes = (std::uint64_t{size_class} + 1) * alignment_;
  if (block_bytes > kSmallRequestBytes) {
    Damaged(fmt::format("the pool at {:#x} has size class {}, which does not exist", pool, size_class));
    return false;
  }
  const std::uint32_t next = Half(p, layout.Offset(Field::pool_header_nextoffset));
  BlockPool result;
  result.memory = {pool, pool + pool_bytes_};
  result.first = pool + overhead_;
  result.block_bytes = block_bytes;
  result.slack = alignment_ - 1;
  if (next < overhead_ || (next - overhead_) % block_bytes != 0 || next > pool_bytes_ + block_bytes) {
    Damaged(fmt::format("the pool at {:#x} has nextoffset {}, which is no border of blocks of {} bytes", pool, next, block_bytes));
    return false;
  }
  result.count = static_cast<std::uint32_t>(std::min<std::uint64_t>(next - overhead_, pool_bytes_ - overhead_) / block_bytes);
  result.first_bit = parts_.free.size() * 64;
  parts_.free.resize(parts_.free.size() + (result.count + 63) / 64, 0);
  if (!FollowFree(result, Word(p, layout.Offset(Field::pool_header_freeblock)))) {
    result.damaged = true;
    std::fill(parts_.free.begin() + static_cast<std::ptrdiff_t>(result.first_bit / 64), parts_.free.end(), 0);
    result.in_use = result.count;
    Damaged(fmt::format("the list of free blocks of the pool at {:#x} leads out of its blocks or loops", pool));
  } else if (result.in_use != used && !IsBeingChanged(pool, used, result.in_use)) {
    Damaged(fmt::format("the pool at {:#x} counts {} blocks in use, {} were found", pool, used, result.in_use));
  }
  parts_.pools.push_back(result);
  return true;
}

// One block more or less than the pool counts, while a running thread has something of the pool in hand: it stands between the list of free blocks and the
// count. CPython: pymalloc_alloc(), pymalloc_free(), insert_to_freepool(), Objects/obmalloc.c.
bool PymallocReader::IsBeingChanged(Address pool, std::uint64_t counted, std::uint64_t found) {
  if (counted + 1 != found && found + 1 != counted) return false;
  if (!hand_) hand_ = snapshot::WordsOfRunningThreads(process_);
  const auto word = std::lower_bound(hand_->words.begin(), hand_->words.end(), pool);
  return !hand_->died && word != hand_->words.end() && *word - pool < pool_bytes_;
}

bool PymallocReader::FollowFree(BlockPool& pool, Address head) {
  std::uint32_t free = 0;
  for (Address a = head; a != 0; ++free) {
    if (free >= pool.count || a < pool.first || (a - pool.first) % pool.block_bytes != 0) return false;
    const std::uint64_t index = (a - pool.first) / pool.block_bytes;
    if (index >= pool.count) return false;
    std::uint64_t& bits = parts_.free[(pool.first_bit + index) >> 6];
    const std::uint64_t bit = std::uint64_t{1} << ((pool.first_bit + index) & 63);
    if (bits & bit) return false;
    bits |= bit;
    const std::byte* p = process_.memory.At(a, 8);
    if (p == nullptr) return false;
    a = Word(p, 0);
  }
  pool.in_use = pool.count - free;
  return true;
}

}  // namespace

std::vector<AddressRange> FindAbsentArenas(const target::Process& process, const cpython::Runtime& runtime, const Limits& limits) {
  return PymallocReader(process, runtime, limits).Absent();
}

BlockHeap ReadPymalloc(const target::Process& process, const cpython::Runtime& runtime, const Limits& limits) {
  return BlockHeap(PymallocReader(process, runtime, limits).Read());
}

}  // namespace pygc::audit
