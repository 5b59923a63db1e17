#include "core/audit/left_out_memory.h"

#include <algorithm>
#include <vector>

#include "core/base/byte_reader.h"

namespace pygc::audit {
namespace {

constexpr Address kDumpPage = 4096, kPointerBytes = 8;
constexpr Address kThreadControlBlock = 4096;  // struct pthread is smaller

class Search {
 public:
  explicit Search(const target::Process& process) : process_(process) {
    for (const target::MissingRange& m : process.missing_ranges) {
      const target::Module* const module = m.writable ? process.FindModule(m.range.begin) : nullptr;
      if (m.writable && (module == nullptr || !module->is_elf)) ranges_.push_back(m.range);
    }
    std::sort(ranges_.begin(), ranges_.end(), [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
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

bool LeftOutMemoryMayRefer(const target::Process& process) { return Search(process).Found(); }

}  // namespace pygc::audit
