#include "core/target/module_finder.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <map>

namespace pygc::target {
namespace {

constexpr std::size_t kMaxModules = 65536;

/// Names that are no files a module could come from.
bool IsNoFile(const std::string& path) {
  return !path.starts_with('/') || path.starts_with("/dev/") || path.starts_with("/SYSV") || path.starts_with("/proc/");
}

bool LooksExecutable(const FileMapping& m, const RegionMap& regions) {
  if (m.access_known) return m.executable;
  const MappedRegion* const region = regions.Find(m.range.begin);
  return region != nullptr && region->executable;
}

/// True when `mapping` lies where the dynamic linker would put that part of the file.
bool Agrees(const MemoryElf& elf, const FileMapping& mapping) {
  return std::any_of(elf.program_headers.begin(), elf.program_headers.end(), [&](const elf::ProgramHeader& p) {
    if (p.type != PT_LOAD || p.file_size == 0) return false;
    const std::uint64_t offset = PageFloor(p.file_offset), size = PageCeiling(p.file_offset + p.file_size) - offset;
    const Address begin = static_cast<std::uint64_t>(elf.load_bias) + PageFloor(p.address);
    return mapping.range.begin >= begin && mapping.range.begin - begin < size && mapping.range.begin - begin == mapping.file_offset - offset;
  });
}

/// True when each PT_LOAD of the module has its first file page among `mappings`: a file that was mapped to be read, not run, fails this.
bool IsLoaded(const MemoryElf& elf, const std::vector<FileMapping>& mappings) {
  return std::all_of(elf.program_headers.begin(), elf.program_headers.end(), [&](const elf::ProgramHeader& p) {
    if (p.type != PT_LOAD || p.file_size == 0) return true;
    const Address begin = static_cast<std::uint64_t>(elf.load_bias) + PageFloor(p.address);
    return std::any_of(mappings.begin(), mappings.end(), [&](const FileMapping& m) {
      return m.range.Contains(begin) && m.file_offset + (begin - m.range.begin) == PageFloor(p.file_offset);
    });
  });
}

/// True unless the first code of the module lies where no mapping that may run begins. All parts of a small file would lie within the first ones of a large
/// one, so without headers in memory their places alone do not tell the two apart; that code is mapped by itself, with rights of its own, does.
bool CodeBegins(const MemoryElf& elf, const std::vector<FileMapping>& mappings, const RegionMap& regions) {
  const auto code = std::find_if(elf.program_headers.begin(), elf.program_headers.end(),
                                 [](const elf::ProgramHeader& p) { return p.type == PT_LOAD && p.file_size != 0 && (p.flags & PF_X) != 0; });
  if (code == elf.program_headers.end()) return true;
  const Address begin = static_cast<std::uint64_t>(elf.load_bias) + PageFloor(code->address);
  return std::any_of(mappings.begin(), mappings.end(), [&](const FileMapping& m) {
    const bool access_known = m.access_known || regions.Find(begin) != nullptr;
    return m.range.Contains(begin) && (!access_known || (m.range.begin == begin && LooksExecutable(m, regions)));
  });
}

void TakeElf(FoundModule& found, MemoryElf elf, bool in_memory) {
  found.module.is_elf = true;
  found.module.load_bias = elf.load_bias;
  found.module.build_id = elf.build_id;
  for (const elf::ProgramHeader& p : elf.program_headers) {
    if (p.type != PT_LOAD) continue;
    const Address begin = static_cast<std::uint64_t>(elf.load_bias) + p.address;
    found.module.ranges.push_back({PageFloor(begin), PageCeiling(begin + p.memory_size)});  // .bss belongs to the module
  }
  found.elf = std::move(elf);
  found.headers_in_memory = in_memory;
}

class Finder {
 public:
  Finder(const MemoryImage& memory, const ProcessDraft& draft, const RegionMap& regions, const HeaderSource& headers, std::vector<std::string>& warnings)
      : memory_(memory), draft_(draft), regions_(regions), headers_(headers), warnings_(warnings) {}

  std::vector<FoundModule> Find() {
    FromMappings();
    const auto phdr = draft_.Auxiliary(AT_PHDR), count = draft_.Auxiliary(AT_PHNUM);
    if (phdr && count) link_map_ = ReadLinkMap(memory_, *phdr, *count);
    if (link_map_.empty()) link_map_ = FromAnyProgram();
    FromLinkMap();
    FromSegmentStarts();
    if (draft_.mappings.empty() && link_map_.empty()) FromWhatTheProgramNeeds();
    for (FoundModule& m : found_) {
      for (const FileMapping& mapping : m.mappings) m.module.ranges.push_back(mapping.range);
      Normalize(m.module.ranges);
    }
    std::erase_if(found_, [](const FoundModule& m) { return m.module.ranges.empty(); });
    std::sort(found_.begin(), found_.end(),
              [](const FoundModule& a, const FoundModule& b) { return a.module.ranges.front().begin < b.module.ranges.front().begin; });
    return std::move(found_);
  }

 private:
  void FromMappings() {
    std::map<std::string, std::vector<const FileMapping*>> by_path;
    for (const FileMapping& m : draft_.mappings) {
      if (!IsNoFile(m.path)) by_path[m.path].push_back(&m);
    }
    for (auto& [path, mappings] : by_path) {
      std::sort(mappings.begin(), mappings.end(), [](const FileMapping* a, const FileMapping* b) { return a->range.begin < b->range.begin; });
      FromOneFile(path, mappings);
    }
  }

  /// The mappings of one file become one module for each time that it is loaded. What else is mapped of it goes with the first of these (libffi maps a page of
  /// its own code again for its trampolines: the file is the same, so what verifies the one verifies the other), else becomes a module of its own.
  void FromOneFile(const std::string& path, std::vector<const FileMapping*>& mappings) {
    std::vector<std::shared_ptr<const elf::ElfFile>> files;
    bool asked = false;
    FoundModule rest;
    const std::size_t first_loaded = found_.size();
    for (std::size_t i = 0; i < mappings.size() && found_.size() < kMaxModules; ++i) {
      if (mappings[i] == nullptr) continue;
      FoundModule found;
      if (mappings[i]->file_offset == 0) {
        const Address begin = mappings[i]->range.begin;
        if (const auto elf = ReadMemoryElf(memory_, begin)) {
          Claim(*elf, true, mappings, i, found);
        } else if (memory_.At(begin, 4) == nullptr) {
          if (!asked) files = headers_(*mappings[i]);
          asked = true;
          for (const auto& file : files) {  // the first whose parts lie where the target has its own
            if (const auto placed = PlaceElf(*file, begin)) Claim(*placed, false, mappings, i, found);
            if (found.module.is_elf) break;
          }
        }
      }
      if (!found.module.is_elf) {
        rest.mappings.push_back(*mappings[i]);
        continue;
      }
      found.module.path = path;
      found_.push_back(std::move(found));
    }
    if (rest.mappings.empty()) return;
    if (found_.size() > first_loaded) {
      std::vector<FileMapping>& all = found_[first_loaded].mappings;
      all.insert(all.end(), rest.mappings.begin(), rest.mappings.end());
      std::sort(all.begin(), all.end(), [](const FileMapping& a, const FileMapping& b) { return a.range.begin < b.range.begin; });
      return;
    }
    rest.module.path = path;
    // Without headers anywhere that fit, executable pages or the name tell a lost library from data.
    const bool headers_unknown = std::none_of(rest.mappings.begin(), rest.mappings.end(),
                                              [&](const FileMapping& m) { return m.file_offset == 0 && memory_.At(m.range.begin, 4) != nullptr; });
    rest.module.is_elf = headers_unknown && std::any_of(rest.mappings.begin(), rest.mappings.end(), [&](const FileMapping& m) {
      return LooksExecutable(m, regions_) || (files.empty() && path.find(".so") != std::string::npos && memory_.At(m.range.begin, 4) == nullptr);
    });
    found_.push_back(std::move(rest));
  }

  void Claim(const MemoryElf& elf, bool in_memory, std::vector<const FileMapping*>& mappings, std::size_t first, FoundModule& found) {
    std::vector<std::size_t> taken, gaps;
    const FileMapping* odd = nullptr;
    for (std::size_t i = first; i < mappings.size(); ++i) {
      if (mappings[i] == nullptr || !elf.extent.Contains(mappings[i]->range.begin)) continue;
      if (!Agrees(elf, *mappings[i])) {
        if (IsGap(*mappings[first], *mappings[i])) {
          gaps.push_back(i);
        } else {
          odd = mappings[i];
        }
        continue;
      }
      taken.push_back(i);
      found.mappings.push_back(*mappings[i]);
    }
    if (!IsLoaded(elf, found.mappings) || (!in_memory && !CodeBegins(elf, found.mappings, regions_))) {
      found.mappings.clear();
      return;
    }
    if (odd != nullptr && in_memory) warnings_.push_back(fmt::format("{}: its part at {:#x} does not lie where its program headers put it", odd->path, odd->range.begin));
    for (const std::size_t i : taken) mappings[i] = nullptr;
    for (const std::size_t i : gaps) mappings[i] = nullptr;
    TakeElf(found, elf, in_memory);
  }

  /// What the dynamic linker may leave between two parts of a module: it maps the whole extent from the file first, and takes all access from what no part
  /// covers. glibc: _dl_map_segments(), elf/dl-map-segments.h.
  [[nodiscard]] bool IsGap(const FileMapping& first, const FileMapping& m) const {
    const MappedRegion* const region = regions_.Find(m.range.begin);
    const bool no_access = m.access_known ? !(m.readable || m.writable || m.executable)
                                          : region == nullptr || !(region->readable || region->writable || region->executable);
    return no_access && m.file_offset - first.file_offset == m.range.begin - first.range.begin;
  }

  [[nodiscard]] bool IsKnown(Address a) const {
    if (const auto vdso = draft_.Auxiliary(AT_SYSINFO_EHDR); vdso && PageFloor(a) == PageFloor(*vdso)) return true;
    return std::any_of(found_.begin(), found_.end(), [&](const FoundModule& m) {
      return std::any_of(m.module.ranges.begin(), m.module.ranges.end(), [&](const AddressRange& r) { return r.Contains(a); }) ||
             std::any_of(m.mappings.begin(), m.mappings.end(), [&](const FileMapping& f) { return f.range.Contains(a); });
    });
  }

  /// Mappings as the dynamic linker makes them, for a module that nobody named in pieces.
  void AddFromHeaders(Address begin, const std::string& path) {
    auto elf = ReadMemoryElf(memory_, begin);
    if (!elf || found_.size() >= kMaxModules) return;
    FoundModule found;
    found.module.path = path.empty() ? ReadSoname(memory_, *elf) : path;
    if (found.module.path == "linux-vdso.so.1") return;  // the kernel's own; it has no file
    AddMappings(*elf, found);
    TakeElf(found, std::move(*elf), true);
    found_.push_back(std::move(found));
  }
  static void AddMappings(const MemoryElf& elf, FoundModule& found) {
    for (const elf::ProgramHeader& p : elf.program_headers) {
      if (p.type != PT_LOAD || p.file_size == 0) continue;
      FileMapping m;
      const Address at = static_cast<std::uint64_t>(elf.load_bias) + p.address;
      m.range = {PageFloor(at), PageCeiling(at + p.file_size)};
      m.file_offset = PageFloor(p.file_offset);
      m.path = found.module.path;
      m.access_known = true;
      m.readable = (p.flags & PF_R) != 0;
      m.writable = (p.flags & PF_W) != 0;
      m.executable = (p.flags & PF_X) != 0;
      if (!m.range.empty()) found.mappings.push_back(std::move(m));
    }
    std::sort(found.mappings.begin(), found.mappings.end(), [](const FileMapping& a, const FileMapping& b) { return a.range.begin < b.range.begin; });
  }

  /// Without an auxiliary vector, or where it names the dynamic linker (ld.so PROGRAM): the program is the one whose DT_DEBUG is set.
  [[nodiscard]] std::vector<LinkMapEntry> FromAnyProgram() const {
    for (const Segment& s : memory_.segments()) {
      const auto header = memory_.ReadValue<Elf64_Ehdr>(s.range.begin);
      if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_phoff > s.range.size()) continue;
      auto entries = ReadLinkMap(memory_, s.range.begin + header->e_phoff, header->e_phnum);
      if (!entries.empty()) return entries;
    }
    return {};
  }

  void FromLinkMap() {
    for (std::size_t i = 0; i < link_map_.size(); ++i) {
      const LinkMapEntry& entry = link_map_[i];
      if (entry.dynamic == 0 || IsKnown(entry.dynamic)) continue;
      std::string path = entry.path;
      if (path.empty() && i == 0) path = MainPath();
      Address begin = entry.load_bias;
      if (i == 0 && begin == 0) begin = PageFloor(draft_.Auxiliary(AT_PHDR).value_or(0));  // a program at a fixed address
      AddFromHeaders(begin, path);
    }
  }

  void FromSegmentStarts() {
    const Address main = PageFloor(draft_.Auxiliary(AT_PHDR).value_or(0));
    for (const Segment& s : memory_.segments()) {
      if (s.range.size() < sizeof(Elf64_Ehdr) || s.range.begin % kPageSize != 0) continue;
      if (s.bytes[0] != std::byte{ELFMAG0} || s.bytes[1] != std::byte{ELFMAG1} || IsKnown(s.range.begin)) continue;
      if (std::any_of(draft_.mappings.begin(), draft_.mappings.end(), [&](const FileMapping& m) { return m.range.Contains(s.range.begin); })) continue;
      AddFromHeaders(s.range.begin, s.range.begin == main ? MainPath() : "");
    }
  }

  /// Nothing names files: a core of gcore that was cut, which has its notes at its end, and the list of the dynamic linker behind the libraries. The program
  /// itself still says which libraries it needs and where they are. Those whose headers are there get the path of a file with their build-id; the library
  /// that holds Python is looked for where the segments of the core lie as its parts do. What it really is, is verified as for every module.
  void FromWhatTheProgramNeeds() {
    const auto program = std::find_if(found_.begin(), found_.end(), [&](const FoundModule& m) { return m.elf && IsProgram(memory_, *m.elf); });
    if (program == found_.end()) return;
    const NeededLibraries needed = ReadNeeded(memory_, *program->elf);
    std::vector<std::string> folders;
    for (const std::string& folder : needed.folders) {
      if (folder.starts_with('/')) folders.push_back(folder);  // not $ORIGIN: the program's own path is not known
    }
    folders.insert(folders.end(), {"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/usr/local/lib", "/lib64", "/usr/lib64", "/usr/lib"});
    for (const std::string& name : needed.names) {
      const bool is_there = std::any_of(found_.begin(), found_.end(), [&](const FoundModule& m) { return m.module.path == name; });
      const bool is_python = name.find("python") != std::string::npos;
      if (name.find('/') != std::string::npos || (!is_there && !is_python)) continue;
      for (const std::string& folder : folders) {
        if (Name(name, folder + "/" + name, is_python)) break;
      }
    }
  }
  /// True where `path` is the file of a module that is there, by its build-id, and has no path yet; or, where `may_be_placed`, of one whose first page is not.
  bool Name(const std::string& name, const std::string& path, bool may_be_placed) {
    FileMapping mapping;
    mapping.path = path;
    for (const auto& file : headers_(mapping)) {
      for (FoundModule& known : found_) {
        const bool nameless = known.module.path.empty() || known.module.path == name;
        if (!nameless || known.module.build_id.empty() || file->build_id() != known.module.build_id) continue;
        known.module.path = path;
        for (FileMapping& m : known.mappings) m.path = path;
        return true;
      }
      const auto placed = may_be_placed ? PlaceBySegments(*file) : std::nullopt;
      if (!placed) continue;
      FoundModule found;
      found.module.path = path;
      AddMappings(*placed, found);
      TakeElf(found, *placed, false);
      found_.push_back(std::move(found));
      return true;
    }
    return false;
  }
  /// Where the segments of the core begin and end as the parts of the file do that are written to, and its first part is there: one place, or none.
  [[nodiscard]] std::optional<MemoryElf> PlaceBySegments(const elf::ElfFile& file) const {
    std::optional<MemoryElf> out;
    for (const MappedRegion& r : draft_.regions) {
      if (r.writable || !r.access_known || IsKnown(r.range.begin)) continue;
      auto placed = PlaceElf(file, r.range.begin);
      if (!placed || !FitsRegions(*placed)) continue;
      if (out) return std::nullopt;
      out = std::move(placed);
    }
    return out;
  }
  [[nodiscard]] bool FitsRegions(const MemoryElf& elf) const {
    bool any = false;
    const auto bias = static_cast<std::uint64_t>(elf.load_bias);
    for (const elf::ProgramHeader& p : elf.program_headers) {
      if (p.type != PT_LOAD || p.memory_size == 0) continue;
      const AddressRange part = {bias + PageFloor(p.address), PageCeiling(bias + p.address + p.memory_size)};
      const MappedRegion* region = regions_.Find(part.begin);
      if ((p.flags & PF_W) == 0) {
        if (region != nullptr && (region->writable || region->range.end > part.end)) return false;  // gcore leaves out what it can find in the file
        continue;
      }
      any = true;
      if (region == nullptr || region->range.begin != part.begin) return false;
      while (region != nullptr && region->range.end < part.end) region = regions_.Find(region->range.end);
      if (region == nullptr || !region->writable) return false;
    }
    return any;
  }

  [[nodiscard]] std::string MainPath() const {
    const auto name = draft_.Auxiliary(AT_EXECFN);
    return name ? memory_.ReadCString(*name, 4096).value_or("") : "";
  }

  const MemoryImage& memory_;
  const ProcessDraft& draft_;
  const RegionMap& regions_;
  const HeaderSource& headers_;
  std::vector<std::string>& warnings_;
  std::vector<LinkMapEntry> link_map_;
  std::vector<FoundModule> found_;
};

}  // namespace

void Normalize(std::vector<AddressRange>& ranges) {
  std::erase_if(ranges, [](const AddressRange& r) { return r.empty(); });
  std::sort(ranges.begin(), ranges.end(), [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
  std::vector<AddressRange> out;
  for (const AddressRange& r : ranges) {
    if (!out.empty() && r.begin <= out.back().end) {
      out.back().end = std::max(out.back().end, r.end);
    } else {
      out.push_back(r);
    }
  }
  ranges = std::move(out);
}

std::vector<FoundModule> FindModules(const MemoryImage& memory, const ProcessDraft& draft, const RegionMap& regions, const HeaderSource& headers,
                                     std::vector<std::string>& warnings) {
  return Finder(memory, draft, regions, headers, warnings).Find();
}

}  // namespace pygc::target
