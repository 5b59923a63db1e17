#include "core/target/process_draft.h"

#include <elf.h>

#include <algorithm>
#include <set>

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
      : draft_(std::move(draft)), options_(options), progress_(progress), raw_(std::move(draft_.segments), {}) {}

  Result<Process> Run() {
    Process& process = draft_.process;
    found_ = FindModules(
        raw_, draft_, [this](const FileMapping& m) { return OpenUnchecked(m, draft_, options_); }, process.warnings);
    const FoundModule* main = MainModule();
    for (std::size_t i = 0; i < found_.size(); ++i) {
      if (!progress_.Update("opening module files", i, found_.size())) return Fail(ErrorCode::kCancelled, "stopped while opening module files");
      ChooseModuleFile(found_[i], &found_[i] == main, raw_, draft_, options_);
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

  /// True when the target may have written to [range): then only the target's own bytes will do.
  [[nodiscard]] bool MaybeWritten(const FoundModule& f, AddressRange range) const {
    if (!f.elf || !f.elf->extent.Contains(range.begin, range.size())) return true;
    return std::any_of(f.elf->program_headers.begin(), f.elf->program_headers.end(), [&](const elf::ProgramHeader& p) {
      if (p.type != PT_LOAD || (p.flags & PF_W) == 0) return false;
      const Address begin = static_cast<std::uint64_t>(f.elf->load_bias) + PageFloor(p.address);
      const Address end = PageCeiling(static_cast<std::uint64_t>(f.elf->load_bias) + p.address + p.memory_size);
      return range.begin < end && begin < range.end;
    });
  }

  /// True when bytes of [range) were in the target but did not come through (truncated, unreadable), as against left out because nobody wrote them.
  [[nodiscard]] bool WasLost(AddressRange range) const {
    return draft_.regions_incomplete ||
           std::any_of(draft_.process.missing_ranges.begin(), draft_.process.missing_ranges.end(), [&](const MissingRange& m) {
             return m.reason != MissingReason::kNotDumped && m.range.begin < range.end && range.begin < m.range.end;
           });
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
        // A private mapping that was never written reads as the file; one that was written would have been dumped, unless it got lost.
        if (MaybeWritten(f, gap) && WasLost(gap)) return;
        Segment s;
        s.range = gap;
        s.bytes = file.data() + m.file_offset + (gap.begin - m.range.begin);
        AccessOf(f, m, gap, s);
        s.source = SegmentSource::kModuleFile;
        s.module = index;
        segments.push_back(s);
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

  /// Missing ranges without what files filled, each with its module and cause; and one note for each module that lacks something.
  void FinishMissing(const ModuleMap& map) {
    Process& process = draft_.process;
    std::vector<MissingRange> wanted = std::move(process.missing_ranges);
    for (const FoundModule& f : found_) {
      if (!f.module.is_elf) continue;
      for (const FileMapping& m : f.mappings) wanted.push_back({m.range, MissingReason::kNotDumped, kNoModule});
    }
    std::stable_sort(wanted.begin(), wanted.end(), [](const MissingRange& a, const MissingRange& b) { return a.range.begin < b.range.begin; });
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
          if (module != kNoModule && found_[module].module.is_elf && reason == MissingReason::kNotDumped && InFile(found_[module], part)) {
            lacking[module] += part.size();
            if (found_[module].module.file == nullptr || found_[module].file_is_memory) {
              reason = found_[module].module.match == ModuleMatch::kMismatch ? MissingReason::kModuleMismatch : MissingReason::kModuleMissing;
            }
          }
          out.push_back({part, reason, module});
        });
      });
    }
    process.missing_ranges = std::move(out);
    for (std::size_t i = 0; i < found_.size(); ++i) {
      const Module& m = found_[i].module;
      if (lacking[i] == 0 || (m.file != nullptr && !found_[i].file_is_memory)) continue;
      MissingNote note;
      note.what = fmt::format("{} of {}", SizeText(lacking[i]), m.path.empty() ? fmt::format("a module without a name at {:#x}", m.ranges.front().begin) : "file " + m.path);
      note.reason = m.match_detail;
      note.remedy = m.match == ModuleMatch::kUnverifiable ? "--trust-file uses it; a core with coredump_filter 0x37 holds everything"
                                                          : "give the file that ran: -e EXE, --sysroot DIR, --debug-dir DIR or --module NAME=FILE";
      process.missing.push_back(std::move(note));
    }
  }

  /// True when [range) starts in a part that comes from the file (not .bss).
  static bool InFile(const FoundModule& f, AddressRange range) {
    return std::any_of(f.mappings.begin(), f.mappings.end(), [&](const FileMapping& m) { return m.range.Contains(range.begin); });
  }

  /// A file that the user named and nothing matched is worth a word.
  void WarnAboutUnusedFiles() {
    std::vector<std::string> named;
    if (!options_.executable.empty()) named.push_back(options_.executable);
    for (const auto& [name, file] : options_.module_files) named.push_back(file);
    Process& process = draft_.process;
    for (const std::string& file : named) {
      const bool used = std::any_of(process.modules.begin(), process.modules.end(), [&](const Module& m) { return m.file_path == file; });
      if (!used) process.warnings.push_back(fmt::format("{} was not used: it is not the file of any module of the target (see the build-ids in `status`)", file));
    }
  }

  ProcessDraft draft_;
  const OpenOptions& options_;
  ProgressSink& progress_;
  MemoryImage raw_;  // what the target itself gave; its backings stay in draft_
  std::vector<FoundModule> found_;
};

}  // namespace

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
  const auto size = static_cast<double>(bytes);
  if (size < kUnit * kUnit) return fmt::format("{:.1f} KiB", size / kUnit);
  if (size < kUnit * kUnit * kUnit) return fmt::format("{:.1f} MiB", size / kUnit / kUnit);
  return fmt::format("{:.1f} GiB", size / kUnit / kUnit / kUnit);
}

}  // namespace pygc::target
