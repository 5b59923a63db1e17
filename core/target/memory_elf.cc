#include "core/target/memory_elf.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "core/elf/note.h"
#include "core/target/process_draft.h"

namespace pygc::target {
namespace {

constexpr std::uint64_t kMaxProgramHeaders = 512;     // of a module; linkers write about a dozen
constexpr std::uint64_t kMaxExtent = 1ull << 40;
constexpr std::uint64_t kMaxNoteBytes = 64u << 10;
constexpr std::uint64_t kMaxConstantBytes = 256u << 20;  // of one module, copied for its symbols
constexpr std::size_t kMaxDynamicEntries = 4096;
constexpr std::size_t kMaxLinkMapEntries = 16384;

std::vector<elf::ProgramHeader> ReadProgramHeaders(const MemoryImage& memory, Address at, std::uint64_t count) {
  std::vector<elf::ProgramHeader> out;
  for (std::uint64_t i = 0; i < std::min(count, kMaxProgramHeaders); ++i) {
    const auto raw = memory.ReadValue<Elf64_Phdr>(at + i * sizeof(Elf64_Phdr));
    if (!raw) return {};
    elf::ProgramHeader p;
    p.type = raw->p_type;
    p.flags = raw->p_flags;
    p.file_offset = raw->p_offset;
    p.address = raw->p_vaddr;
    p.file_size = p.wanted_file_size = raw->p_filesz;
    p.memory_size = raw->p_memsz;
    p.alignment = raw->p_align;
    out.push_back(p);
  }
  return out;
}

/// Sets bias and extent from the PT_LOAD that holds the file's first page. False when the headers make no sense.
bool Place(MemoryElf& m, Address begin) {
  bool found = false;
  std::uint64_t low = ~std::uint64_t{0}, high = 0;
  for (const elf::ProgramHeader& p : m.program_headers) {
    if (p.type != PT_LOAD) continue;
    std::uint64_t end = 0;
    if (__builtin_add_overflow(p.address, p.memory_size, &end)) return false;
    low = std::min(low, PageFloor(p.address));
    high = std::max(high, PageCeiling(end));
    if (!found && PageFloor(p.file_offset) == 0) {
      m.load_bias = static_cast<std::int64_t>(begin - PageFloor(p.address));
      found = true;
    }
  }
  if (!found || high <= low || high - low > kMaxExtent) return false;
  if (m.type == ET_EXEC && m.load_bias != 0) return false;
  const auto bias = static_cast<std::uint64_t>(m.load_bias);
  m.extent = {low + bias, high + bias};
  return !m.extent.empty();
}

void ReadBuildId(const MemoryImage& memory, MemoryElf& m) {
  for (const elf::ProgramHeader& p : m.program_headers) {
    if (p.type != PT_NOTE || p.file_size == 0) continue;
    std::vector<std::byte> notes(std::min(p.file_size, kMaxNoteBytes));
    const auto got = memory.Read(static_cast<std::uint64_t>(m.load_bias) + p.address, notes);
    if (!got || *got < notes.size()) m.has_build_id_note = true;
    if (!got) continue;
    m.build_id = elf::FindBuildId(std::span(notes).first(*got), p.alignment);
    if (!m.build_id.empty()) return;
  }
}

/// The value of `tag` in a dynamic section, or nullopt.
std::optional<std::uint64_t> DynamicValue(const MemoryImage& memory, Address dynamic, std::int64_t tag) {
  for (std::size_t i = 0; i < kMaxDynamicEntries; ++i) {
    const auto entry = memory.ReadValue<Elf64_Dyn>(dynamic + i * sizeof(Elf64_Dyn));
    if (!entry || entry->d_tag == DT_NULL) return std::nullopt;
    if (entry->d_tag == tag) return entry->d_un.d_val;
  }
  return std::nullopt;
}

/// Tag and text of the entries of a dynamic section that are texts.
std::vector<std::pair<std::int64_t, std::string>> DynamicTexts(const MemoryImage& memory, const MemoryElf& module) {
  constexpr std::size_t kMaxTexts = 256, kMaxTextBytes = 4096;
  std::vector<std::pair<std::int64_t, std::string>> out;
  const auto& all = module.program_headers;
  const auto p = std::find_if(all.begin(), all.end(), [](const elf::ProgramHeader& h) { return h.type == PT_DYNAMIC; });
  if (p == all.end()) return out;
  const Address dynamic = static_cast<std::uint64_t>(module.load_bias) + p->address;
  const auto strings = DynamicValue(memory, dynamic, DT_STRTAB);
  if (!strings) return out;
  // glibc relocates d_ptr values in place, other dynamic linkers do not.
  const Address table = module.extent.Contains(*strings) ? *strings : *strings + static_cast<std::uint64_t>(module.load_bias);
  for (std::size_t i = 0; i < kMaxDynamicEntries && out.size() < kMaxTexts; ++i) {
    const auto entry = memory.ReadValue<Elf64_Dyn>(dynamic + i * sizeof(Elf64_Dyn));
    if (!entry || entry->d_tag == DT_NULL) break;
    if (entry->d_tag != DT_NEEDED && entry->d_tag != DT_SONAME && entry->d_tag != DT_RUNPATH && entry->d_tag != DT_RPATH) continue;
    if (auto text = memory.ReadCString(table + entry->d_un.d_val, kMaxTextBytes)) out.emplace_back(entry->d_tag, std::move(*text));
  }
  return out;
}

}  // namespace

std::optional<MemoryElf> ReadMemoryElf(const MemoryImage& memory, Address begin) {
  const auto header = memory.ReadValue<Elf64_Ehdr>(begin);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64 ||
      header->e_ident[EI_DATA] != ELFDATA2LSB || header->e_phentsize != sizeof(Elf64_Phdr) || (header->e_type != ET_DYN && header->e_type != ET_EXEC)) {
    return std::nullopt;
  }
  MemoryElf m;
  m.type = header->e_type;
  m.machine = header->e_machine;
  if (header->e_phoff > kMaxExtent) return std::nullopt;
  m.program_headers = ReadProgramHeaders(memory, begin + header->e_phoff, header->e_phnum);
  if (m.program_headers.empty() || !Place(m, begin)) return std::nullopt;
  ReadBuildId(memory, m);
  return m;
}

std::optional<MemoryElf> PlaceElf(const elf::ElfFile& file, Address begin) {
  MemoryElf m;
  m.type = file.type();
  m.machine = file.machine();
  if (m.type != ET_DYN && m.type != ET_EXEC) return std::nullopt;
  m.program_headers.assign(file.program_headers().begin(), file.program_headers().end());
  if (!Place(m, begin)) return std::nullopt;
  m.has_build_id_note = !file.build_id().empty();
  return m;
}

std::string ReadSoname(const MemoryImage& memory, const MemoryElf& module) {
  for (const auto& [tag, text] : DynamicTexts(memory, module)) {
    if (tag == DT_SONAME) return text;
  }
  return {};
}

NeededLibraries ReadNeeded(const MemoryImage& memory, const MemoryElf& module) {
  NeededLibraries out;
  for (const auto& [tag, text] : DynamicTexts(memory, module)) {
    if (tag == DT_NEEDED) out.names.push_back(text);
    if (tag != DT_RUNPATH && tag != DT_RPATH) continue;
    for (std::size_t at = 0; at <= text.size();) {
      const std::size_t end = std::min(text.find(':', at), text.size());
      if (end > at) out.folders.push_back(text.substr(at, end - at));
      at = end + 1;
    }
  }
  return out;
}

bool IsProgram(const MemoryImage& memory, const MemoryElf& module) {
  if (module.type == ET_EXEC) return true;
  bool has_interpreter = false;
  const elf::ProgramHeader* dynamic = nullptr;
  for (const elf::ProgramHeader& p : module.program_headers) {
    has_interpreter |= p.type == PT_INTERP;
    if (p.type == PT_DYNAMIC) dynamic = &p;
  }
  if (!has_interpreter || dynamic == nullptr) return false;
  return (DynamicValue(memory, static_cast<std::uint64_t>(module.load_bias) + dynamic->address, DT_FLAGS_1).value_or(0) & DF_1_PIE) != 0;
}

std::shared_ptr<const elf::ElfFile> ElfFromMemory(const MemoryImage& memory, const MemoryElf& module, const std::string& name, const Limits& limits) {
  const auto bias = static_cast<std::uint64_t>(module.load_bias);
  // The dynamic section, with addresses as the linker wrote them: glibc adds the bias in place.
  std::vector<Elf64_Dyn> dynamic;
  std::vector<std::uint64_t> tables;
  for (const elf::ProgramHeader& p : module.program_headers) {
    for (std::size_t i = 0; p.type == PT_DYNAMIC && i < kMaxDynamicEntries; ++i) {
      auto entry = memory.ReadValue<Elf64_Dyn>(bias + p.address + i * sizeof(Elf64_Dyn));
      if (!entry || entry->d_tag == DT_NULL) break;
      const auto tag = entry->d_tag;
      if (tag == DT_SYMTAB || tag == DT_STRTAB || tag == DT_GNU_HASH || tag == DT_HASH || tag == DT_RELA || tag == DT_JMPREL) {
        if (module.extent.Contains(entry->d_un.d_ptr)) entry->d_un.d_ptr -= bias;
        tables.push_back(entry->d_un.d_ptr);
      }
      dynamic.push_back(*entry);
    }
  }
  if (tables.empty()) return nullptr;
  dynamic.push_back({});
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = module.type;
  header.e_machine = module.machine;
  header.e_version = EV_CURRENT;
  header.e_phoff = header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = static_cast<Elf64_Half>(module.program_headers.size());
  std::vector<Elf64_Phdr> headers;
  std::vector<std::byte> out(sizeof header + module.program_headers.size() * sizeof(Elf64_Phdr));
  for (const elf::ProgramHeader& p : module.program_headers) {
    Elf64_Phdr raw{p.type, p.flags, out.size(), p.address, p.address, 0, p.memory_size, p.alignment};
    const bool holds_table = std::any_of(tables.begin(), tables.end(), [&](std::uint64_t t) { return t >= p.address && t - p.address < p.file_size; });
    if (p.type == PT_LOAD && (p.flags & PF_W) == 0 && holds_table) {
      if (p.file_size > kMaxConstantBytes - std::min<std::uint64_t>(kMaxConstantBytes, out.size())) return nullptr;  // LIMIT: kMaxConstantBytes
      raw.p_filesz = p.file_size;
    } else if (p.type == PT_NOTE) {
      raw.p_filesz = std::min(p.file_size, kMaxNoteBytes);
    } else if (p.type == PT_DYNAMIC) {
      raw.p_filesz = dynamic.size() * sizeof(Elf64_Dyn);
      const auto bytes = std::as_bytes(std::span(dynamic));
      out.insert(out.end(), bytes.begin(), bytes.end());
      headers.push_back(raw);
      continue;
    }
    // Bounded by what is there: the first missing byte ends it before memory for the rest is taken.
    Address at = bias + p.address;
    for (std::uint64_t left = raw.p_filesz; left != 0;) {
      const Segment* s = memory.Find(at);
      if (s == nullptr) {
        if (p.type == PT_LOAD) return nullptr;
        raw.p_filesz -= left;
        break;
      }
      const std::uint64_t n = std::min<std::uint64_t>(left, s->range.end - at);
      const std::byte* bytes = s->bytes + (at - s->range.begin);
      out.insert(out.end(), bytes, bytes + n);
      at += n;
      left -= n;
    }
    headers.push_back(raw);
  }
  std::memcpy(out.data(), &header, sizeof header);
  std::memcpy(out.data() + sizeof header, headers.data(), headers.size() * sizeof(Elf64_Phdr));
  auto file = elf::ElfFile::FromOwnedBytes(std::move(out), name, limits);
  if (!file || (*file)->symbols().empty()) return nullptr;
  return *file;
}

std::vector<LinkMapEntry> ReadLinkMap(const MemoryImage& memory, Address phdr_address, std::uint64_t phdr_count) {
  std::vector<LinkMapEntry> out;
  const auto headers = ReadProgramHeaders(memory, phdr_address, phdr_count);
  const auto self = std::find_if(headers.begin(), headers.end(), [](const elf::ProgramHeader& p) { return p.type == PT_PHDR; });
  const auto dynamic = std::find_if(headers.begin(), headers.end(), [](const elf::ProgramHeader& p) { return p.type == PT_DYNAMIC; });
  if (self == headers.end() || dynamic == headers.end()) return out;
  const Address bias = phdr_address - self->address;
  const auto debug = DynamicValue(memory, bias + dynamic->address, DT_DEBUG);
  if (!debug || *debug == 0) return out;
  // glibc include/link.h: struct r_debug { int r_version; struct link_map *r_map; ... }; struct link_map { l_addr, l_name, l_ld, l_next, l_prev }
  Address entry = memory.ReadPointer(*debug + 8).value_or(0);
  std::unordered_set<Address> seen;
  while (entry != 0 && seen.size() < kMaxLinkMapEntries && seen.insert(entry).second) {
    const auto load_bias = memory.ReadPointer(entry), name = memory.ReadPointer(entry + 8), ld = memory.ReadPointer(entry + 16),
               next = memory.ReadPointer(entry + 24);
    if (!load_bias || !name || !ld || !next) break;
    out.push_back({*load_bias, *ld, memory.ReadCString(*name, 4096).value_or("")});
    entry = *next;
  }
  return out;
}

}  // namespace pygc::target
