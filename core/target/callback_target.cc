// A process that only a debugger can reach (remote, minidump): its regions are fetched in bulk, then everything goes on as for a copy.
#include <algorithm>

#include "core/target/copy_buffer.h"
#include "core/target/memory_elf.h"
#include "core/target/open.h"
#include "core/target/proc_files.h"
#include "core/target/process_draft.h"

namespace pygc::target {
namespace {

constexpr std::uint64_t kPiece = 1u << 20;

class Fetch {
 public:
  Fetch(const MemorySource& source, const OpenOptions& options, ProgressSink& progress) : source_(source), options_(options), progress_(progress) {}

  Result<Process> Run(const CopiedHook& copied) {
    Process& process = draft_.process;
    process.kind = source_.kind;
    process.path = source_.path;
    process.pid = source_.pid;
    process.threads = source_.threads;
    std::vector<const MemorySource::Region*> regions;
    for (const auto& r : source_.regions) {
      if (!r.range.empty()) regions.push_back(&r);
      if (!r.range.empty() && r.file == "[stack]") process.initial_stack = r.range.end - 1;
    }
    if (regions.empty()) return Fail(ErrorCode::kHost, "the debugger does not say which memory the process has, so it cannot be read in bulk");
    std::sort(regions.begin(), regions.end(), [](const auto* a, const auto* b) { return a->range.begin < b->range.begin; });
    std::vector<AddressRange> wanted;
    std::uint64_t total = 0;
    Address done = 0;  // a debugger may list a region twice
    for (const auto* r : regions) {
      AddressRange range = Wanted(*r);
      range.begin = std::max(range.begin, done);
      if (range.empty()) continue;
      done = range.end;
      wanted.push_back(range);
      total += range.size();
    }
    const std::uint64_t limit = options_.limits.max_memory_bytes, usable = std::min(AvailableMemory(), limit == 0 ? ~std::uint64_t{0} : limit);
    if (total > usable) return Fail(ErrorCode::kLimit, "the process has {} to copy and only {} of memory can be used: write a core instead (gcore)", SizeText(total), SizeText(usable));
    if (auto ok = buffer_->Reserve(wanted); !ok) return tl::unexpected(ok.error());
    if (auto ok = FetchAll(wanted, regions, total); !ok) return tl::unexpected(ok.error());
    if (copied) copied(process);
    TakeRegions(regions);
    draft_.backings.push_back(buffer_);
    return CompleteProcess(std::move(draft_), options_, progress_);
  }

 private:
  /// What the file cannot tell: writable and anonymous memory whole, RELRO likewise (one cannot see which it is: all that is neither writable
  /// nor executable of a file), and the first page of code that starts a file.
  [[nodiscard]] static AddressRange Wanted(const MemorySource::Region& r) {
    if (!r.readable || r.file.starts_with("[vvar") || r.file == "[vsyscall]" || r.range.begin >= 0xFFFFFFFFFF600000) return {};
    if (r.writable || !r.file.starts_with('/') || !r.executable) return r.range;
    return r.file_offset == 0 ? AddressRange{r.range.begin, std::min(r.range.end, r.range.begin + kPageSize)} : AddressRange{};
  }

  Result<void> FetchAll(const std::vector<AddressRange>& wanted, const std::vector<const MemorySource::Region*>& regions, std::uint64_t total) {
    std::uint64_t fetched = 0, unreadable = 0, dead = 0;
    for (std::size_t i = 0; i < wanted.size();) {
      std::size_t end = i + 1;
      while (end < wanted.size() && wanted[end].begin == wanted[end - 1].end) ++end;
      const AddressRange all = {wanted[i].begin, wanted[end - 1].end};
      std::byte* host = buffer_->Place(all);
      if (host == nullptr) return Fail(ErrorCode::kLimit, "cannot get {} of memory for the copy", SizeText(all.size()));
      for (; i < end; ++i) {
        for (Address at = wanted[i].begin; at < wanted[i].end;) {
          if (!progress_.Update("fetching memory through the debugger", fetched, total)) return Fail(ErrorCode::kCancelled, "stopped while memory was fetched");
          const std::uint64_t size = std::min(kPiece, wanted[i].end - at);
          const std::uint64_t n = FetchOne(at, host + (at - all.begin), size);
          AddSegment({at, at + n}, host + (at - all.begin), regions);
          fetched += n;
          at += n;
          if (n == size) continue;
          if (const Address used = UsedStackAfter(at, wanted[i].end, regions); used != 0) {
            fetched += used - at;
            dead += used - at;
            at = used;
            continue;
          }
          const Address next = std::min(wanted[i].end, PageFloor(at) + kPageSize);
          draft_.process.missing_ranges.push_back({{at, next}, MissingReason::kUnreadable, kNoModule, MissingUse::kUsed});
          unreadable += next - at;
          fetched += next - at;
          at = next;
        }
      }
    }
    if (fetched == unreadable + dead) return Fail(ErrorCode::kHost, "the debugger could not read any memory of the process");
    if (unreadable != 0) {
      draft_.process.missing.push_back({SizeText(unreadable) + " of memory", "the debugger could not read it", "use pygc -c CORE or pygc -p PID on the machine itself"});
    }
    return {};
  }

  /// Bytes read, never more than asked for whatever the host says.
  [[nodiscard]] std::uint64_t FetchOne(Address at, std::byte* to, std::uint64_t size) const {
    const auto n = source_.read(at, {to, size});
    return n ? std::min<std::uint64_t>(*n, size) : 0;
  }

  /// Where, behind `at`, the used part of the thread's stack begins in which `at` lies; 0 where it lies in none. What is below is dead, and left out of
  /// minidumps: nothing is missing there. A pthread's stack has the thread's control block at its top; the first thread's has a name.
  [[nodiscard]] Address UsedStackAfter(Address at, Address end, const std::vector<const MemorySource::Region*>& regions) const {
    constexpr Address kRedZone = 128;
    const auto after = std::upper_bound(regions.begin(), regions.end(), at, [](Address a, const auto* r) { return a < r->range.begin; });
    const bool named = after != regions.begin() && (*(after - 1))->file == "[stack]";
    Address used = 0;
    for (const Thread& t : source_.threads) {
      if (!t.has_registers || t.stack_pointer() <= at || t.stack_pointer() >= end || t.stack_pointer() - at <= kRedZone) continue;
      if (!named && (t.fs_base() <= t.stack_pointer() || t.fs_base() >= end)) continue;
      const Address begin = t.stack_pointer() - kRedZone;
      if (used == 0 || begin < used) used = begin;
    }
    return used;
  }

  void AddSegment(AddressRange range, const std::byte* bytes, const std::vector<const MemorySource::Region*>& regions) {
    if (range.empty()) return;
    const auto after = std::upper_bound(regions.begin(), regions.end(), range.begin, [](Address a, const auto* r) { return a < r->range.begin; });
    const MemorySource::Region& r = **(after - 1);
    Segment s;
    s.range = range;
    s.bytes = bytes;
    s.readable = r.readable;
    s.writable = r.writable;
    s.executable = r.executable;
    s.source = SegmentSource::kHost;
    draft_.segments.push_back(s);
  }

  void TakeRegions(const std::vector<const MemorySource::Region*>& regions) {
    for (const auto* r : regions) {
      draft_.regions.push_back({r->range, true, r->readable, r->writable, r->executable});
      if (!r->file.starts_with('/')) continue;
      FileMapping f;
      f.range = r->range;
      f.file_offset = r->file_offset;
      f.path = r->file;
      f.access_known = true;
      f.readable = r->readable;
      f.writable = r->writable;
      f.executable = r->executable;
      draft_.mappings.push_back(std::move(f));
    }
  }

  const MemorySource& source_;
  const OpenOptions& options_;
  ProgressSink& progress_;
  ProcessDraft draft_;
  std::shared_ptr<CopyBuffer> buffer_ = std::make_shared<CopyBuffer>();
};

}  // namespace

Result<Process> CaptureFromSource(const MemorySource& source, const OpenOptions& options, ProgressSink& progress, const CopiedHook& copied) {
  return Fetch(source, options, progress).Run(copied);
}

}  // namespace pygc::target
