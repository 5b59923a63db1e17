#include "core/engine/native_holders.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "core/analysis/referrers.h"
#include "core/audit/block_heap.h"
#include "core/audit/malloc_heap.h"
#include "core/engine/derived.h"
#include "core/engine/inspector.h"
#include "core/target/thread_locals.h"

namespace pygc::engine {
namespace {

constexpr std::size_t kMaxLevels = 3;         // blocks on the way
constexpr std::size_t kMaxSlots = 256;        // words looked at for one object
constexpr std::uint64_t kMaxBody = 1024;      // bytes of a referrer that are looked at for its own tables
constexpr std::array<const char*, 17> kRegisters = {"r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", "orig_rax", "rip"};

struct Word {
  Address slot = 0, value = 0;
};

class Finder {
 public:
  explicit Finder(const CommandInput& in)
      : in_(in), process_(in.reader.process()), blocks_(audit::ReadBlocks(process_, in.reader.runtime(), in.request.limits)), chunks_(process_), locals_(process_) {}

  std::map<Address, NativeHolder> Run(std::vector<Address> objects) {
    // Each object, or a block that leads to it, by the address that a word must hold; and the object that it is all about.
    std::map<Address, std::vector<Lead>> wanted;
    for (const Address object : objects) wanted[object].push_back({object, ""});
    for (std::size_t level = 0; level < kMaxLevels && !wanted.empty(); ++level) {
      std::map<Address, std::vector<Lead>> next;
      if (level == 0) Registers(wanted);
      for (const Word& word : Scan(wanted)) {
        for (const Lead& lead : wanted[word.value]) Consider(word, lead, next);
      }
      for (auto lead = next.begin(); lead != next.end();) {
        std::erase_if(lead->second, [&](const Lead& l) { return found_.count(l.object) != 0; });
        lead = lead->second.empty() ? next.erase(lead) : std::next(lead);
      }
      for (const auto& [begin, leads] : next) {
        for (const Lead& lead : leads) fallback_.try_emplace(lead.object, NativeHolder{heap::RootKind::kNative, lead.way});
      }
      wanted = std::move(next);
    }
    // A block to which nothing leads that was found; last what stands on a stack or in a register, which is often a word that was left there.
    for (auto* less_sure : {&fallback_, &passing_}) {
      for (auto& [object, holder] : *less_sure) found_.try_emplace(object, std::move(holder));
    }
    return std::move(found_);
  }

 private:
  struct Lead {
    Address object = 0;
    std::string way;  // the blocks between
  };

  void Registers(const std::map<Address, std::vector<Lead>>& wanted) {
    for (const target::Thread& t : process_.threads) {
      for (std::size_t r = 0; t.has_registers && r < kRegisters.size(); ++r) {
        if (wanted.count(t.registers[r]) != 0) passing_.try_emplace(t.registers[r], NativeHolder{heap::RootKind::kRegister, fmt::format("register {} of thread {}", kRegisters[r], t.tid)});
      }
    }
  }

  // Words of writable memory that hold one of the addresses, by address.
  [[nodiscard]] std::vector<Word> Scan(const std::map<Address, std::vector<Lead>>& wanted) const {
    std::vector<Address> values;
    for (const auto& [value, leads] : wanted) values.push_back(value);
    std::vector<Word> words;
    std::map<Address, std::size_t> count;
    const Address low = values.front(), high = values.back();
    std::uint64_t looked = 0;
    for (const target::Segment& s : process_.memory.segments()) {
      if (!s.writable || s.bytes == nullptr || s.source == target::SegmentSource::kModuleFile) continue;
      if (!in_.progress.Update("searching native memory", looked, 0)) return words;
      looked += s.range.size();
      for (Address a = (s.range.begin + 7) & ~Address{7}; a + 8 <= s.range.end; a += 8) {
        const auto value = LoadUnchecked<std::uint64_t>(s.bytes + (a - s.range.begin));
        if (value < low || value > high || !std::binary_search(values.begin(), values.end(), value)) continue;
        if (count[value]++ < kMaxSlots) words.push_back({a, value});
      }
    }
    return words;
  }

  void Consider(const Word& word, const Lead& lead, std::map<Address, std::vector<Lead>>& next) {
    if (found_.count(lead.object) != 0) return;
    for (const cpython::Interpreter& interpreter : in_.reader.runtime().interpreters) {
      const std::uint64_t size = in_.reader.runtime().layout.Size(cpython::Struct::PyInterpreterState);
      if (word.slot >= interpreter.address && word.slot - interpreter.address < size) return Found(lead, heap::RootKind::kInterpreter, fmt::format("PyInterpreterState+{:#x}", word.slot - interpreter.address));
    }
    if (std::string local = locals_.PlaceOf(word.slot); !local.empty()) return Found(lead, heap::RootKind::kNative, local);
    const std::optional<AddressRange> block = BlockInUse(word.slot);
    if (block) {
      if (IsObjectOrItsTable(*block, lead.object)) return;
      std::string way = fmt::format("a block of {} bytes of native memory at {:#x}", block->size(), block->begin);
      next[block->begin].push_back({lead.object, lead.way.empty() ? std::move(way) : fmt::format("{}, by way of {}", way, lead.way)});
      return;
    }
    const std::string place = DescribePlace(in_, word.slot);
    if (place.starts_with("the stack of")) {
      if (lead.way.empty()) passing_.try_emplace(lead.object, NativeHolder{heap::RootKind::kStack, place});
      return;
    }
    if (process_.FindModule(word.slot) != nullptr && !place.starts_with("inside ")) Found(lead, heap::RootKind::kNative, place);
  }
  void Found(const Lead& lead, heap::RootKind kind, const std::string& place) {
    found_.try_emplace(lead.object, NativeHolder{kind, lead.way.empty() ? place : fmt::format("{}, to which {} leads", lead.way, place)});
  }

  [[nodiscard]] std::optional<AddressRange> BlockInUse(Address a) {
    if (const auto block = blocks_.BlockAt(a)) return block->in_use ? std::optional(block->range) : std::nullopt;
    if (!chunks_read_) {
      chunks_.ForEachChunk([&](AddressRange memory, bool in_use) {
        if (in_use) used_chunks_.push_back(memory);
      });
      std::sort(used_chunks_.begin(), used_chunks_.end(), [](const AddressRange& x, const AddressRange& y) { return x.begin < y.begin; });
      chunks_read_ = true;
    }
    const auto after = std::upper_bound(used_chunks_.begin(), used_chunks_.end(), a, [](Address x, const AddressRange& r) { return x < r.begin; });
    return after != used_chunks_.begin() && (after - 1)->Contains(a) ? std::optional(*(after - 1)) : std::nullopt;
  }

  // The block of an object (after its collector's head), or a table that one of the object's known holders owns: these references are known already.
  [[nodiscard]] bool IsObjectOrItsTable(const AddressRange& block, Address object) {
    const heap::NodeId last = analysis::LastNodeUpTo(in_.heap, block.end - 1);
    if (last != heap::kNoNode && in_.heap.AddressOf(last) >= block.begin) return true;
    const heap::NodeId target = in_.heap.index.Find(object);
    if (target == heap::kNoNode) return false;
    const auto [place, fresh] = referrers_.try_emplace(target);
    auto& known = place->second;
    if (fresh) {
      ReferrerList(in_, target).ForEach([&](heap::NodeId from, std::uint32_t) { known.push_back(from); });
    }
    for (const heap::NodeId referrer : known) {
      const Address holder = in_.heap.AddressOf(referrer);
      for (Address a = holder; a < holder + kMaxBody; a += 8) {
        const std::byte* p = process_.memory.At(a, 8);
        if (p == nullptr) break;
        if (block.Contains(LoadUnchecked<std::uint64_t>(p))) return true;
      }
    }
    return false;
  }

  const CommandInput& in_;
  const target::Process& process_;
  audit::BlockHeap blocks_;
  audit::MallocHeap chunks_;
  target::ThreadLocals locals_;
  bool chunks_read_ = false;
  std::vector<AddressRange> used_chunks_;
  std::map<heap::NodeId, std::vector<heap::NodeId>> referrers_;
  std::map<Address, NativeHolder> found_, fallback_, passing_;
};

}  // namespace

std::map<Address, NativeHolder> FindNativeHolders(const CommandInput& in, std::vector<Address> objects) {
  if (objects.empty()) return {};
  return Finder(in).Run(std::move(objects));
}

}  // namespace pygc::engine
