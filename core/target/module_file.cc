#include "core/target/module_file.h"

#include <elf.h>

#include <algorithm>
#include <cstring>

#include "core/base/byte_reader.h"

namespace pygc::target {
namespace {

constexpr std::string_view kDeleted = " (deleted)";

std::string_view Basename(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::string_view WithoutDeleted(std::string_view path) {
  if (path.ends_with(kDeleted)) path.remove_suffix(kDeleted.size());
  return path;
}

struct Candidate {
  std::string root;       // links stay beneath it; empty: the machine's own root
  std::string path;
  bool same_file = false; // the operating system itself says that this is the mapped file
  bool only_same = false; // a name of this machine for a process with another root: good only if device and inode are those of the mapping
};

std::vector<Candidate> Candidates(const std::string& path, const std::string& build_id, bool main, const FileMapping* mapping,
                                  const ProcessDraft& draft, const OpenOptions& options) {
  std::vector<Candidate> out;
  const std::string clean(WithoutDeleted(path));
  const std::string name(Basename(clean));
  for (const auto& [wanted, file] : options.module_files) {
    if (wanted == path || wanted == clean || (wanted.find('/') == std::string::npos && wanted == name)) out.push_back({"", file});
  }
  if (!options.executable.empty() && (main || Basename(options.executable) == name)) out.push_back({"", options.executable});
  if (!options.sysroot.empty() && !clean.empty()) out.push_back({options.sysroot, clean});
  for (const std::string& directory : options.debug_directories) {
    if (build_id.size() > 2) out.push_back({"", directory + "/.build-id/" + build_id.substr(0, 2) + "/" + build_id.substr(2)});
    if (clean.empty()) continue;
    out.push_back({directory, clean});
    out.push_back({directory, name});
  }
  if (clean.starts_with('/')) {
    if (!draft.root.empty()) {
      if (clean != path) out.push_back({draft.root, path});
      out.push_back({draft.root, clean});
      out.push_back({"", clean, false, true});  // the kernel shows a chrooted process's files by their names out here
    } else {
      if (clean != path) out.push_back({"", path});
      out.push_back({"", clean});
    }
  }
  if (mapping != nullptr && !mapping->direct_path.empty()) out.push_back({"", mapping->direct_path, true});
  return out;
}

Result<std::shared_ptr<const elf::ElfFile>> OpenCandidate(const Candidate& c, const OpenOptions& options, FileIdentity* identity) {
  const Limits& limits = options.limits;
  auto file = c.root.empty() ? MappedFile::Open(c.path, limits.max_module_file_bytes)
                             : MappedFile::OpenBeneath(c.root, c.path, limits.max_module_file_bytes);
  if (!file) return tl::unexpected(file.error());
  *identity = (*file)->identity();
  const auto known = std::ranges::find_if(options.known_files, [&](const auto& k) { return k->IsOf(**file); });
  if (known != options.known_files.end()) return *known;
  return elf::ElfFile::FromFile(std::move(*file), limits);
}

/// Compares what memory holds of the parts that nobody writes to with the file.
struct Comparison {
  std::uint64_t equal = 0;                  // bytes
  std::optional<Address> first_difference;
};

/// Which parts: all, or, of a file that has the right build-id, only what neither a debugger's breakpoints nor `strip` changes.
enum class Parts : std::uint8_t { kAll, kConstants };

Comparison CompareWithFile(const FoundModule& found, const MemoryImage& memory, const elf::ElfFile& file, Parts parts) {
  constexpr std::uint64_t kMaxConstants = 4u << 20;  // LIMIT: of each segment; its symbols stand at the beginning
  Comparison out;
  for (const elf::ProgramHeader& p : file.program_headers()) {
    if (p.type != PT_LOAD || (p.flags & PF_W) != 0 || (parts == Parts::kConstants && (p.flags & PF_X) != 0)) continue;
    Address at = static_cast<std::uint64_t>(found.module.load_bias) + p.address;
    auto bytes = file.BytesAt(p.address).first(p.file_size);
    if (parts == Parts::kConstants) {
      const std::uint64_t skip = p.file_offset == 0 ? std::min<std::uint64_t>(sizeof(Elf64_Ehdr), bytes.size()) : 0;  // which tells where sections are
      at += skip;
      bytes = bytes.subspan(skip, std::min<std::uint64_t>(kMaxConstants, bytes.size() - skip));
    }
    while (!bytes.empty()) {
      const Segment* s = memory.Find(at);
      std::uint64_t step = kPageSize - at % kPageSize;
      if (s != nullptr) {
        step = std::min<std::uint64_t>(s->range.end - at, bytes.size());
        const std::byte* here = s->bytes + (at - s->range.begin);
        const auto differs = std::mismatch(here, here + step, bytes.begin());
        out.equal += static_cast<std::uint64_t>(differs.first - here);
        if (differs.first != here + step) {
          out.first_difference = at + static_cast<std::uint64_t>(differs.first - here);
          return out;
        }
      }
      step = std::min<std::uint64_t>(step, bytes.size());
      at += step;
      bytes = bytes.subspan(step);
    }
  }
  return out;
}

/// What of the module's data the linker alone decides, compared with the file: where its functions lie, as its data name them, and the sizes and places
/// that its dynamic section gives. A core without ELF headers (coredump_filter bit 4 clear) has no build-id but holds these.
struct LayoutEvidence {
  std::uint64_t pointers = 0, other_pointers = 0;  // words that should point to a function: equal, different
  std::uint64_t entries = 0, other_entries = 0;    // entries of the dynamic section

  /// Enough to tell this build from all others: functions of another build lie elsewhere, and a program changes some such words but not most.
  [[nodiscard]] bool IsConvincing() const noexcept { return other_entries == 0 && pointers + entries >= 16 && other_pointers * 2 <= pointers; }
  /// So little that small programs of different versions have it alike: python3.12 and python3.13, which only call a library, are equal in 28 words.
  [[nodiscard]] bool IsThin() const noexcept { return pointers < 64; }
  /// Enough to say that it is another build.
  [[nodiscard]] bool IsContradicting() const noexcept { return other_pointers + other_entries >= 16 && other_pointers + other_entries > pointers + entries; }
};

class LayoutComparison {
 public:
  LayoutComparison(const FoundModule& found, const MemoryImage& memory, const elf::ElfFile& file)
      : bias_(static_cast<std::uint64_t>(found.module.load_bias)), memory_(memory), file_(file) {}

  LayoutEvidence Run() {
    for (const elf::Relocation& r : file_.relocations()) {
      if (r.type == R_X86_64_RELATIVE) CheckPointer(r.address, static_cast<std::uint64_t>(r.addend));
    }
    for (const elf::ProgramHeader& p : file_.program_headers()) {
      if (p.type == PT_DYNAMIC) CheckDynamic(p);
      if (p.type == PT_LOAD && (p.flags & PF_W) != 0 && file_.type() == ET_EXEC) CheckWords(p);
    }
    return evidence_;
  }

 private:
  [[nodiscard]] bool IsCode(std::uint64_t address) const {
    return std::any_of(file_.program_headers().begin(), file_.program_headers().end(), [&](const elf::ProgramHeader& p) {
      return p.type == PT_LOAD && (p.flags & PF_X) != 0 && address >= p.address && address - p.address < p.file_size;
    });
  }
  void CheckPointer(std::uint64_t at, std::uint64_t target) {
    if (!IsCode(target)) return;
    const auto word = memory_.ReadPointer(bias_ + at);
    if (word) ++(*word == bias_ + target ? evidence_.pointers : evidence_.other_pointers);
  }
  /// A program at a fixed address has its pointers in the file as they are.
  void CheckWords(const elf::ProgramHeader& p) {
    const auto bytes = file_.BytesAt(p.address);
    for (std::uint64_t at = (8 - p.address % 8) % 8; at + 8 <= bytes.size(); at += 8) CheckPointer(p.address + at, LoadUnchecked<std::uint64_t>(bytes.data() + at));
  }
  void CheckDynamic(const elf::ProgramHeader& p) {
    const auto bytes = file_.BytesAt(p.address);
    for (std::uint64_t at = 0; at + sizeof(Elf64_Dyn) <= std::min<std::uint64_t>(bytes.size(), p.file_size); at += sizeof(Elf64_Dyn)) {
      const auto tag = LoadUnchecked<std::uint64_t>(bytes.data() + at), value = LoadUnchecked<std::uint64_t>(bytes.data() + at + 8);
      const auto tag_here = memory_.ReadPointer(bias_ + p.address + at), value_here = memory_.ReadPointer(bias_ + p.address + at + 8);
      if (tag == DT_NULL) break;
      if (tag == DT_DEBUG || !tag_here || !value_here) continue;  // the dynamic linker writes to DT_DEBUG
      const bool equal = *tag_here == tag && (*value_here == value || *value_here == bias_ + value);  // glibc adds the bias in place
      ++(equal ? evidence_.entries : evidence_.other_entries);
    }
  }

  std::uint64_t bias_;
  const MemoryImage& memory_;
  const elf::ElfFile& file_;
  LayoutEvidence evidence_;
};

/// `name` with one # for each run of digits: what libpython3.12.so.1.0 and libpython3.13.so.1.0 have in common, and libc.so.6 and libc-2.31.so have not.
std::string WithoutNumbers(std::string_view name) {
  std::string out;
  for (const char c : name) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit || !out.ends_with('#')) out += digit ? '#' : c;
  }
  return out;
}

/// A library that the file is linked with (DT_NEEDED) and the process has in another version only: "libpython3.12.so.1.0, and libpython3.13.so.1.0 is
/// mapped". Empty where there is none: a library that is not there under any such name says nothing, as names may be links.
std::string OtherLibrary(const elf::ElfFile& file, const ProcessDraft& draft) {
  constexpr std::size_t kMostLibraries = 1024, kMostBytes = 4096;  // LIMIT: of a file, and of a name
  for (const elf::ProgramHeader& p : file.program_headers()) {
    if (p.type != PT_DYNAMIC) continue;
    const auto bytes = file.BytesAt(p.address);
    std::vector<std::uint64_t> needed;  // offsets into the string table
    std::uint64_t strings = 0;
    for (std::uint64_t at = 0; at + sizeof(Elf64_Dyn) <= std::min<std::uint64_t>(bytes.size(), p.file_size); at += sizeof(Elf64_Dyn)) {
      const auto tag = LoadUnchecked<std::uint64_t>(bytes.data() + at), value = LoadUnchecked<std::uint64_t>(bytes.data() + at + 8);
      if (tag == DT_NULL) break;
      if (tag == DT_NEEDED && needed.size() < kMostLibraries) needed.push_back(value);
      if (tag == DT_STRTAB) strings = value;
    }
    for (const std::uint64_t offset : needed) {
      auto text = file.BytesAt(strings + offset);
      text = text.first(std::min(text.size(), kMostBytes));
      const std::string_view name(reinterpret_cast<const char*>(text.data()), static_cast<std::size_t>(std::ranges::find(text, std::byte{0}) - text.begin()));
      const std::string pattern = WithoutNumbers(name);
      std::string_view other;
      for (const FileMapping& m : draft.mappings) {
        const std::string_view mapped = Basename(WithoutDeleted(m.path));
        if (mapped == name) {
          other = {};
          break;
        }
        if (WithoutNumbers(mapped) == pattern) other = mapped;
      }
      if (!other.empty()) return fmt::format("{}, and {} is mapped", name, other);
    }
  }
  return {};
}

/// True where the file's parts lie as the module's own program headers say. A separate debug file has the same build-id, and other contents at those places.
bool HasSameParts(const FoundModule& found, const elf::ElfFile& file) {
  if (!found.headers_in_memory || !found.elf) return true;
  const auto holds = [](const elf::ProgramHeader& p) { return p.type == PT_LOAD && p.wanted_file_size != 0; };
  return std::all_of(found.elf->program_headers.begin(), found.elf->program_headers.end(), [&](const elf::ProgramHeader& p) {
    if (!holds(p)) return true;
    return std::any_of(file.program_headers().begin(), file.program_headers().end(), [&](const elf::ProgramHeader& f) {
      return holds(f) && f.address == p.address && f.file_offset == p.file_offset && f.wanted_file_size == p.wanted_file_size;
    });
  });
}

/// Where the linker put code, and nothing else: between DT_INIT and DT_FINI.
AddressRange CodeOf(const elf::ElfFile& file) {
  AddressRange code;
  for (const elf::ProgramHeader& p : file.program_headers()) {
    if (p.type != PT_DYNAMIC) continue;
    const auto bytes = file.BytesAt(p.address);
    for (std::uint64_t at = 0; at + sizeof(Elf64_Dyn) <= std::min<std::uint64_t>(bytes.size(), p.file_size); at += sizeof(Elf64_Dyn)) {
      const auto tag = LoadUnchecked<std::uint64_t>(bytes.data() + at), value = LoadUnchecked<std::uint64_t>(bytes.data() + at + 8);
      if (tag == DT_NULL) break;
      if (tag == DT_INIT) code.begin = value;
      if (tag == DT_FINI) code.end = value;
    }
  }
  return code;
}

/// The first page of code that holds nothing but zeroes, which no compiler makes, as an offset into the file.
std::optional<std::uint64_t> ZeroesInCode(const elf::ElfFile& file) {
  constexpr std::uint64_t kMaxCodeBytes = 16u << 20;  // LIMIT: the code of larger libraries is not looked through
  const AddressRange code = CodeOf(file);
  if (code.empty() || code.size() > kMaxCodeBytes) return std::nullopt;
  for (const elf::ProgramHeader& p : file.program_headers()) {
    if (p.type != PT_LOAD || (p.flags & PF_X) == 0) continue;
    const std::uint64_t begin = std::max(PageCeiling(code.begin), PageCeiling(p.address)), end = std::min(code.end, p.address + p.file_size);
    for (std::uint64_t at = begin; at < end && end - at >= kPageSize; at += kPageSize) {
      const auto page = file.BytesAt(at);
      if (page.size() >= kPageSize && LoadUnchecked<std::uint64_t>(page.data()) == 0 && IsZero(page.first(kPageSize))) return p.file_offset + (at - p.address);
    }
  }
  return std::nullopt;
}

/// What shows that a file with the right build-id is not what it was: it is cut, or was overwritten. Empty where nothing does.
/// `main`: the main program. Code is looked through of what may hold a tp_traverse: the program and what lies in a Python's folders.
std::string DamageOf(const FoundModule& found, bool main, const MemoryImage& memory, const elf::ElfFile& file) {
  std::uint64_t wanted = 0;
  bool cut = file.program_headers_cut();
  for (const elf::ProgramHeader& p : file.program_headers()) {
    if (p.type != PT_LOAD) continue;
    wanted = std::max(wanted, p.file_offset + p.wanted_file_size);
    cut |= p.file_size < p.wanted_file_size;
  }
  if (cut) return fmt::format("it ends at {}, its program headers ask for {}", SizeText(file.bytes().size()), SizeText(std::max<std::uint64_t>(wanted, file.bytes().size())));
  if (const Comparison same = CompareWithFile(found, memory, file, Parts::kConstants); same.first_difference) {
    return fmt::format("its constants differ from those in memory at {:#x}", *same.first_difference);
  }
  if (!main && found.module.path.find("python") == std::string::npos) return {};
  if (const auto zeroes = ZeroesInCode(file)) return fmt::format("there are zeroes where its code should be, at {:#x} of the file", *zeroes);
  return {};
}

void Use(Module& m, const std::shared_ptr<const elf::ElfFile>& file, ModuleMatch match, std::string detail) {
  m.match = match;
  m.match_detail = std::move(detail);
  m.file_path = file->path();
  m.file_build_id = file->build_id();
  m.file = file;
}

}  // namespace

void ChooseModuleFile(FoundModule& found, bool main, const MemoryImage& memory, const ProcessDraft& draft, const OpenOptions& options) {
  Module& m = found.module;
  if (!m.is_elf) {
    m.match = ModuleMatch::kNotNeeded;
    m.match_detail = "not a program or library";
    return;
  }
  const FileMapping* first = found.mappings.empty() ? nullptr : &found.mappings.front();
  std::vector<std::string> tried;
  bool any_there = false;  // of those tried
  std::string mismatch, mismatched;  // the first candidate that is certainly another file: why, and its path
  const auto is_another = [&](const std::string& shown, std::string why) {
    if (mismatch.empty()) mismatch = std::move(why), mismatched = shown;
  };
  std::shared_ptr<const elf::ElfFile> unverified, damaged;
  std::string unverified_detail;
  // True where the search ends: a damaged file only where no other is better.
  const auto take = [&](const std::shared_ptr<const elf::ElfFile>& file, const std::string& detail) {
    std::string damage = DamageOf(found, main, memory, *file);
    if (damage.empty() || damaged == nullptr) {
      Use(m, file, ModuleMatch::kVerified, detail);
      m.damage = damage;
    }
    if (!damage.empty()) damaged = file;
    return damage.empty();
  };
  for (const Candidate& c : Candidates(m.path, m.build_id, main, first, draft, options)) {
    const std::string shown = c.root + (c.root.empty() || c.root.ends_with('/') || c.path.starts_with('/') ? "" : "/") + c.path;
    if (std::find(tried.begin(), tried.end(), shown) != tried.end()) continue;
    tried.push_back(shown);
    FileIdentity identity;
    const auto file = OpenCandidate(c, options, &identity);
    if (!file) {
      if (file.error().code == ErrorCode::kNotFound) continue;
      any_there = true;
      const std::string& why = file.error().message;
      tried.back() += " (" + (why.starts_with(shown + ": ") ? why.substr(shown.size() + 2) : why) + ")";
      continue;
    }
    if (c.only_same && (first == nullptr || !first->identity || *first->identity != identity)) continue;
    if (!m.build_id.empty()) {
      if ((*file)->build_id() == m.build_id && !HasSameParts(found, **file)) {
        is_another(shown, fmt::format("{} has the build-id, but not the program headers of the one in memory: a separate debug file, or damaged", shown));
        continue;
      }
      if ((*file)->build_id() == m.build_id) {
        if (take(*file, "build-id " + m.build_id)) return;
        continue;
      }
      if (mismatch.empty()) {
        m.file_build_id = (*file)->build_id();
        is_another(shown, fmt::format("build-id differs: {} in memory, {} in {}", m.build_id, m.file_build_id.empty() ? "none" : m.file_build_id, shown));
      }
      continue;
    }
    if (!found.elf) {
      is_another(shown, fmt::format("no build-id in memory, and the parts of {} do not fit the mapped ones", shown));
      continue;
    }
    const Comparison same = CompareWithFile(found, memory, **file, Parts::kAll);
    if (same.first_difference) {
      is_another(shown, fmt::format("no build-id in memory, and {} differs from it at {:#x}", shown, *same.first_difference));
      continue;
    }
    // The device number of a mapping differs from that of stat() on overlay and Btrfs file systems, so a direct link needs only the inode.
    if (first != nullptr && first->identity && (c.same_file ? first->identity->inode == identity.inode : *first->identity == identity)) {
      if (take(*file, "the mapped file itself")) return;
      continue;
    }
    const LayoutEvidence layout = LayoutComparison(found, memory, **file).Run();
    if (const std::string other = layout.IsThin() ? OtherLibrary(**file, draft) : std::string(); !other.empty()) {
      is_another(shown, fmt::format("no build-id in memory, and {} needs {}", shown, other));
      continue;
    }
    if (layout.IsConvincing()) {
      if (take(*file, fmt::format("no build-id in memory; {} function pointers in its data and {} entries of its dynamic section are as in {}",
                                  layout.pointers, layout.entries, shown))) {
        return;
      }
      continue;
    }
    if (layout.IsContradicting()) {
      is_another(shown, fmt::format("no build-id in memory, and its functions lie elsewhere in {}", shown));
      continue;
    }
    if (unverified == nullptr) {
      unverified = *file;
      unverified_detail = same.equal == 0
                              ? fmt::format("neither its build-id nor any other constant of it is in memory, so {} cannot be checked", shown)
                              : fmt::format("no build-id in memory; the {} bytes of code and constants that are there are as in {}", same.equal, shown);
    }
  }
  if (damaged != nullptr) return;
  if (unverified != nullptr) {
    if (options.trust_file) return Use(m, unverified, ModuleMatch::kUnverifiable, unverified_detail + "; trusted");
    m.match = ModuleMatch::kUnverifiable;
    m.file_path = unverified->path();
    m.file_build_id = unverified->build_id();
    m.match_detail = unverified_detail + "; not used";
    return;
  }
  m.match = mismatch.empty() ? ModuleMatch::kMissing : ModuleMatch::kMismatch;
  if (tried.empty()) {
    m.match_detail = "the target does not name its file";
  } else {
    m.match_detail = mismatch.empty() ? fmt::format("{}: {}", any_there ? "its file cannot be had" : "no such file", fmt::join(tried, ", ")) : mismatch;
    std::erase(tried, mismatched);  // named already
    if (!mismatch.empty() && !tried.empty()) m.match_detail += fmt::format(" (also tried {})", fmt::join(tried, ", "));
  }
}

std::vector<std::shared_ptr<const elf::ElfFile>> OpenUnchecked(const FileMapping& mapping, const ProcessDraft& draft, const OpenOptions& options) {
  std::vector<std::shared_ptr<const elf::ElfFile>> files;
  const auto headers = draft.Auxiliary(AT_PHDR);
  const bool main = headers && mapping.range.Contains(*headers);
  for (const Candidate& c : Candidates(mapping.path, "", main, &mapping, draft, options)) {
    FileIdentity identity;
    if (auto file = OpenCandidate(c, options, &identity)) files.push_back(std::move(*file));
  }
  return files;
}

}  // namespace pygc::target
