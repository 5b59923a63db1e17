// An ELF core of x86-64 Linux as a Process: mapped once, never copied, nothing filled with zeroes.
// The kernel (fs/binfmt_elf.c, fs/coredump.c) and gcore differ in what they leave out; both ways are read the same.
#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "core/base/byte_reader.h"
#include "core/base/mapped_file.h"
#include "core/base/parallel.h"
#include "core/elf/core_notes.h"
#include "core/elf/decompress.h"
#include "core/elf/file_kind.h"
#include "core/target/open.h"
#include "core/target/proc_files.h"
#include "core/target/process_draft.h"
#include "core/target/read_ahead.h"
#include "core/target/sparse_writer.h"

namespace pygc::target {
namespace {

constexpr std::uint64_t kMostBytes = 1ull << 48;  // of memory that a process can have

class CoreBacking final : public Backing {
 public:
  explicit CoreBacking(std::shared_ptr<const elf::ElfFile> core) : core_(std::move(core)), ahead_(core_->bytes(), IsSparse(core_->path()) ? 0 : AvailableMemory() / 2) {}

 private:
  // Much of it was never written: reading ahead would fill the cache with zeroes.
  static bool IsSparse(const std::string& path) {
    struct stat s {};
    return stat(path.c_str(), &s) != 0 || static_cast<std::uint64_t>(s.st_blocks) * 512 < static_cast<std::uint64_t>(s.st_size) / 2;
  }

  std::shared_ptr<const elf::ElfFile> core_;
  ReadAhead ahead_;
};

/// What was wrong with a compressed core.
struct Packing {
  std::string damage;  // empty: nothing
  bool wrong = false;  // bytes that came out may be others than were packed
};

/// True for what the kernel makes when it is read: it has no size, and no bytes to map.
bool IsOfKernel(const std::string& path) {
  char resolved[PATH_MAX];
  if (realpath(path.c_str(), resolved) == nullptr) return false;
  const std::string_view real = resolved;
  return real.starts_with("/proc/") || real.starts_with("/sys/");
}

tl::unexpected<Error> NotACore(const std::string& path, std::span<const std::byte> bytes, std::uint16_t type) {
  const std::string kind = elf::DescribeFile(bytes);
  if (bytes.empty() && IsOfKernel(path)) return Fail(ErrorCode::kNotAnalysable, "{}: a file that the kernel makes as it is read, not an ELF core: a process is opened with -p PID", path);
  if (type == ET_EXEC || type == ET_DYN) return Fail(ErrorCode::kNotAnalysable, "{}: {}: a program, not a core (a program goes with -e)", path, kind);
  if (kind == "a minidump") return Fail(ErrorCode::kNotAnalysable, "{}: a minidump, not an ELF core: open it with lldb and use pygc there", path);
  if (type == ET_CORE) return Fail(ErrorCode::kNotAnalysable, "{}: {}; pygc reads cores of x86-64 processes (64-bit) only", path, kind);
  return Fail(ErrorCode::kNotAnalysable, "{}: {}, not an ELF core", path, kind);
}

/// Why a file that begins so is no core of x86-64; nullopt: nothing in its first bytes speaks against it.
std::optional<Error> RefusalOf(const std::string& path, std::span<const std::byte> first_bytes) {
  const std::optional<elf::ElfIdentity> identity = elf::ElfIdentityOf(first_bytes);
  if (!identity) return NotACore(path, first_bytes, ET_NONE).value();
  if (!identity->is_64_bit || !identity->is_little_endian || identity->type != ET_CORE) return NotACore(path, first_bytes, identity->type).value();
  return identity->machine == EM_X86_64 ? std::nullopt : std::optional(NotACore(path, first_bytes, ET_CORE).value());
}

Result<std::shared_ptr<const MappedFile>> Unpack(const MappedFile& packed, const OpenOptions& options, ProgressSink& progress, ProcessDraft& draft,
                                                 Packing& packing) {
  constexpr std::size_t kHeadBytes = 512;
  auto temporary = OpenTemporary();
  if (!temporary) return tl::unexpected(temporary.error());
  SparseWriter writer(temporary->descriptor.get(), ThreadCount(options.limits.threads, 2) > 1);
  std::uint64_t appended = 0, reported = 0;
  bool disk_full = false;
  std::vector<std::byte> head;  // what tells what the file is, before all of it is written
  std::optional<Error> refusal;
  const auto unpacked = elf::Decompress(packed.bytes(), options.limits.max_decompressed_bytes, options.limits.max_decompression_ratio,
                                        [&](std::span<const std::byte> piece) {
                                          if (head.size() < kHeadBytes) {
                                            head.insert(head.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(std::min(piece.size(), kHeadBytes - head.size())));
                                            if (head.size() == kHeadBytes) refusal = RefusalOf(packed.path(), head);
                                            if (refusal) return false;
                                          }
                                          disk_full = !writer.Append(piece);
                                          appended += piece.size();
                                          if (disk_full) return false;
                                          if (appended - reported < (64u << 20)) return true;
                                          reported = appended;
                                          return progress.Update("unpacking the core", appended, 0);
                                        });
  disk_full = !writer.Finish() || disk_full;
  if (refusal) return tl::unexpected(*std::move(refusal));
  if (disk_full) {
    return Fail(ErrorCode::kHost, "{}: unpacking stopped at {}: {} (set TMPDIR to a directory with more space)", packed.path(), SizeText(appended),
                std::strerror(writer.error()));
  }
  if (!unpacked) return tl::unexpected(Error{unpacked.error().code, packed.path() + ": " + unpacked.error().message, std::nullopt});
  if (ftruncate(temporary->descriptor.get(), static_cast<off_t>(unpacked->bytes)) != 0) return Fail(ErrorCode::kHost, "{}: {}", packed.path(), std::strerror(errno));
  if (unpacked->bytes == 0) return Fail(ErrorCode::kNotAnalysable, "{}: nothing comes out of the packed core: {}; copy the file again, whole", packed.path(), unpacked->damage);
  if (!unpacked->remark.empty()) draft.process.warnings.push_back(fmt::format("{}: {}", packed.path(), unpacked->remark));
  if (unpacked->truncated) packing = {unpacked->damage, unpacked->wrong};
  return MappedFile::FromDescriptor(temporary->descriptor.get(), packed.path(), 0);
}

constexpr std::size_t kHeadBytes = 64 * 1024;  // enough to tell what a stream is

/// A core that is piped in: a file as it is, anything else copied to a temporary file first, because a core is read in no order.
Result<std::shared_ptr<const MappedFile>> ReadStandardInput(ProgressSink& progress) {
  const std::string name = "standard input";
  struct stat s {};
  if (fstat(STDIN_FILENO, &s) != 0) return Fail(ErrorCode::kNotAnalysable, "{}: {}", name, std::strerror(errno));
  if (S_ISREG(s.st_mode)) return MappedFile::FromDescriptor(STDIN_FILENO, name, 0);
  if (isatty(STDIN_FILENO)) return Fail(ErrorCode::kUsage, "-c - reads a core from standard input, which is a terminal: for example zcat core.gz | pygc -c - leaks");
  const Result<UnnamedFile> temporary = OpenTemporary();
  if (!temporary) return tl::unexpected(temporary.error());
  std::vector<std::byte> block(1u << 20), head;
  std::uint64_t size = 0;
  for (;;) {
    const ssize_t n = read(STDIN_FILENO, block.data(), block.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EBADF) return Fail(ErrorCode::kNotAnalysable, "{} is closed, so there is no core: zcat core.gz | pygc -c - leaks", name);
    if (n < 0) return Fail(ErrorCode::kNotAnalysable, "{}: reading stopped at {}: {}", name, SizeText(size), std::strerror(errno));
    if (n == 0) break;
    if (!WriteSparse(temporary->descriptor.get(), std::span(block).first(static_cast<std::size_t>(n)), size)) {
      return Fail(ErrorCode::kHost, "{}: copying stopped at {}: {} (set TMPDIR to a directory with more space)", name, SizeText(size), std::strerror(errno));
    }
    size += static_cast<std::uint64_t>(n);
    if (head.size() < kHeadBytes) {
      head.insert(head.end(), block.begin(), block.begin() + n);
      if (head.size() >= kHeadBytes && !elf::ElfIdentityOf(head) && elf::CompressionOf(head) == elf::Compression::kNone) break;  // no core: the caller says what it is
    }
    if (!progress.Update("reading the core", size, 0)) return Fail(ErrorCode::kCancelled, "{}: reading was stopped", name);
  }
  if (ftruncate(temporary->descriptor.get(), static_cast<off_t>(size)) != 0) return Fail(ErrorCode::kHost, "{}: {}", name, std::strerror(errno));
  return MappedFile::FromDescriptor(temporary->descriptor.get(), name, 0);
}

/// Whether every user of this machine may open the file: it and all folders that lead to it.
bool IsOpenToEverybody(const std::string& path) {
  struct stat s {};
  char resolved[PATH_MAX];
  if (realpath(path.c_str(), resolved) == nullptr || stat(resolved, &s) != 0 || (s.st_mode & S_IROTH) == 0) return false;
  std::string folder = resolved;
  do {
    folder.resize(folder.rfind('/'));
    if (stat(folder.empty() ? "/" : folder.c_str(), &s) != 0 || (s.st_mode & S_IXOTH) == 0) return false;
  } while (!folder.empty());
  return true;
}

/// Opens, unpacks and checks: what comes back is a 64-bit little-endian x86-64 ET_CORE with memory in it.
Result<std::shared_ptr<const elf::ElfFile>> OpenElfCore(const std::string& path, const OpenOptions& options, ProgressSink& progress, ProcessDraft& draft,
                                                        Packing& packing) {
  auto file = path == "-" ? ReadStandardInput(progress) : MappedFile::Open(path, 0);
  if (!file) {
    Error error = file.error();
    if (error.code == ErrorCode::kNotFound) error.code = ErrorCode::kNotAnalysable;
    return tl::unexpected(error);
  }
  if (elf::CompressionOf((*file)->bytes()) != elf::Compression::kNone) {
    file = Unpack(**file, options, progress, draft, packing);
    if (!file) return tl::unexpected(file.error());
  }
  const auto bytes = (*file)->bytes();
  auto core = elf::ElfFile::FromFile(*file, options.limits);
  if (!core) {
    if (core.error().code != ErrorCode::kNotAnalysable) return core;
    const std::optional<elf::ElfIdentity> identity = elf::ElfIdentityOf(bytes);
    if (identity && identity->is_64_bit && identity->is_little_endian && identity->type == ET_CORE && bytes.size() >= sizeof(Elf64_Ehdr)) return core;  // damaged: it says how
    const bool foreign = identity && (!identity->is_64_bit || !identity->is_little_endian);
    return NotACore(path, bytes, foreign ? identity->type : ET_NONE);
  }
  if ((*core)->type() != ET_CORE) return NotACore(path, bytes, (*core)->type());
  if ((*core)->machine() != EM_X86_64) return NotACore(path, bytes, ET_CORE);
  return core;
}

constexpr Address kUserEnd = std::uint64_t{1} << 56;           // x86-64 with five levels of pages; what lies above is the kernel's (vsyscall)
constexpr Address kMostAddress = ~std::uint64_t{0xFFFF};      // a step beyond the end of any segment is an address
constexpr std::uint64_t kMostTimesShown = 4;  // segments that stand twice in a core are only odd

/// Segments of the PT_LOADs, and what they leave out.
void ReadSegments(const elf::ElfFile& core, ProcessDraft& draft) {
  Process& process = draft.process;
  bool odd = false;
  // No writer lets two addresses show the same bytes of the file. Headers made by hand could turn a small file into any amount of memory to look through.
  const std::uint64_t most_bytes = kMostTimesShown * core.bytes().size();
  std::uint64_t shown_bytes = 0;
  std::size_t left_out = 0;
  for (const elf::ProgramHeader& p : core.program_headers()) {
    process.core_bytes_expected = std::max(process.core_bytes_expected, p.file_offset + p.wanted_file_size);
    if (p.type != PT_LOAD || p.memory_size == 0 || p.address + p.memory_size > kMostAddress) continue;
    odd |= p.wanted_file_size > kMostBytes || p.memory_size > kMostBytes;
    const AddressRange range = {p.address, p.address + p.memory_size};
    draft.regions.push_back({range, true, (p.flags & PF_R) != 0, (p.flags & PF_W) != 0, (p.flags & PF_X) != 0});
    const bool too_much = p.file_size > most_bytes - shown_bytes;
    if (too_much) {
      ++left_out;
      process.missing_ranges.push_back({{p.address, p.address + p.file_size}, MissingReason::kUnreadable, kNoModule, MissingUse::kUsed});
    } else if (p.file_size != 0) {
      shown_bytes += p.file_size;
      Segment s;
      s.range = {p.address, p.address + p.file_size};
      s.bytes = core.bytes().data() + p.file_offset;
      // What has content although nobody may access it was written to, and then closed: mprotect(PROT_NONE).
      s.readable = (p.flags & PF_R) != 0 || p.flags == 0;
      s.writable = ((p.flags & PF_W) != 0 || p.flags == 0) && p.address < kUserEnd;
      s.executable = (p.flags & PF_X) != 0;
      draft.segments.push_back(s);
    }
    const Address wanted_end = p.address + p.wanted_file_size;
    if (p.file_size < p.wanted_file_size) {
      process.missing_ranges.push_back({{p.address + p.file_size, wanted_end}, MissingReason::kTruncated, kNoModule, MissingUse::kUsed});
    }
    // Memory without access rights is not missing: nobody could read it in the process either.
    if (wanted_end < range.end && p.flags != 0) process.missing_ranges.push_back({{wanted_end, range.end}, MissingReason::kNotDumped, kNoModule, MissingUse::kUnknown, (p.flags & PF_W) != 0});
  }
  process.core_bytes_present = std::min<std::uint64_t>(process.core_bytes_expected, core.bytes().size());
  if (left_out != 0) {
    process.missing.push_back({fmt::format("{} segments of the core", left_out), fmt::format("the headers show the bytes of the file more than {} times over: damaged, or made by hand", kMostTimesShown),
                               "take a new core"});
  }
  if (odd) process.warnings.push_back("the core has program headers with impossible sizes; it is damaged or was made by hand");
}

/// A core that ends early, and a compressed one that is not what was packed.
void NoteTruncation(const elf::ElfFile& core, const Packing& packing, ProcessDraft& draft) {
  Process& process = draft.process;
  std::uint64_t lost = 0;
  for (const MissingRange& m : process.missing_ranges) lost += m.reason == MissingReason::kTruncated ? m.range.size() : 0;
  process.may_be_wrong = packing.wrong;
  const std::string packed = packing.damage.empty() ? "" : "the compressed file: " + packing.damage;
  if (lost == 0 && !core.program_headers_cut()) {
    if (packed.empty()) return;
    process.missing.push_back({packing.wrong ? "any part of the memory" : "the end of the compressed core",
                               packing.wrong ? packed + ": any figure may be wrong" : packed, "copy the file again, or take a new core"});
    return;
  }
  MissingNote note;
  const bool possible = process.core_bytes_expected <= kMostBytes;
  note.what = lost == 0 ? "part of the list of segments" : possible ? SizeText(lost) + " of memory" : "the end of the memory";
  note.reason = possible ? fmt::format("core is truncated: {} of {} present", SizeText(process.core_bytes_present), SizeText(process.core_bytes_expected))
                         : fmt::format("the core has {}, and its headers ask for more than any file holds", SizeText(process.core_bytes_present));
  if (core.program_headers_cut()) note.reason += "; the file ends inside its own table of segments";
  if (!packed.empty()) note.reason += "; " + packed + (packing.wrong ? ", so any figure may be wrong" : "");
  note.remedy = packed.empty() ? "take it again without a limit: ulimit -c unlimited; systemd-coredump: ProcessSizeMax and ExternalSizeMax; look for a full disk"
                               : "copy the file again, or take a new core";
  process.missing.push_back(std::move(note));
}

void WarnAboutOverlaps(ProcessDraft& draft) {
  std::vector<AddressRange> sorted;
  for (const MappedRegion& r : draft.regions) sorted.push_back(r.range);
  std::sort(sorted.begin(), sorted.end(), [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
  std::size_t overlaps = 0;
  for (std::size_t i = 1; i < sorted.size(); ++i) overlaps += sorted[i].begin < sorted[i - 1].end;
  if (overlaps != 0) {
    draft.process.warnings.push_back(fmt::format("{} segments of the core overlap others; where they do, the one that stands first in the file is used", overlaps));
  }
}

/// Writable memory that a complete core leaves out was never touched (it reads as zero) or was excluded by the program (MADV_DONTDUMP): the core does
/// not say which, so it stays unreadable, and only something that needs it becomes partial.
void WarnAboutLeftOut(const elf::ElfFile& core, ProcessDraft& draft) {
  std::uint64_t bytes = 0;
  for (const elf::ProgramHeader& p : core.program_headers()) {
    if (p.type == PT_LOAD && (p.flags & PF_W) != 0 && p.wanted_file_size < p.memory_size) bytes += p.memory_size - p.wanted_file_size;
  }
  if (bytes != 0) draft.process.warnings.push_back(fmt::format("{} of writable memory is not in the core: never touched, or excluded by coredump_filter or MADV_DONTDUMP", SizeText(bytes)));
}

/// True where nothing was dumped that the process could write to: coredump_filter left it out, and with it every object.
bool HasNoWritableMemory(const elf::ElfFile& core) {
  return !core.program_headers_cut() && std::none_of(core.program_headers().begin(), core.program_headers().end(), [](const elf::ProgramHeader& p) {
    return p.type == PT_LOAD && (p.flags & PF_W) != 0 && p.wanted_file_size != 0;
  });
}

/// Threads' stacks that were not dumped. A stack pointer says that there was something: in a mapping without content, or in none that the core tells of,
/// unless the stack begins right above it and overflowed.
void NoteMissingStacks(ProcessDraft& draft) {
  constexpr std::uint64_t kMostOverflow = 1u << 20, kStackPage = 4096;
  Process& process = draft.process;
  std::size_t missing = 0;
  for (const Thread& t : process.threads) {
    const Address at = t.stack_pointer();
    const auto is_near = [at](const AddressRange& r) { return r.end > at && r.begin <= at + kMostOverflow; };
    if (!t.has_registers || at == 0 || at >= kUserEnd || std::any_of(draft.segments.begin(), draft.segments.end(), [&](const Segment& s) { return is_near(s.range); }) ||
        std::any_of(process.missing_ranges.begin(), process.missing_ranges.end(), [&](const MissingRange& m) { return is_near(m.range); })) {
      continue;
    }
    const Address page = at & ~(kStackPage - 1);
    process.missing_ranges.push_back({{page, page + kStackPage}, MissingReason::kNotDumped, kNoModule, MissingUse::kStack, true});
  }
  for (const Thread& t : process.threads) {
    const auto in = std::find_if(process.missing_ranges.begin(), process.missing_ranges.end(),
                                 [&](const MissingRange& m) { return m.reason == MissingReason::kNotDumped && m.range.Contains(t.stack_pointer()); });
    if (in == process.missing_ranges.end()) continue;
    in->use = MissingUse::kStack;
    ++missing;
  }
  if (missing == 0) return;
  process.missing.push_back({missing == process.threads.size() ? missing == 1 ? std::string("the thread's stack") : std::string("all stacks")
                                                               : fmt::format("the stacks of {} of {} threads", missing, process.threads.size()),
                             "not in the core, although in use: excluded by MADV_DONTDUMP or coredump_filter, or taken out later. What they hold is not known",
                             "take a core with coredump_filter 0x37: echo 0x37 > /proc/PID/coredump_filter"});
}

/// gcore (gdb 13 to 16) gives up on a mapping at its first unreadable page and leaves zeroes for the rest, without a trace in the file. The guard pages
/// that glibc 2.42 puts inside thread stacks on Linux 6.13 do that to every thread but the main one. (A thread that is starting has written nothing yet, and one that is
/// ending has given its pages back: start_thread(), nptl/pthread_create.c, advise_stack_range().) A running thread's stack is never zero where its
/// stack pointer points, so such a segment is taken out rather than believed.
void DropUnreadStacks(ProcessDraft& draft) {
  constexpr std::uint64_t kLook = 512;
  Process& process = draft.process;
  std::size_t dropped = 0;
  std::vector<std::size_t> order(draft.segments.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return draft.segments[a].range.begin < draft.segments[b].range.begin; });
  for (const Thread& t : process.threads) {
    const Address sp = t.stack_pointer();
    const auto after = std::partition_point(order.begin(), order.end(), [&](std::size_t i) { return draft.segments[i].range.begin <= sp; });
    if (after == order.begin()) continue;
    Segment& s = draft.segments[*(after - 1)];
    if (s.bytes == nullptr || !s.range.Contains(sp, kLook) || !IsZero({s.bytes + (sp - s.range.begin), kLook})) continue;
    process.missing_ranges.push_back({s.range, MissingReason::kUnreadable, kNoModule});
    s.bytes = nullptr;
    ++dropped;
  }
  if (dropped == 0) return;
  process.thread_gaps.push_back({dropped == 1 ? "the stack of 1 thread" : fmt::format("the stacks of {} threads", dropped),
                                 "zeroes in the core: threads that were starting or ending, or gcore could not read them (guard pages inside the mapping)",
                                 "a core by the kernel or pygc -p has those of running threads"});
}

// Linux: siginfo_layout(), kernel/signal.c: which members are filled follows from the signal and si_code. nullopt: the core has no NT_SIGINFO.
std::optional<SignalInfo> SignalInfoOf(const elf::CoreNotes& notes) {
  constexpr std::int32_t kKernel = 0x80;                        // SI_KERNEL: of SIGSEGV a general protection fault, for which the processor tells no address
  constexpr std::int32_t kUser = 0, kQueue = -1, kThread = -6;  // SI_USER, SI_QUEUE, SI_TKILL
  constexpr std::int32_t kWithAddress[] = {4, 7, 8, 11};        // SIGILL, SIGBUS, SIGFPE, SIGSEGV
  if (notes.signal == 0) return std::nullopt;
  SignalInfo out;
  out.code = notes.signal_code;
  const bool has_address = std::find(std::begin(kWithAddress), std::end(kWithAddress), notes.signal) != std::end(kWithAddress);
  if (has_address && out.code > 0 && out.code != kKernel) out.fault = notes.fault_address;
  if (out.code == kUser || out.code == kQueue || out.code == kThread) out.sender = notes.sender;
  return out;
}

void TakeNotes(elf::CoreNotes notes, ProcessDraft& draft) {
  Process& process = draft.process;
  process.pid = notes.pid;
  for (const elf::CoreThread& t : notes.threads) {
    Thread thread;
    thread.tid = t.tid;
    thread.signal = t.signal;
    thread.registers = t.registers;
    thread.has_registers = true;
    process.threads.push_back(thread);
  }
  process.signal_info = SignalInfoOf(notes);
  if (process.pid == 0 && !process.threads.empty()) process.pid = process.threads.front().tid;
  // gcore lists the threads in its own order: the one that got the signal goes first.
  std::stable_partition(process.threads.begin(), process.threads.end(), [&](const Thread& t) { return t.signal != 0 || notes.signal == 0; });
  for (elf::CoreFileMapping& m : notes.files) {
    FileMapping mapping;
    mapping.range = m.range;
    mapping.file_offset = m.file_offset;
    mapping.path = std::move(m.path);
    draft.mappings.push_back(std::move(mapping));
  }
  draft.auxv = std::move(notes.auxv);
  for (const std::string& line : notes.damage) process.warnings.push_back("notes of the core: " + line);
  if (notes.threads.empty()) process.thread_gaps.push_back({"the threads and their registers", "the core has no NT_PRSTATUS note", "a core by the kernel or gcore has them"});
  if (!notes.has_files) process.warnings.push_back("the core has no NT_FILE note: modules were found through the dynamic linker's list and ELF headers");
}

}  // namespace

Result<UnnamedFile> OpenTemporary() {
  const char* wanted = std::getenv("TMPDIR");
  for (const char* directory : {wanted, "/var/tmp", "/tmp"}) {
    if (directory == nullptr || *directory == '\0') continue;
    Descriptor unnamed(open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (unnamed.valid()) return UnnamedFile{std::move(unnamed), directory};
    std::string name = std::string(directory) + "/pygc-XXXXXX";
    Descriptor named(mkostemp(name.data(), O_CLOEXEC));
    if (!named.valid()) continue;
    unlink(name.c_str());
    return UnnamedFile{std::move(named), directory};
  }
  return Fail(ErrorCode::kHost, "cannot make a temporary file to unpack into: {} (set TMPDIR)", std::strerror(errno));
}

Result<Process> OpenCore(const std::string& path, const OpenOptions& options, ProgressSink& progress) {
  ProcessDraft draft;
  draft.process.kind = TargetKind::kCore;
  draft.process.path = path;
  if (!progress.Update("opening the core", 0, 0)) return Fail(ErrorCode::kCancelled, "{}: opening was stopped", path);
  Packing packing;
  auto core = OpenElfCore(path, options, progress, draft, packing);
  if (!core) return tl::unexpected(core.error());
  elf::CoreNotes notes = elf::ReadCoreNotes(**core, options.limits);
  if (notes.is_kernel_dump) {
    return Fail(ErrorCode::kNotAnalysable, "{}: a dump of a machine's physical memory (QEMU or kdump), not a core of a process; see the crash tool", path);
  }
  if ((*core)->program_headers().empty() && (*core)->program_headers_cut()) {
    return Fail(ErrorCode::kNotAnalysable, "{}: a core whose table of segments is not in the file: the file has only {} (ulimit -c, full disk, a damaged header)", path,
                SizeText((*core)->bytes().size()));
  }
  ReadSegments(**core, draft);
  NoteTruncation(**core, packing, draft);
  if (draft.regions.empty() && !(*core)->program_headers_cut()) return Fail(ErrorCode::kNotAnalysable, "{}: an ELF core without memory segments", path);
  if (draft.segments.empty() && draft.process.core_bytes_present < draft.process.core_bytes_expected) {
    return Fail(ErrorCode::kNotAnalysable, "{}: a core that was cut before its first byte of memory: {} of {} present (ulimit -c, full disk)", path,
                SizeText((*core)->bytes().size()), SizeText(draft.process.core_bytes_expected));
  }
  if (HasNoWritableMemory(**core)) {
    return Fail(ErrorCode::kNotAnalysable,
                "{}: a core without the process's private memory, so without any object: coredump_filter lacked bit 0; set it before the next one: "
                "echo 0x37 > /proc/PID/coredump_filter",
                path);
  }
  if (path != "-" && IsOpenToEverybody(path)) {
    draft.process.warnings.push_back(fmt::format("{} can be read by every user of this machine, with all that the process had in memory: chmod o-r it", path));
  }
  WarnAboutOverlaps(draft);
  WarnAboutLeftOut(**core, draft);
  TakeNotes(std::move(notes), draft);
  NoteMissingStacks(draft);
  DropUnreadStacks(draft);
  draft.backings.push_back(std::make_shared<CoreBacking>(*core));
  return CompleteProcess(std::move(draft), options, progress);
}

}  // namespace pygc::target
