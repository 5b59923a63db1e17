// A live process as a Process: everything slow (reading maps, reserving and touching the buffer, opening files) is done before the threads are stopped or
// after they run again; between the two only the list of mappings is read again and writable memory is copied.
#include <elf.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <thread>

#include "core/target/copy_buffer.h"
#include "core/target/memory_elf.h"
#include "core/target/open.h"
#include "core/target/page_runs.h"
#include "core/target/proc_files.h"
#include "core/target/process_draft.h"
#include "core/target/thread_stopper.h"

namespace pygc::target {
namespace {

constexpr std::chrono::milliseconds kStopTimeout{5000};
constexpr std::uint64_t kChunk = 1u << 20;              // bytes of one system call: some 150 us, which --max-pause may be missed by
constexpr std::uint64_t kCopyPiece = 4u << 20;              // bytes that a thread looks through and copies at a time
constexpr std::uint64_t kMaxPieces = 4096;              // of one mapping: one of a terabyte, next to empty, is looked through in larger steps
constexpr std::uint64_t kParallelFrom = 64u << 20;      // bytes from which two threads copy faster than one

/// Copies target memory; the number of bytes before the first page that cannot be read.
std::uint64_t CopyFrom(std::int32_t pid, Address from, std::byte* to, std::uint64_t size) {
  iovec local{to, size};
  // NOLINTNEXTLINE(performance-no-int-to-ptr): an address of the target, which only the kernel follows
  iovec remote{reinterpret_cast<void*>(from), size};
  const ssize_t n = process_vm_readv(pid, &local, 1, &remote, 1, 0);
  return n < 0 ? 0 : static_cast<std::uint64_t>(n);
}

// With a limit of the pause, what is kept of it for letting go. Where other work waits for the processors the kernel can take them from this program in the middle
// of a pause, for a tick of 4 ms (CONFIG_HZ=250, Linux's default), and no program without privileges can forbid it.
using Milliseconds = std::chrono::duration<double, std::milli>;
constexpr Milliseconds kPauseReserve{0.3}, kPauseReserveWhenBusy{4};
constexpr Milliseconds kSecondThreadFrom{20};           // a limit so long is not spent on waiting for a thread that the kernel took from its processor
constexpr double kMostReserve = 0.6;                    // of the limit
constexpr Milliseconds kSlowStop{0.5};                  // stopping takes 0.05 ms where nothing else wants the processors
constexpr int kMostPauses = 5;                               // where the pause ended before anything could be found in what was copied
constexpr std::chrono::milliseconds kBetweenPauses{20};

/// Processors of this machine that nobody else wants at this moment; all where the kernel does not tell.
unsigned IdleProcessors() {
  const unsigned all = std::max(1u, std::thread::hardware_concurrency());
  const auto text = ReadProcFile("/proc/loadavg");  // "0.20 0.18 0.12 1/80 11206": the fourth is of all tasks those that run or could
  const auto slash = text ? text->find('/') : std::string::npos;
  if (slash == std::string::npos) return all;
  const auto space = text->rfind(' ', slash);
  const unsigned long running = std::strtoul(text->c_str() + (space == std::string::npos ? 0 : space), nullptr, 10);
  const unsigned long others = running > 0 ? running - 1 : 0;
  return others >= all ? 0 : all - static_cast<unsigned>(others);
}

bool IsDeleted(const std::string& path) { return path.ends_with(" (deleted)"); }

bool IsDevice(const std::string& path) { return path.starts_with("/dev/") && !path.starts_with("/dev/zero") && !path.starts_with("/dev/shm/"); }

constexpr std::uint64_t kSharedFileBytes = 64u << 20;  // of files that are mapped as shared, that are copied

struct SharedFileCopy final : Backing {
  std::vector<std::byte> bytes;
};

/// A stretch of target memory to be copied, and where to.
struct CopyPiece {
  AddressRange range;
  std::byte* host;
  bool first;      // data of modules and the main stack: first, in case the pause gets too long
  bool is_sparse;  // only the pages that exist are copied
};

/// What one thread could not copy.
struct CopyLosses {
  std::vector<MissingRange> ranges;
  bool first = false;  // something of a piece that comes first, for want of time
};

class Capture {
 public:
  Capture(std::int32_t pid, const OpenOptions& options, ProgressSink& progress) : pid_(pid), options_(options), progress_(progress) {}

  Result<Process> Run(bool stop, const CopiedHook& copied) {
    if (auto ok = Check(stop); !ok) return tl::unexpected(ok.error());
    is_held_ = !stop;
    if (auto ok = Prepare(); !ok) return tl::unexpected(ok.error());
    if (!progress_.Update("copying the process", 0, estimate_)) return Fail(ErrorCode::kCancelled, "stopped before process {} was touched", pid_);
    if (auto ok = stop ? StopAndCopy() : CopyStopped(); !ok) return tl::unexpected(ok.error());
    if (copied) copied(draft_.process);
    if (!progress_.Update("copying the process", estimate_, estimate_)) return Fail(ErrorCode::kCancelled, "stopped after process {} was copied", pid_);
    draft_.backings.push_back(buffer_);
    return CompleteProcess(std::move(draft_), options_, progress_);
  }

 private:
  /// Is there such a process, has it memory, may it be read?
  Result<void> Check(bool stop) {
    if (pid_ <= 0) return Fail(ErrorCode::kNotPermitted, "no process {}: a process id is a positive number", pid_);
    auto status = ReadStatus(pid_);
    if (!status) return Fail(ErrorCode::kNotPermitted, "no process {}", pid_);
    if (status->tgid > 0 && status->tgid != pid_) {
      draft_.process.warnings.push_back(fmt::format("{} is a thread of process {}, which was read as a whole", pid_, status->tgid));
      pid_ = status->tgid;
      status = ReadStatus(pid_);
      if (!status) return Fail(ErrorCode::kNotPermitted, "no process {}", pid_);
    }
    if (pid_ == static_cast<std::int32_t>(getpid())) return Fail(ErrorCode::kNotAnalysable, "process {} is pygc itself", pid_);
    reader_ = pid_;
    if (status->state == 'Z' || status->state == 'X') {
      if (!FindLiveThread()) return Fail(ErrorCode::kNotAnalysable, "process {} ({}) is a zombie: it has ended, only its exit status is left", pid_, status->name);
    } else if (!status->has_memory) {
      return Fail(ErrorCode::kNotAnalysable, "process {} ({}) is a kernel thread: it has no memory of its own", pid_, status->name);
    }
    if (stop && status->tracer > 0) return Fail(ErrorCode::kNotPermitted, "{}", ExplainRefusal(pid_, *status));
    start_time_ = StartTime(pid_);
    const auto maps = ReadMaps();
    if (!maps) return Fail(ErrorCode::kNotPermitted, "cannot read the memory map of process {}: {}", pid_, ExplainRefusal(pid_, *status));
    if (maps->empty()) return Fail(ErrorCode::kNotAnalysable, "process {} ({}) has no memory: it is just ending", pid_, status->name);
    // One byte tells whether memory can be read at all: better now than with everything stopped.
    const auto readable = std::find_if(maps->begin(), maps->end(), [](const MapsLine& m) { return m.readable && m.writable && !IsDevice(m.path); });
    std::byte probe{};
    if (readable != maps->end() && CopyFrom(reader_, readable->range.begin, &probe, 1) != 1) {
      if (errno == EPERM) return Fail(ErrorCode::kNotPermitted, "cannot read the memory of process {}: {}", pid_, ExplainRefusal(pid_, *status));
      if (errno == ESRCH) return Fail(ErrorCode::kNotPermitted, "no process {}: it has just ended", pid_);
    }
    return {};
  }

  /// A process whose main thread has ended goes on in its others.
  bool FindLiveThread() {
    const auto tids = ListThreads(pid_);
    if (!tids) return false;
    for (const std::int32_t tid : *tids) {
      const auto text = ReadProcFile(fmt::format("/proc/{}/task/{}/status", pid_, tid));
      if (!text || ParseStatus(*text).state == 'Z') continue;
      reader_ = tid;
      return true;
    }
    return false;
  }

  [[nodiscard]] Result<std::vector<MapsLine>> ReadMaps() const {
    const auto text = ReadProcFile(fmt::format("/proc/{}/task/{}/maps", pid_, reader_));
    if (!text) return tl::unexpected(text.error());
    return ParseMaps(*text);
  }

  /// The program headers of the ELF file that is mapped at `begin`, read once.
  const std::optional<MemoryElf>& ElfAt(const MapsLine& line) {
    const auto [entry, is_new] = elf_.try_emplace({line.range.begin, line.identity.inode});
    if (!is_new) return entry->second;
    std::vector<std::byte> page(kPageSize);
    const std::uint64_t n = CopyFrom(reader_, line.range.begin, page.data(), page.size());
    Segment s;
    s.range = {line.range.begin, line.range.begin + n};
    s.bytes = page.data();
    entry->second = ReadMemoryElf(MemoryImage({s}, {}), line.range.begin);
    return entry->second;
  }

  /// What must be copied of each mapping: memory that the process may have written, and the first page of each module (its identity).
  /// The same choice that the kernel makes for a core with coredump_filter 0x33.
  std::vector<std::pair<AddressRange, const MapsLine*>> Wanted(const std::vector<MapsLine>& maps) {
    std::vector<std::pair<AddressRange, const MapsLine*>> out;
    std::map<std::string, const std::optional<MemoryElf>*> current;  // the module that each file was last seen to start
    for (const MapsLine& m : maps) {
      if (!m.readable || m.path.starts_with("[vvar") || m.path == "[vsyscall]" || IsDevice(m.path)) continue;
      const bool has_file = m.identity.inode != 0 && m.path.starts_with('/');
      if (!has_file) {
        out.emplace_back(m.range, &m);
      } else if (m.shared) {
        if (IsDeleted(m.path)) out.emplace_back(m.range, &m);  // shared anonymous memory, memfd
      } else if (m.writable) {
        out.emplace_back(m.range, &m);
      } else {
        if (m.file_offset == 0) current[m.path] = &ElfAt(m);
        const auto elf = current.find(m.path);
        if (elf == current.end()) continue;
        if (IsGone(m) || WasWritable(*elf->second, m)) {
          out.emplace_back(m.range, &m);
        } else if (m.file_offset == 0 && elf->second->has_value()) {
          out.emplace_back(AddressRange{m.range.begin, std::min(m.range.end, m.range.begin + kPageSize)}, &m);
        }
      }
    }
    return out;
  }

  /// Constants after relocation (RELRO): mapped writable, made read-only later.
  static bool WasWritable(const std::optional<MemoryElf>& elf, const MapsLine& m) {
    if (!elf) return false;
    return std::any_of(elf->program_headers.begin(), elf->program_headers.end(), [&](const elf::ProgramHeader& p) {
      const Address begin = static_cast<std::uint64_t>(elf->load_bias) + PageFloor(p.address);
      return p.type == PT_LOAD && (p.flags & PF_W) != 0 && m.range.begin < begin + (p.address % kPageSize) + p.memory_size && begin < m.range.end;
    });
  }

  /// True when a deleted file cannot be opened through the process either (that needs more rights than reading memory does).
  bool IsGone(const MapsLine& m) {
    if (!IsDeleted(m.path)) return false;
    const auto [entry, is_new] = gone_.try_emplace(m.identity.inode, false);
    if (is_new) entry->second = !Descriptor(open(MapFile(m).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)).valid();
    return entry->second;
  }

  [[nodiscard]] std::string MapFile(const MapsLine& m) const { return fmt::format("/proc/{}/map_files/{:x}-{:x}", pid_, m.range.begin, m.range.end); }

  /// Reserves and touches the buffer, for the layout as it is now: it changes little until the threads stand still.
  Result<void> Prepare() {
    draft_.process.kind = TargetKind::kLive;
    draft_.process.pid = pid_;
    if (const auto text = ReadProcFile(fmt::format("/proc/{}/cmdline", pid_))) TakeArguments(*text);
    if (const auto text = ReadProcFile(fmt::format("/proc/{}/auxv", pid_))) TakeAuxv(*text);
    NameRoot();
    const auto maps = ReadMaps();
    if (!maps) return tl::unexpected(maps.error());
    PageRuns pages(reader_);
    std::vector<AddressRange> ranges, runs;
    for (const auto& [range, line] : Wanted(*maps)) {
      ranges.push_back(range);
      for (const AddressRange& run : line->identity.inode == 0 ? pages.Find(range) : std::vector{range}) runs.push_back(run);
    }
    for (const AddressRange& run : runs) estimate_ += run.size();
    const std::uint64_t available = AvailableMemory(), limit = options_.limits.max_memory_bytes;
    const std::uint64_t usable = std::min(available - available / 16, limit == 0 ? ~std::uint64_t{0} : limit);
    if (estimate_ > usable) {
      const auto still = ReadStatus(reader_);  // of a process that is ending nothing can be said page by page
      if (!still || !still->has_memory || StartTime(pid_) != start_time_) return Fail(ErrorCode::kNotPermitted, "no process {}: it has just ended", pid_);
      return Fail(ErrorCode::kLimit,
                  "process {} has {} to copy and only {} of memory can be used{}: it was not stopped. Write a core to disk instead: gcore -o core {}, then pygc -c core.{}",
                  pid_, SizeText(estimate_), SizeText(usable), limit != 0 && limit < available ? " (--max-memory)" : "", pid_, pid_);
    }
    if (auto ok = buffer_->Reserve(ranges); !ok) return ok;
    if (is_held_) return {};  // it stands still already: each thread that copies makes room for its pieces
    std::uint64_t touched = 0;
    for (const AddressRange& run : runs) {
      for (Address at = run.begin; at < run.end; at += 64u << 20) {
        buffer_->Touch({at, std::min<Address>(run.end, at + (64u << 20))});
        touched += std::min<std::uint64_t>(run.end - at, 64u << 20);
        if (!progress_.Update("making room for the copy", touched, estimate_)) return Fail(ErrorCode::kCancelled, "stopped before process {} was touched", pid_);
      }
    }
    return {};
  }

  void TakeArguments(std::string_view text) {
    while (!text.empty()) {
      const std::size_t end = std::min(text.find('\0'), text.size());
      draft_.process.arguments.emplace_back(text.substr(0, end));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  }

  void TakeAuxv(std::string_view text) {
    ByteReader reader(std::as_bytes(std::span(text.data(), text.size())));
    while (const auto pair = reader.Read<std::array<std::uint64_t, 2>>()) {
      if ((*pair)[0] == AT_NULL) break;
      draft_.auxv.emplace_back((*pair)[0], (*pair)[1]);
    }
  }

  /// Paths of a process in a container are names in its own file system.
  void NameRoot() {
    const std::string directory = fmt::format("/proc/{}", pid_);
    const auto link = [](const std::string& path) {
      char text[4096];
      const ssize_t n = readlink(path.c_str(), text, sizeof text);
      return n < 0 ? std::string() : std::string(text, static_cast<std::size_t>(n));
    };
    const bool same_mounts = link(directory + "/ns/mnt") == link("/proc/self/ns/mnt");
    if (!same_mounts || link(directory + "/root") != "/") draft_.root = directory + "/root";
  }

  /// With a limit of the pause: again, after a while, where a pause was too short for what everything else is found by. Each pause keeps the limit.
  Result<void> StopAndCopy() {
    double total = 0;
    for (int tries = 1;; ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // who has just slept is not soon interrupted by others
      const unsigned idle = IdleProcessors();
      ThreadStopper stopper(pid_);
      if (auto ok = stopper.Stop(kStopTimeout); !ok) return ok;
      if (start_time_ != StartTime(pid_)) return Fail(ErrorCode::kNotPermitted, "process {} ended and another one took its number", pid_);
      draft_.process.threads = stopper.threads();
      if (reader_ != pid_ && !draft_.process.threads.empty()) reader_ = draft_.process.threads.front().tid;
      const unsigned threads = options_.max_pause_seconds <= 0 || options_.max_pause_seconds * 1000 >= kSecondThreadFrom.count() || idle > 1 ? 2 : 1;
      auto copied = Copy(Deadline(stopper.stopped_since(), idle < threads), threads);
      stopper.Resume();
      total += stopper.stopped_seconds();
      draft_.process.pause_seconds = std::max(draft_.process.pause_seconds, stopper.stopped_seconds());
      if (!copied) return copied;
      if (lost_first_ && tries < kMostPauses) {
        draft_.segments.clear();
        std::this_thread::sleep_for(kBetweenPauses);
        continue;
      }
      if (tries > 1) draft_.process.warnings.push_back(fmt::format("the process stood still {} times, {:.1f} ms together: --max-pause was too short to copy what its objects are found by", tries, total * 1000));
      Settle();
      return {};
    }
  }

  /// When copying has to end, so that the process runs again within --max-pause.
  [[nodiscard]] std::chrono::steady_clock::time_point Deadline(std::chrono::steady_clock::time_point stopped_since, bool is_busy) const {
    const Milliseconds limit(options_.max_pause_seconds * 1000);
    if (limit.count() <= 0) return std::chrono::steady_clock::time_point::max();
    is_busy = is_busy || std::chrono::steady_clock::now() - stopped_since > kSlowStop;
    const Milliseconds reserve = std::min(is_busy ? kPauseReserveWhenBusy : kPauseReserve, limit * kMostReserve);
    return stopped_since + std::chrono::duration_cast<std::chrono::steady_clock::duration>(limit - reserve);
  }

  Result<void> CopyStopped() {
    const auto tids = ListThreads(pid_);
    if (!tids) return Fail(ErrorCode::kNotPermitted, "no process {}: it has just ended", pid_);
    for (const std::int32_t tid : *tids) draft_.process.threads.push_back(ThreadFromProc(tid));
    std::stable_partition(draft_.process.threads.begin(), draft_.process.threads.end(), [this](const Thread& t) { return t.tid == pid_; });
    if (auto ok = Copy(std::chrono::steady_clock::time_point::max(), 2); !ok) return ok;
    Settle();
    return {};
  }

  /// /proc/PID/task/TID/syscall ends in the stack pointer and the program counter of a thread that does not run. The other registers stay unknown.
  [[nodiscard]] Thread ThreadFromProc(std::int32_t tid) const {
    Thread t;
    t.tid = tid;
    const auto text = ReadProcFile(fmt::format("/proc/{}/task/{}/syscall", pid_, tid));
    if (!text) return t;
    const std::size_t pc = text->rfind(" 0x");
    const std::size_t sp = pc == std::string::npos || pc == 0 ? std::string::npos : text->rfind(" 0x", pc - 1);
    if (sp == std::string::npos) return t;
    t.registers[19] = std::strtoull(text->c_str() + sp, nullptr, 16);
    t.registers[16] = std::strtoull(text->c_str() + pc, nullptr, 16);
    return t;
  }

  /// Reads the mappings again and copies. Everything here counts as pause.
  Result<void> Copy(std::chrono::steady_clock::time_point deadline, unsigned threads) {
    auto maps = ReadMaps();
    if (!maps || maps->empty()) return Fail(ErrorCode::kNotPermitted, "no process {}: it has just ended", pid_);
    maps_ = std::move(*maps);
    const auto wanted = Wanted(maps_);
    if (!PlaceSegments(wanted)) return Fail(ErrorCode::kLimit, "cannot get memory for the copy of process {}", pid_);
    std::vector<CopyPiece> pieces;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const auto& [range, line] = wanted[i];
      const bool has_file = line->identity.inode != 0, first = (has_file || line->path.starts_with('[')) && line->path != "[heap]";
      const std::uint64_t step = std::max(kCopyPiece, PageFloor(range.size() / kMaxPieces) + kPageSize);
      std::byte* host = const_cast<std::byte*>(draft_.segments[i].bytes);
      for (Address at = range.begin; at < range.end; at += std::min(step, range.end - at))
        pieces.push_back({{at, at + std::min(step, range.end - at)}, host + (at - range.begin), first, !has_file});
    }
    std::stable_partition(pieces.begin(), pieces.end(), [](const CopyPiece& p) { return p.first; });
    CopyPieces(pieces, deadline, threads);
    return {};
  }

  /// What can wait until the process runs again.
  void Settle() {
    TakeMissing();
    TakeSharedFiles();
    TakeMaps(maps_);
  }

  /// Files that the process maps as shared and may write to are not its own and of any size, but it can keep references there. They hold no objects, so they are
  /// read when it runs again: as much as there is room for, the small ones at least.
  void TakeSharedFiles() {
    std::uint64_t room = kSharedFileBytes;
    for (const MapsLine& m : maps_) {
      const bool is_file = m.identity.inode != 0 && m.path.starts_with('/') && !IsDeleted(m.path) && !IsDevice(m.path);
      if (!is_file || !m.shared || !m.readable || !m.writable) continue;
      std::uint64_t copied = 0;
      if (m.range.size() <= room) {
        const auto bytes = std::make_shared<SharedFileCopy>();
        bytes->bytes.resize(m.range.size());
        copied = CopyFrom(reader_, m.range.begin, bytes->bytes.data(), bytes->bytes.size());
        if (copied > 0) {
          Segment s;
          s.range = {m.range.begin, m.range.begin + copied};
          s.bytes = bytes->bytes.data();
          s.writable = true;
          s.source = SegmentSource::kLiveCopy;
          draft_.segments.push_back(s);
          draft_.backings.push_back(bytes);
        }
        room -= m.range.size();
      }
      if (copied < m.range.size())
        draft_.process.missing_ranges.push_back({{m.range.begin + copied, m.range.end}, MissingReason::kNotCopied, kNoModule, MissingUse::kUnknown, true});
    }
  }

  /// One segment for each wanted range; ranges that touch get memory that touches.
  bool PlaceSegments(const std::vector<std::pair<AddressRange, const MapsLine*>>& wanted) {
    for (std::size_t i = 0; i < wanted.size();) {
      std::size_t end = i + 1;
      while (end < wanted.size() && wanted[end].first.begin == wanted[end - 1].first.end) ++end;
      const AddressRange all = {wanted[i].first.begin, wanted[end - 1].first.end};
      std::byte* host = buffer_->Place(all);
      if (host == nullptr) return false;
      for (; i < end; ++i) {
        Segment s;
        s.range = wanted[i].first;
        s.bytes = host + (s.range.begin - all.begin);
        s.readable = wanted[i].second->readable;
        s.writable = wanted[i].second->writable;
        s.executable = wanted[i].second->executable;
        s.source = SegmentSource::kLiveCopy;
        draft_.segments.push_back(s);
      }
    }
    return true;
  }

  void CopyPieces(const std::vector<CopyPiece>& pieces, std::chrono::steady_clock::time_point deadline, unsigned threads) {
    std::atomic<std::size_t> next{0};
    CopyLosses losses[2];
    const auto work = [&](CopyLosses& lost) {
      PageRuns pages(reader_);
      for (std::size_t i = next++; i < pieces.size(); i = next++) CopyOne(pieces[i], pages, deadline, lost);
    };
    if (threads > 1 && estimate_ >= kParallelFrom && std::thread::hardware_concurrency() > 1) {
      std::thread second(work, std::ref(losses[1]));
      work(losses[0]);
      second.join();
    } else {
      work(losses[0]);
    }
    lost_ = std::move(losses[0].ranges);
    lost_.insert(lost_.end(), losses[1].ranges.begin(), losses[1].ranges.end());
    lost_first_ = losses[0].first || losses[1].first;
    const bool unreadable = std::any_of(lost_.begin(), lost_.end(), [](const MissingRange& m) { return m.reason == MissingReason::kUnreadable; });
    ended_ = unreadable && (!StartTime(pid_) || start_time_ != StartTime(pid_));
  }

  void CopyOne(const CopyPiece& piece, PageRuns& pages, std::chrono::steady_clock::time_point deadline, CopyLosses& lost) const {
    const auto too_late = [&](AddressRange rest) {
      lost.ranges.push_back({rest, MissingReason::kNotCopied, kNoModule, MissingUse::kUsed});
      lost.first = lost.first || piece.first;
    };
    if (std::chrono::steady_clock::now() > deadline) return too_late(piece.range);
    for (const AddressRange& run : piece.is_sparse ? pages.Find(piece.range) : std::vector{piece.range}) {
      if (is_held_) buffer_->Touch(run);
      for (Address at = run.begin; at < run.end;) {
        if (std::chrono::steady_clock::now() > deadline) return too_late({at, piece.range.end});
        const std::uint64_t size = std::min(kChunk, run.end - at), n = CopyFrom(reader_, at, piece.host + (at - piece.range.begin), size);
        const bool ended = n == 0 && errno == ESRCH;
        at += n;
        if (n == size) continue;
        const Address next = ended ? piece.range.end : std::min(run.end, PageFloor(at) + kPageSize);  // a page beyond the end of its file, or the process is gone
        lost.ranges.push_back({{at, next}, MissingReason::kUnreadable, kNoModule});
        if (ended) return;
        at = next;
      }
    }
  }

  /// Takes lost ranges out of the segments and says why they are lost.
  void TakeMissing() {
    std::vector<MissingRange>& lost = lost_;
    if (lost.empty()) return;
    std::sort(lost.begin(), lost.end(), [](const MissingRange& a, const MissingRange& b) { return a.range.begin < b.range.begin; });
    std::vector<Segment> kept;
    std::uint64_t not_copied = 0, unreadable = 0;
    auto next = lost.begin();
    for (const Segment& s : draft_.segments) {
      Address at = s.range.begin;
      const auto keep = [&](Address end) {
        if (at >= end) return;
        Segment piece = s;
        piece.range = {at, end};
        piece.bytes = s.bytes + (at - s.range.begin);
        kept.push_back(piece);
      };
      for (; next != lost.end() && next->range.begin < s.range.end; ++next) {
        keep(next->range.begin);
        at = next->range.end;
        (next->reason == MissingReason::kNotCopied ? not_copied : unreadable) += next->range.size();
      }
      keep(s.range.end);
    }
    draft_.segments = std::move(kept);
    Process& process = draft_.process;
    process.missing_ranges.insert(process.missing_ranges.end(), lost.begin(), lost.end());
    if (not_copied != 0) {
      process.missing.push_back({SizeText(not_copied) + " of memory", fmt::format("not copied: the pause reached --max-pause ({:.0f} ms)", options_.max_pause_seconds * 1000),
                                 fmt::format("allow a longer pause{}, or take a core: gcore {}", PauseForAll(kept, not_copied), pid_)});
    }
    if (unreadable == 0) return;
    if (ended_) {
      process.missing.push_back({SizeText(unreadable) + " of memory", "the process ended while it was copied", ""});
    } else {
      process.warnings.push_back(SizeText(unreadable) + " of mapped memory cannot be read by anyone (beyond the end of a file, or special)");
    }
  }

  /// ", about 40 ms", where enough was copied to tell: as it went, and a quarter more.
  [[nodiscard]] std::string PauseForAll(const std::vector<Segment>& kept, std::uint64_t not_copied) const {
    std::uint64_t copied = 0;
    for (const Segment& s : kept) copied += s.range.size();
    if (copied < kChunk) return {};
    const double all = draft_.process.pause_seconds * (static_cast<double>(copied + not_copied) / static_cast<double>(copied));
    return fmt::format(", about {:.0f} ms", all * 1250 + 1);
  }

  void TakeMaps(const std::vector<MapsLine>& maps) {
    for (const MapsLine& m : maps) {
      draft_.regions.push_back({m.range, true, m.readable, m.writable, m.executable});
      if (m.identity.inode == 0 || !m.path.starts_with('/')) continue;
      FileMapping f;
      f.range = m.range;
      f.file_offset = m.file_offset;
      f.path = m.path;
      f.access_known = true;
      f.readable = m.readable;
      f.writable = m.writable;
      f.executable = m.executable;
      f.identity = m.identity;
      f.direct_path = MapFile(m);
      draft_.mappings.push_back(std::move(f));
    }
  }

  std::int32_t pid_;
  std::int32_t reader_ = 0;  // the thread through which memory is read
  const OpenOptions& options_;
  ProgressSink& progress_;
  ProcessDraft draft_;
  std::shared_ptr<CopyBuffer> buffer_ = std::make_shared<CopyBuffer>();
  std::optional<std::uint64_t> start_time_;
  bool is_held_ = false;        // by a debugger, which stopped it
  std::uint64_t estimate_ = 0;  // bytes
  std::vector<MapsLine> maps_;  // as of the pause
  std::vector<MissingRange> lost_;
  bool lost_first_ = false;     // something of what comes first, for want of time
  bool ended_ = false;          // while it was copied
  std::map<std::pair<Address, std::uint64_t>, std::optional<MemoryElf>> elf_;  // by start and inode
  std::map<std::uint64_t, bool> gone_;  // by inode
};

}  // namespace

Result<Process> CaptureLive(std::int32_t pid, const OpenOptions& options, ProgressSink& progress) { return Capture(pid, options, progress).Run(true, {}); }

Result<Process> CaptureStopped(std::int32_t pid, const OpenOptions& options, ProgressSink& progress, const CopiedHook& copied) { return Capture(pid, options, progress).Run(false, copied); }

}  // namespace pygc::target
