#include "core/audit/left_out_memory.h"

#include <algorithm>
#include <span>
#include <vector>

#include "core/base/byte_reader.h"

namespace pygc::audit {
namespace {

constexpr Address kDumpPage = 4096, kPointerBytes = 8;
constexpr std::size_t kMostUntold = 1u << 16;  // LIMIT
constexpr Address kThreadControlBlock = 4096;  // struct pthread is smaller

class Search {
 public:
  explicit Search(const target::Process& process) : process_(process) {
    for (const target::MissingRange& m : process.missing_ranges) {
      const target::Module* const module = m.writable ? process.FindModule(m.range.begin) : nullptr;
      if (m.writable && (module == nullptr || !module->is_elf)) ranges_.push_back(m.range);
    }
    std::sort(ranges_.begin(), ranges_.end(), [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
    DropStates();
  }

  [[nodiscard]] bool Found() const {
    if (ranges_.empty()) return false;
    for (const target::Thread& t : process_.threads) {
      if (t.has_registers && std::any_of(t.registers.begin(), t.registers.end(), [this](std::uint64_t word) { return LeadsThere(word); })) return true;
    }
    const auto segments = process_.memory.segments();
    return std::any_of(segments.begin(), segments.end(), [this](const target::Segment& s) { return s.writable && s.bytes != nullptr && FoundIn(s); });
  }

 private:
  [[nodiscard]] bool LeadsThere(std::uint64_t word) const {
    if (word < ranges_.front().begin || word >= ranges_.back().end) return false;
    const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), word, [](Address a, const AddressRange& r) { return a < r.begin; });
    return after != ranges_.begin() && (after - 1)->Contains(word);
  }
  [[nodiscard]] bool FoundIn(const target::Segment& s) const {
    const Address first = (s.range.begin + kPointerBytes - 1) / kPointerBytes * kPointerBytes;
    for (Address at = first; at + kPointerBytes <= s.range.end; at += kPointerBytes) {
      if (LeadsThere(LoadUnchecked<std::uint64_t>(s.bytes + (at - s.range.begin))) && !IsOfThread(at) && !IsListOfStates(at / kDumpPage * kDumpPage)) return true;
    }
    return false;
  }
  [[nodiscard]] bool IsOfThread(Address at) const {
    return std::any_of(process_.threads.begin(), process_.threads.end(),
                       [at](const target::Thread& t) { return t.has_registers && at >= t.fs_base() && at - t.fs_base() < kThreadControlBlock; });
  }
  // Memory of which a page lists parts of one size from its beginning on, and in which a thread's control block has one of these: the states of getrandom(). No
  // word of a program leads into it but by chance, and a pointer to the last bytes before a mapping does.
  void DropStates() {
    if (ranges_.empty()) return;
    std::vector<AddressRange> states;
    for (const target::Segment& s : process_.memory.segments()) {
      if (!s.writable || s.bytes == nullptr) continue;
      for (Address page = (s.range.begin + kDumpPage - 1) / kDumpPage * kDumpPage; page + kDumpPage <= s.range.end; page += kDumpPage) {
        const auto first = LoadUnchecked<Address>(s.bytes + (page - s.range.begin));
        const auto range = std::find_if(ranges_.begin(), ranges_.end(), [first](const AddressRange& r) { return r.begin == first; });
        if (range != ranges_.end() && ListsStates(page, *range)) states.push_back(*range);
      }
    }
    std::erase_if(ranges_, [&](const AddressRange& r) { return std::find(states.begin(), states.end(), r) != states.end(); });
  }
  [[nodiscard]] bool ListsStates(Address page, const AddressRange& range) const {
    constexpr std::uint64_t kLeastStep = 64;
    constexpr std::size_t kLeastStates = 4;
    const std::byte* const p = process_.memory.At(page, kDumpPage);
    std::vector<std::uint64_t> offsets;
    for (Address at = 0; p != nullptr && at < kDumpPage; at += kPointerBytes) {
      const auto word = LoadUnchecked<std::uint64_t>(p + at);
      if (word == 0) continue;
      if (!range.Contains(word)) return false;
      offsets.push_back(word - range.begin);
    }
    std::sort(offsets.begin(), offsets.end());
    if (offsets.size() < kLeastStates || offsets[0] != 0 || offsets[1] < kLeastStep) return false;
    const std::uint64_t step = offsets[1];
    const auto fits = [step](std::uint64_t offset) { return offset % step == 0; };
    if (std::adjacent_find(offsets.begin(), offsets.end()) != offsets.end() || !std::all_of(offsets.begin(), offsets.end(), fits)) return false;
    return std::any_of(process_.threads.begin(), process_.threads.end(), [&](const target::Thread& t) {
      const std::byte* const control = t.has_registers ? process_.memory.At(t.fs_base(), kThreadControlBlock) : nullptr;
      for (Address at = 0; control != nullptr && at < kThreadControlBlock; at += kPointerBytes) {
        if (const auto word = LoadUnchecked<std::uint64_t>(control + at); range.Contains(word) && fits(word - range.begin)) return true;
      }
      return false;
    });
  }
  [[nodiscard]] bool IsListOfStates(Address page) const {
    const std::byte* const p = process_.memory.At(page, kDumpPage);
    if (p == nullptr) return false;
    for (Address at = 0; at < kDumpPage; at += kPointerBytes) {
      const auto word = LoadUnchecked<std::uint64_t>(p + at);
      if (word != 0 && !LeadsThere(word)) return false;
    }
    return true;
  }

  const target::Process& process_;
  std::vector<AddressRange> ranges_;  // sorted, disjoint
};

}  // namespace

bool LeftOutMemoryMayRefer(const target::Process& process) {
  const auto is_data = [&](const target::MissingRange& m) { return m.writable && m.module < process.modules.size(); };
  return std::any_of(process.missing_ranges.begin(), process.missing_ranges.end(), is_data) || Search(process).Found();
}

void AppendUntold(const target::Process& process, AddressRange range, std::vector<AddressRange>& untold) {
  const std::span<const target::Segment> segments = process.memory.segments();
  const auto& told = process.missing_ranges;  // sorted and disjoint, as segments are
  auto next = std::upper_bound(segments.begin(), segments.end(), range.begin, [](Address a, const target::Segment& s) { return a < s.range.end; });
  for (Address at = range.begin; at < range.end && untold.size() < kMostUntold; ++next) {
    const Address end = next == segments.end() ? range.end : std::min(range.end, next->range.begin);
    if (at < end) {
      const auto after = std::upper_bound(told.begin(), told.end(), at, [](Address a, const target::MissingRange& m) { return a < m.range.begin; });
      if (after == told.begin() || !(after - 1)->range.Contains(at)) untold.push_back({at, end});
    }
    if (next == segments.end()) break;
    at = std::max(at, next->range.end);
  }
}

}  // namespace pygc::audit
