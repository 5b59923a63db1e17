#include "core/target/process_draft.h"

#include <elf.h>

#include <algorithm>
#include <filesystem>

#include "core/target/memory_elf.h"
#include "core/target/module_file.h"
#include "core/target/module_finder.h"

namespace pygc::target {
namespace {

constexpr Address kVsyscall = 0xFFFFFFFFFF600000;

/// Calls `f` for each part of `range` that is in none of `present`, which is sorted and disjoint.
template <typename Ranges, typename RangeOf, typename F>
void ForEachGap(AddressRange range, const Ranges& present, RangeOf range_of, F f) {
  auto next = std::partition_point(present.begin(), present.end(), [&](const auto& p) { return range_of(p).end <= range.begin; });
  Address at = range.begin;
  for (; at < range.end && next != present.end() && range_of(*next).begin < range.end; ++next) {
    if (range_of(*next).begin > at) f(AddressRange{at, range_of(*next).begin});
    at = std::max(at, range_of(*next).end);
  }
  if (at < range.end) f(AddressRange{at, range.end});
}

AddressRange RangeOfSegment(const Segment& s) { return s.range; }

/// Of ranges sorted by their begin: each without what those before it have.
std::vector<MissingRange> Disjoint(std::vector<MissingRange> sorted) {
  Address done = 0;
  for (MissingRange& m : sorted) {
    m.range.begin = std::max(m.range.begin, done);
    done = std::max(done, m.range.end);
  }
  std::erase_if(sorted, [](const MissingRange& m) { return m.range.empty(); });
  return sorted;
}

/// Modules by address: what part of memory belongs to which.
class ModuleMap {
 public:
  explicit ModuleMap(const std::vector<FoundModule>& modules) {
    for (std::uint32_t i = 0; i < modules.size(); ++i) {
      for (const AddressRange& r : modules[i].module.ranges) parts_.push_back({r, i});
    }
    std::sort(parts_.begin(), parts_.end(), [](const Part& a, const Part& b) { return a.range.begin < b.range.begin; });
    Address end = 0;  // contradicting modules: the lower one keeps what it has
    for (Part& p : parts_) {
      p.range.begin = std::max(p.range.begin, end);
      end = std::max(end, p.range.end);
    }
    std::erase_if(parts_, [](const Part& p) { return p.range.empty(); });
  }

  /// Calls f(part of range, module or kNoModule) in order.
  template <typename F>
  void Split(AddressRange range, F f) const {
    auto next = std::partition_point(parts_.begin(), parts_.end(), [&](const Part& p) { return p.range.end <= range.begin; });
    Address at = range.begin;
    for (; at < range.end && next != parts_.end() && next->range.begin < range.end; ++next) {
      if (next->range.begin > at) f(AddressRange{at, next->range.begin}, kNoModule);
      const AddressRange part = {std::max(at, next->range.begin), std::min(range.end, next->range.end)};
      f(part, next->module);
      at = part.end;
    }
    if (at < range.end) f(AddressRange{at, range.end}, kNoModule);
  }

 private:
  struct Part {
    AddressRange range;
    std::uint32_t module;
  };
  std::vector<Part> parts_;
};

class Completion {
 public:
  Completion(ProcessDraft draft, const OpenOptions& options, ProgressSink& progress)
      : draft_(std::move(draft)), options_(options), progress_(progress), raw_(std::move(draft_.segments), {}), regions_(draft_.regions) {}

  Result<Process> Run() {
    Process& process = draft_.process;
    WarnAboutFolders();
    found_ = FindModules(
        raw_, draft_, regions_, [this](const FileMapping& m) { return OpenUnchecked(m, draft_, options_); }, process.warnings);
    const FoundModule* main = MainModule();
    for (std::size_t i = 0; i < found_.size(); ++i) {
      if (!progress_.Update("opening module files", i, found_.size())) return Fail(ErrorCode::kCancelled, "stopped while opening module files");
      ChooseModuleFile(found_[i], &found_[i] == main, raw_, draft_, options_);
      ForgetFileHeaders(found_[i]);
      TakeSymbolsFromMemory(found_[i]);
    }
    const ModuleMap map(found_);
    std::vector<Segment> segments;
    for (const Segment& s : raw_.segments()) {
      map.Split(s.range, [&](AddressRange part, std::uint32_t module) {
        Segment piece = s;
        piece.range = part;
        piece.bytes = s.bytes + (part.begin - s.range.begin);
        piece.module = module;
        segments.push_back(piece);
      });
    }
    for (std::uint32_t i = 0; i < found_.size(); ++i) Fill(i, segments);
    process.memory = MemoryImage(std::move(segments), std::move(draft_.backings));
    NameExecutable(main);
    // The kernel puts both above the first frame. Linux: create_elf_tables(), fs/binfmt_elf.c.
    if (process.initial_stack == 0) process.initial_stack = draft_.Auxiliary(AT_RANDOM).value_or(draft_.Auxiliary(AT_EXECFN).value_or(0));
    FinishMissing(map);
    for (FoundModule& f : found_) process.modules.push_back(std::move(f.module));
    WarnAboutUnusedFiles();
    return std::move(process);
  }

 private:
  /// The main program: what AT_PHDR names, unless that is the dynamic linker, which was told to start a program (ld.so PROGRAM), or is not known.
  [[nodiscard]] const FoundModule* MainModule() const {
    const FoundModule* named = nullptr;
    if (const auto phdr = draft_.Auxiliary(AT_PHDR)) {
      for (const FoundModule& f : found_) {
        if (std::any_of(f.module.ranges.begin(), f.module.ranges.end(), [&](const AddressRange& r) { return r.Contains(*phdr); })) named = &f;
      }
    }
    if (named != nullptr && (!named->elf || IsProgram(raw_, *named->elf))) return named;
    const auto program = std::find_if(found_.begin(), found_.end(), [&](const FoundModule& f) { return f.elf && IsProgram(raw_, *f.elf); });
    return program != found_.end() ? &*program : named;
  }

  /// A core that holds everything (coredump_filter 0x37), or what gcore writes, has the symbol tables of modules whose files are gone.
  void TakeSymbolsFromMemory(FoundModule& f) const {
    Module& m = f.module;
    if (!m.is_elf || m.file != nullptr || !f.elf || !f.headers_in_memory) return;
    m.file = ElfFromMemory(raw_, *f.elf, m.path + " (in memory)", options_.limits);
    f.file_is_memory = m.file != nullptr;
    if (f.file_is_memory) m.match_detail += "; its dynamic symbols were read from memory";
  }

  /// Program headers of a file that turned out to be another one, or may be, say nothing of the module.
  static void ForgetFileHeaders(FoundModule& f) {
    Module& m = f.module;
    if (!f.elf || f.headers_in_memory || m.file != nullptr) return;
    m.ranges.clear();
    for (const FileMapping& mapping : f.mappings) m.ranges.push_back(mapping.range);
    Normalize(m.ranges);
    if (m.match == ModuleMatch::kUnverifiable) return;  // the file may be verified yet, by other means: then its place counts
    m.load_bias = 0;
    f.elf.reset();
  }

  /// The writable segment of the module that overlaps [range), or nullptr. RELRO is part of it, and is mapped read-only later.
  static const elf::ProgramHeader* WritableSegment(const FoundModule& f, AddressRange range) {
    if (!f.elf) return nullptr;
    const auto bias = static_cast<std::uint64_t>(f.elf->load_bias);
    const auto& all = f.elf->program_headers;
    const auto found = std::find_if(all.begin(), all.end(), [&](const elf::ProgramHeader& p) {
      return p.type == PT_LOAD && (p.flags & PF_W) != 0 && range.begin < PageCeiling(bias + p.address + p.memory_size) && bias + PageFloor(p.address) < range.end;
    });
    return found == all.end() ? nullptr : &*found;
  }

  /// True when the target may have written to [range): then only the target's own bytes will do. That a writable mapping was not dumped does not say that
  /// it was never written: MADV_DONTDUMP and coredump_filter leave it out too. Constants are mapped without the right to write.
  [[nodiscard]] bool MaybeWritten(const FoundModule& f, AddressRange range) const {
    if (f.elf && f.elf->extent.Contains(range.begin, range.size())) return WritableSegment(f, range) != nullptr;
    const MappedRegion* const region = regions_.Find(range.begin);
    return region == nullptr || region->writable || region->range.end < range.end;
  }

  /// True for what a file does not replace, right or not: a part that was mapped with the right to write.
  [[nodiscard]] bool IsData(const FoundModule& f, AddressRange range) const {
    const MappedRegion* const region = regions_.Find(range.begin);
    return WritableSegment(f, range) != nullptr || (region != nullptr && region->writable);
  }

  /// Adds the file's bytes where the target gave none.
  void Fill(std::uint32_t index, std::vector<Segment>& segments) {
    const FoundModule& f = found_[index];
    if (f.module.file == nullptr || f.file_is_memory) return;
    const auto file = f.module.file->bytes();
    for (const FileMapping& m : f.mappings) {
      if (m.file_offset >= file.size()) continue;
      const AddressRange backed = {m.range.begin, m.range.begin + std::min<std::uint64_t>(m.range.size(), file.size() - m.file_offset)};
      ForEachGap(backed, raw_.segments(), RangeOfSegment, [&](AddressRange gap) {
        if (MaybeWritten(f, gap)) return;
        Segment s;
        s.range = gap;
        s.bytes = file.data() + m.file_offset + (gap.begin - m.range.begin);
        AccessOf(f, m, gap, s);
        s.source = SegmentSource::kModuleFile;
        s.module = index;
        if (f.module.damage.empty()) {
          segments.push_back(s);
        } else {
          ForEachPageWithContent(s, [&](const Segment& piece) { segments.push_back(piece); });
        }
      });
    }
  }

  /// Permissions of a filled part: as mapped where that is known, else as the program headers ask for.
  static void AccessOf(const FoundModule& f, const FileMapping& m, AddressRange gap, Segment& s) {
    if (m.access_known) {
      s.readable = m.readable;
      s.writable = m.writable;
      s.executable = m.executable;
      return;
    }
    s.readable = true;
    s.writable = s.executable = false;
    if (!f.elf) return;
    for (const elf::ProgramHeader& p : f.elf->program_headers) {
      const Address begin = static_cast<std::uint64_t>(f.elf->load_bias) + PageFloor(p.address);
      const Address end = static_cast<std::uint64_t>(f.elf->load_bias) + p.address + p.memory_size;
      if (p.type != PT_LOAD || gap.begin < begin || gap.begin >= end) continue;
      s.writable = (p.flags & PF_W) != 0;
      s.executable = (p.flags & PF_X) != 0;
    }
  }

  void NameExecutable(const FoundModule* main) {
    Process& process = draft_.process;
    if (main != nullptr) process.executable = main->module.path;
    if (!process.executable.empty()) return;
    if (const auto name = draft_.Auxiliary(AT_EXECFN)) process.executable = process.memory.ReadCString(*name, 4096).value_or("");
  }

  /// What a core lacks in the middle of the memory that brk() gave: that has no holes, so a debugger left it out (MADV_DONTDUMP), which says nothing of it. It begins
  /// behind the main program, and nothing else is mapped near there. Linux: arch_randomize_brk(), arch/x86/kernel/process.c.
  [[nodiscard]] std::vector<AddressRange> HeapGaps() const {
    constexpr std::uint64_t kFarthest = std::uint64_t{1} << 30, kLongest = std::uint64_t{1} << 34, kLowest = std::uint64_t{1} << 32;
    std::vector<AddressRange> gaps;
    const FoundModule* const main = draft_.process.kind == TargetKind::kCore ? MainModule() : nullptr;
    if (main == nullptr || main->module.ranges.empty()) return gaps;
    const Address end = main->module.ranges.back().end;
    if (end < kLowest) return gaps;  // programs for fixed addresses: MAP_32BIT maps there, too
    Address before = 0;
    for (const Segment& s : draft_.process.memory.segments()) {
      if (s.range.begin < end) continue;
      if (s.module != kNoModule || !s.writable || s.range.begin - (before == 0 ? end : before) > (before == 0 ? kFarthest : kLongest)) break;
      if (before != 0 && before < s.range.begin) gaps.push_back({before, s.range.begin});
      before = s.range.end;
    }
    return gaps;
  }

  /// Missing ranges without what files filled, each with its module and cause; and one note for each module that lacks something.
  void FinishMissing(const ModuleMap& map) {
    Process& process = draft_.process;
    std::vector<MissingRange> wanted = std::move(process.missing_ranges);
    const auto by_begin = [](const MissingRange& a, const MissingRange& b) { return a.range.begin < b.range.begin; };
    std::stable_sort(wanted.begin(), wanted.end(), by_begin);
    const std::vector<MissingRange> told = Disjoint(wanted);  // what the target gave a reason for keeps it
    for (const FoundModule& f : found_) {
      if (!f.module.is_elf) continue;
      for (const FileMapping& m : f.mappings) {
        ForEachGap(m.range, told, [](const MissingRange& r) { return r.range; }, [&](AddressRange gap) { wanted.push_back({gap, MissingReason::kNotDumped, kNoModule}); });
      }
    }
    for (const AddressRange gap : HeapGaps()) wanted.push_back({gap, MissingReason::kNotDumped, kNoModule, MissingUse::kUnknown, true});
    std::stable_sort(wanted.begin(), wanted.end(), by_begin);
    std::vector<MissingRange> out;
    std::vector<std::uint64_t> lacking(found_.size());
    Address done = 0;
    for (const MissingRange& w : wanted) {
      const AddressRange range = {std::max(done, w.range.begin), w.range.end};
      if (range.empty() || range.begin >= kVsyscall) continue;
      done = range.end;
      ForEachGap(range, process.memory.segments(), RangeOfSegment, [&](AddressRange gap) {
        map.Split(gap, [&](AddressRange part, std::uint32_t module) {
          MissingReason reason = w.reason;
          const bool of_file = module != kNoModule && found_[module].module.is_elf && InFile(found_[module], part);
          if (of_file && reason == MissingReason::kNotDumped && !IsData(found_[module], part)) {
            lacking[module] += part.size();
            if (found_[module].module.file == nullptr || found_[module].file_is_memory) {
              reason = found_[module].module.match == ModuleMatch::kMismatch ? MissingReason::kModuleMismatch : MissingReason::kModuleMissing;
            }
          }
          const bool is_data = module != kNoModule && found_[module].module.is_elf && IsData(found_[module], part);
          out.push_back({part, reason, module, w.use, w.writable || is_data});
        });
      });
    }
    process.missing_ranges = std::move(out);
    NoteMissingData();
    NoteMissingFiles(lacking);
  }

  /// Parts of modules' data that are not in a core that names them. The dynamic linker writes to every one, so none of them reads as the file does.
  void NoteMissingData() {
    Process& process = draft_.process;
    std::uint64_t bytes = 0;
    std::vector<std::uint32_t> modules;
    for (MissingRange& m : process.missing_ranges) {
      if (m.reason != MissingReason::kNotDumped || m.module == kNoModule || !found_[m.module].module.is_elf || !InFile(found_[m.module], m.range)) continue;
      if (!IsData(found_[m.module], m.range) || regions_.Find(m.range.begin) == nullptr) continue;
      m.use = MissingUse::kUsed;
      bytes += m.range.size();
      if (std::find(modules.begin(), modules.end(), m.module) == modules.end()) modules.push_back(m.module);
    }
    if (bytes == 0) return;
    const std::string& first = found_[modules.front()].module.path;
    process.missing.push_back({fmt::format("{} of the data of {}{}", SizeText(bytes), first.empty() ? "a module without a name" : first,
                                           modules.size() == 1 ? "" : fmt::format(" and {} other{}", modules.size() - 1, modules.size() == 2 ? "" : "s")),
                               "not in the core, although the program writes there: excluded by MADV_DONTDUMP or coredump_filter, or taken out later",
                               "take a core with coredump_filter 0x37: echo 0x37 > /proc/PID/coredump_filter"});
  }

  /// One note for all modules that lack the same for the same cause, and one for each file that is damaged.
  void NoteMissingFiles(const std::vector<std::uint64_t>& lacking) {
    Process& process = draft_.process;
    struct Cause {
      std::size_t first;
      std::uint64_t bytes = 0, modules = 0;
    };
    std::vector<Cause> causes;
    for (std::size_t i = 0; i < found_.size(); ++i) {
      const Module& m = found_[i].module;
      if (!m.damage.empty()) process.missing.push_back({"file " + m.file_path, "it is the right one by its build-id, but damaged: " + m.damage, "give an intact copy: " + FileOptions(options_)});
      if (lacking[i] == 0 || (m.file != nullptr && !found_[i].file_is_memory)) continue;
      auto cause = causes.end();
      if (m.match == ModuleMatch::kMissing || m.match == ModuleMatch::kUnverifiable) {  // both ids of a wrong one are worth a line of its own
        cause = std::find_if(causes.begin(), causes.end(), [&](const Cause& c) { return found_[c.first].module.match == m.match; });
      }
      if (cause == causes.end()) cause = causes.insert(causes.end(), Cause{i});
      const bool python = IsPython(m.path), named_python = IsPython(found_[cause->first].module.path);
      if (python != named_python ? python : lacking[i] > lacking[cause->first]) cause->first = i;  // named: CPython's own, of these the one that lacks most
      cause->bytes += lacking[i];
      ++cause->modules;
    }
    for (const Cause& c : causes) {
      const Module& m = found_[c.first].module;
      MissingNote note;
      note.what = fmt::format("{} of {}", SizeText(c.bytes), m.path.empty() ? fmt::format("a module without a name at {:#x}", m.ranges.front().begin) : "file " + m.path);
      if (c.modules > 1) note.what += fmt::format(" and {} other file{}", c.modules - 1, c.modules == 2 ? "" : "s");
      note.reason = m.match_detail;
      if (c.modules > 1 && m.match == ModuleMatch::kUnverifiable) note.reason += "; nor can the others";
      note.remedy = m.match == ModuleMatch::kUnverifiable ? "--trust-file uses it; a core with coredump_filter 0x37 holds everything"
                                                          : (c.modules > 1 ? "give the files that ran: " : "give the file that ran: ") + FileOptions(options_);
      process.missing.push_back(std::move(note));
    }
  }
  static bool IsPython(const std::string& path) { return path.find("python", path.rfind('/') + 1) != std::string::npos && path.find(".cpython-") == std::string::npos; }
  static std::string FileOptions(const OpenOptions&) { return "-e EXE, --sysroot DIR, --debug-dir DIR or --module NAME=FILE"; }

  /// True when [range) starts in a part that comes from the file (not .bss).
  static bool InFile(const FoundModule& f, AddressRange range) {
    return std::any_of(f.mappings.begin(), f.mappings.end(), [&](const FileMapping& m) { return m.range.Contains(range.begin); });
  }

  /// Calls `f` for the parts of a segment of a damaged file that hold anything: what was overwritten with zeroes is missing, not zero.
  template <typename F>
  static void ForEachPageWithContent(const Segment& s, F f) {
    Segment piece = s;
    piece.range.end = piece.range.begin;
    const auto give = [&] {
      if (!piece.range.empty()) f(piece);
    };
    for (Address at = s.range.begin; at < s.range.end;) {
      const Address next = std::min(s.range.end, PageFloor(at) + kPageSize);
      const std::byte* const bytes = s.bytes + (at - s.range.begin);
      if (IsZero({bytes, static_cast<std::size_t>(next - at)})) {
        give();
        piece.range.begin = next;
        piece.bytes = bytes + (next - at);
      }
      piece.range.end = at = next;
    }
    give();
  }

  /// A folder that does not exist is a slip of the hand, not a place without files.
  void WarnAboutFolders() {
    std::vector<std::pair<const char*, std::string>> named;
    if (!options_.sysroot.empty()) named.emplace_back("--sysroot", options_.sysroot);
    for (const std::string& directory : options_.debug_directories) named.emplace_back("--debug-dir", directory);
    for (const auto& [option, directory] : named) {
      std::error_code error;
      if (!std::filesystem::is_directory(directory, error)) {
        draft_.process.warnings.push_back(fmt::format("{} {}: no such directory: nothing was found there", option, directory));
      }
    }
  }

  /// A file that the user named and nothing matched is worth a word.
  void WarnAboutUnusedFiles() {
    std::vector<std::string> named;
    if (!options_.executable.empty()) named.push_back(options_.executable);
    for (const auto& [name, file] : options_.module_files) named.push_back(file);
    Process& process = draft_.process;
    for (const std::string& file : named) {
      const bool used = std::any_of(process.modules.begin(), process.modules.end(), [&](const Module& m) { return m.file_path == file; });
      std::error_code error;
      if (!std::filesystem::exists(file, error)) {
        process.warnings.push_back(fmt::format("{}: no such file: nothing was taken from it", file));
        continue;
      }
      if (!used && !std::filesystem::is_regular_file(file, error)) {
        process.warnings.push_back(fmt::format("{} was not used: it is {}, not a program or library", file, std::filesystem::is_directory(file, error) ? "a directory" : "no regular file"));
        continue;
      }
      if (!used) process.warnings.push_back(fmt::format("{} was not used: it is not the file of any module of the target (see the build-ids in `status`)", file));
    }
  }

  ProcessDraft draft_;
  const OpenOptions& options_;
  ProgressSink& progress_;
  MemoryImage raw_;  // what the target itself gave; its backings stay in draft_
  RegionMap regions_;
  std::vector<FoundModule> found_;
};

}  // namespace

RegionMap::RegionMap(std::vector<MappedRegion> regions) : sorted_(std::move(regions)) {
  std::stable_sort(sorted_.begin(), sorted_.end(), [](const MappedRegion& a, const MappedRegion& b) { return a.range.begin < b.range.begin; });
}

const MappedRegion* RegionMap::Find(Address a) const noexcept {
  const auto after = std::partition_point(sorted_.begin(), sorted_.end(), [a](const MappedRegion& r) { return r.range.begin <= a; });
  if (after == sorted_.begin()) return nullptr;
  const MappedRegion& region = *std::prev(after);
  return region.access_known && region.range.Contains(a) ? &region : nullptr;
}

std::optional<std::uint64_t> ProcessDraft::Auxiliary(std::uint64_t type) const noexcept {
  for (const auto& [key, value] : auxv) {
    if (key == type) return value;
  }
  return std::nullopt;
}

Result<Process> CompleteProcess(ProcessDraft draft, const OpenOptions& options, ProgressSink& progress) {
  return Completion(std::move(draft), options, progress).Run();
}

std::string SizeText(std::uint64_t bytes) {
  constexpr double kUnit = 1024.0;
  if (bytes < 1024) return fmt::format("{} bytes", bytes);
  auto size = static_cast<double>(bytes) / kUnit;
  const char* unit = "KiB";
  for (const char* next : {"MiB", "GiB", "TiB", "PiB", "EiB"}) {
    if (size < kUnit) break;
    size /= kUnit;
    unit = next;
  }
  return fmt::format("{:.1f} {}", size, unit);
}

}  // namespace pygc::target
