#include "core/elf/elf_file.h"

#include <elf.h>
#include <gelf.h>
#include <libelf.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <unordered_set>
#include <utility>

#include "core/base/byte_reader.h"
#include "core/elf/decompress.h"
#include "core/elf/file_kind.h"
#include "core/elf/note.h"

namespace pygc::elf {
namespace {

constexpr std::size_t kMaxDebugDataBytes = 256u << 20;  // .gnu_debugdata holds a symbol table, a few MiB at most

/// Where a symbol was found, best first; then its binding: what a name or an address means where several symbols claim it.
enum class Rank : std::uint8_t { kSymtabGlobal, kDynsymGlobal, kDebugDataGlobal, kWeak, kLocal };

struct RankedSymbol {
  Symbol symbol;
  Rank rank;
};

struct SymbolIndex {
  std::vector<Symbol> symbols;            // sorted by address, then rank, then name
  std::vector<std::uint32_t> by_name;     // into symbols: definitions sorted by name, then rank
  std::vector<std::uint64_t> furthest_end;  // the largest end among symbols[0..i]: bounds the search backwards
  std::shared_ptr<const ElfFile> debug_data;  // owns names
};

/// `bytes[offset, offset + size)` as far as it lies inside.
std::span<const std::byte> Clamp(std::span<const std::byte> bytes, std::uint64_t offset, std::uint64_t size) {
  if (offset >= bytes.size()) return {};
  return bytes.subspan(offset, static_cast<std::size_t>(std::min<std::uint64_t>(size, bytes.size() - offset)));
}

/// The NUL-terminated text at `offset`; empty when it has no end inside `table`.
std::string_view TextAt(std::span<const std::byte> table, std::uint64_t offset) {
  if (offset >= table.size()) return {};
  const auto rest = table.subspan(offset);
  const void* end = std::memchr(rest.data(), 0, rest.size());
  if (end == nullptr) return {};
  const char* begin = reinterpret_cast<const char*>(rest.data());
  return {begin, static_cast<std::size_t>(static_cast<const char*>(end) - begin)};
}

/// Adds symbol `raw`, unless it names a section, a file or nothing.
void AddSymbol(const Elf64_Sym& raw, std::string_view name, Rank global_rank, std::vector<RankedSymbol>& out) {
  const unsigned type = ELF64_ST_TYPE(raw.st_info), binding = ELF64_ST_BIND(raw.st_info);
  if (name.empty() || type == STT_SECTION || type == STT_FILE) return;
  Symbol s;
  s.name = name;
  s.address = raw.st_value;
  s.size = raw.st_size;
  s.is_function = type == STT_FUNC || type == STT_GNU_IFUNC;
  s.is_object = type == STT_OBJECT;
  s.is_tls = type == STT_TLS;
  s.is_undefined = raw.st_shndx == SHN_UNDEF;
  out.push_back({s, binding == STB_LOCAL ? Rank::kLocal : binding == STB_WEAK ? Rank::kWeak : global_rank});
}

/// An Elf of libelf over bytes in memory. libelf is used by one thread at a time and only for section headers: the loader never looks at those,
/// so what matters for a running module is read from its program headers.
class LibElf {
 public:
  explicit LibElf(std::span<const std::byte> bytes) {
    elf_version(EV_CURRENT);
    elf_ = elf_memory(reinterpret_cast<char*>(const_cast<std::byte*>(bytes.data())), bytes.size());  // opened for reading: not written to
  }
  ~LibElf() {
    if (elf_ != nullptr) elf_end(elf_);
  }
  LibElf(const LibElf&) = delete;
  LibElf& operator=(const LibElf&) = delete;
  [[nodiscard]] Elf* get() const noexcept { return elf_; }

 private:
  Elf* elf_ = nullptr;
};

}  // namespace

struct ElfFile::Impl {
  std::string path;
  std::shared_ptr<const MappedFile> file;
  std::vector<std::byte> owned;
  std::span<const std::byte> bytes;
  Limits limits;

  Elf64_Ehdr header{};
  std::vector<ProgramHeader> program_headers;
  bool headers_cut = false;
  std::string build_id;

  std::once_flag sections_once, symbols_once, relocations_once;
  std::vector<Section> sections;
  SymbolIndex index;
  std::vector<Relocation> relocations;

  /// The tables of PT_DYNAMIC that matter here.
  struct Dynamic {
    std::uint64_t symtab = 0, strtab = 0, strsz = 0, gnu_hash = 0, hash = 0, rela = 0, relasz = 0, jmprel = 0, pltrelsz = 0;
  };

  void ReadProgramHeaders();
  void ReadBuildId();
  void ReadSections();
  void ReadSymbols();
  void ReadRelocations();
  void AddSymtab(std::vector<RankedSymbol>& out);
  void AddDynsym(std::vector<RankedSymbol>& out) const;
  void AddDebugData(std::vector<RankedSymbol>& out);
  [[nodiscard]] Dynamic ReadDynamic() const;
  [[nodiscard]] std::uint64_t DynamicSymbolCount(const Dynamic& d) const;
  [[nodiscard]] std::span<const std::byte> BytesAt(std::uint64_t address) const noexcept;
};

Result<std::shared_ptr<const ElfFile>> ElfFile::Open(const std::string& path, const Limits& limits) {
  auto file = MappedFile::Open(path, limits.max_module_file_bytes);
  if (!file) return tl::unexpected(file.error());
  return FromFile(std::move(*file), limits);
}

Result<std::shared_ptr<const ElfFile>> ElfFile::FromFile(std::shared_ptr<const MappedFile> file, const Limits& limits) {
  auto impl = std::make_unique<Impl>();
  impl->path = file->path();
  impl->bytes = file->bytes();
  impl->file = std::move(file);
  return Parse(std::move(impl), limits);
}

Result<std::shared_ptr<const ElfFile>> ElfFile::FromBytes(std::span<const std::byte> bytes, const Limits& limits) {
  auto impl = std::make_unique<Impl>();
  impl->bytes = bytes;
  return Parse(std::move(impl), limits);
}

Result<std::shared_ptr<const ElfFile>> ElfFile::FromOwnedBytes(std::vector<std::byte> bytes, const std::string& path, const Limits& limits) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->owned = std::move(bytes);
  impl->bytes = impl->owned;
  return Parse(std::move(impl), limits);
}

Result<std::shared_ptr<const ElfFile>> ElfFile::Parse(std::unique_ptr<Impl> impl, const Limits& limits) {
  const auto bytes = impl->bytes;
  const bool readable = bytes.size() >= sizeof(Elf64_Ehdr) && std::memcmp(bytes.data(), ELFMAG, SELFMAG) == 0 &&
                        bytes[EI_CLASS] == std::byte{ELFCLASS64} && bytes[EI_DATA] == std::byte{ELFDATA2LSB};
  if (!readable) {
    return Fail(ErrorCode::kNotAnalysable, "{}{}{}, not a 64-bit little-endian ELF file", impl->path, impl->path.empty() ? "" : ": ",
                DescribeFile(bytes));
  }
  impl->limits = limits;
  impl->header = LoadUnchecked<Elf64_Ehdr>(bytes.data());
  if (const Elf64_Ehdr& h = impl->header; h.e_phnum != 0 && h.e_phentsize != sizeof(Elf64_Phdr)) {
    return Fail(ErrorCode::kNotAnalysable, "{}{}a damaged ELF file: its program headers are said to have {} bytes, not {}", impl->path, impl->path.empty() ? "" : ": ",
                h.e_phentsize, sizeof(Elf64_Phdr));
  }
  impl->ReadProgramHeaders();
  if (impl->program_headers.size() > limits.max_program_headers) {
    return Fail(ErrorCode::kLimit, "{}: {} program headers, more than the {} allowed", impl->path, impl->program_headers.size(),
                limits.max_program_headers);
  }
  impl->ReadBuildId();
  return std::shared_ptr<const ElfFile>(new ElfFile(std::move(impl)));
}

void ElfFile::Impl::ReadProgramHeaders() {
  constexpr std::uint64_t kStride = sizeof(Elf64_Phdr);
  if (header.e_phoff >= bytes.size()) {
    headers_cut = header.e_phnum != 0 && header.e_phoff != 0;
    return;
  }
  std::uint64_t count = header.e_phnum;
  const std::uint64_t there = (bytes.size() - header.e_phoff) / kStride;
  if (count == PN_XNUM) {
    const auto first_section = Clamp(bytes, header.e_shoff, sizeof(Elf64_Shdr));
    if (header.e_shoff != 0 && first_section.size() == sizeof(Elf64_Shdr)) {
      count = LoadUnchecked<Elf64_Shdr>(first_section.data()).sh_info;
    } else if (there > 0) {
      // Section headers are the last thing in a core: gone when it is truncated. The kernel writes the notes right behind the program headers.
      const auto first = LoadUnchecked<Elf64_Phdr>(bytes.data() + header.e_phoff);
      if (first.p_type == PT_NOTE && first.p_offset > header.e_phoff) {
        count = (first.p_offset - header.e_phoff) / kStride;
      } else {
        headers_cut = true;
      }
    }
  }
  if (count > there) {
    headers_cut = true;
    count = there;
  }
  count = std::min<std::uint64_t>(count, limits.max_program_headers + std::uint64_t{1});  // LIMIT: max_program_headers, reported by the caller
  program_headers.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto raw = LoadUnchecked<Elf64_Phdr>(bytes.data() + header.e_phoff + i * kStride);
    ProgramHeader p;
    p.type = raw.p_type;
    p.flags = raw.p_flags;
    p.file_offset = raw.p_offset;
    p.address = raw.p_vaddr;
    p.alignment = raw.p_align;
    p.memory_size = std::min<std::uint64_t>(raw.p_memsz, ~std::uint64_t{0} - raw.p_vaddr);
    p.wanted_file_size = std::min<std::uint64_t>(raw.p_filesz, ~std::uint64_t{0} - raw.p_offset);
    if (p.type == PT_LOAD) p.wanted_file_size = std::min(p.wanted_file_size, p.memory_size);
    p.file_size = Clamp(bytes, p.file_offset, p.wanted_file_size).size();
    program_headers.push_back(p);
  }
}

void ElfFile::Impl::ReadBuildId() {
  if (header.e_type == ET_CORE) return;
  for (const ProgramHeader& p : program_headers) {
    if (p.type != PT_NOTE) continue;
    build_id = FindBuildId(Clamp(bytes, p.file_offset, p.file_size), p.alignment);
    if (!build_id.empty()) return;
  }
  // A separate debug file keeps its note sections, but its program headers describe the file it was split from.
  const LibElf elf(bytes);
  Elf_Scn* section = nullptr;
  while (elf.get() != nullptr && (section = elf_nextscn(elf.get(), section)) != nullptr) {
    GElf_Shdr raw;
    if (gelf_getshdr(section, &raw) == nullptr || raw.sh_type != SHT_NOTE) continue;
    build_id = FindBuildId(Clamp(bytes, raw.sh_offset, raw.sh_size), raw.sh_addralign);
    if (!build_id.empty()) return;
  }
}

void ElfFile::Impl::ReadSections() {
  const LibElf elf(bytes);
  std::size_t names = 0;
  if (elf.get() == nullptr || elf_getshdrstrndx(elf.get(), &names) != 0) return;
  Elf_Scn* section = nullptr;
  while ((section = elf_nextscn(elf.get(), section)) != nullptr) {
    GElf_Shdr raw;
    if (gelf_getshdr(section, &raw) == nullptr) continue;
    const char* name = elf_strptr(elf.get(), names, raw.sh_name);
    Section s;
    s.name = name != nullptr ? std::string(name, strnlen(name, limits.max_name_bytes)) : "";
    s.type = raw.sh_type;
    s.flags = raw.sh_flags;
    s.address = raw.sh_addr;
    s.file_offset = raw.sh_offset;
    s.size = raw.sh_size;
    sections.push_back(std::move(s));
  }
}

std::span<const std::byte> ElfFile::Impl::BytesAt(std::uint64_t address) const noexcept {
  for (const ProgramHeader& p : program_headers) {
    if (p.type != PT_LOAD || address < p.address || address - p.address >= p.file_size) continue;
    const std::uint64_t skip = address - p.address;
    return bytes.subspan(p.file_offset + skip, p.file_size - skip);
  }
  return {};
}

ElfFile::Impl::Dynamic ElfFile::Impl::ReadDynamic() const {
  Dynamic d;
  for (const ProgramHeader& p : program_headers) {
    if (p.type != PT_DYNAMIC) continue;
    ByteReader entries(Clamp(bytes, p.file_offset, p.file_size));
    while (const auto entry = entries.Read<Elf64_Dyn>()) {
      const std::uint64_t value = entry->d_un.d_val;
      switch (entry->d_tag) {
        case DT_NULL: return d;
        case DT_SYMTAB: d.symtab = value; break;
        case DT_STRTAB: d.strtab = value; break;
        case DT_STRSZ: d.strsz = value; break;
        case DT_GNU_HASH: d.gnu_hash = value; break;
        case DT_HASH: d.hash = value; break;
        case DT_RELA: d.rela = value; break;
        case DT_RELASZ: d.relasz = value; break;
        case DT_JMPREL: d.jmprel = value; break;
        case DT_PLTRELSZ: d.pltrelsz = value; break;
        default: break;
      }
    }
  }
  return d;
}

std::uint64_t ElfFile::Impl::DynamicSymbolCount(const Dynamic& d) const {
  if (const auto table = BytesAt(d.hash); d.hash != 0 && table.size() >= 8) return LoadUnchecked<std::uint32_t>(table.data() + 4);  // nchain
  // glibc elf/dl-lookup.c: header {buckets, first hashed symbol, Bloom words, shift}, Bloom filter, buckets, chains; bit 0 ends a chain.
  const auto table = BytesAt(d.gnu_hash);
  if (d.gnu_hash == 0 || table.size() < 16) return 0;
  const std::uint64_t buckets = LoadUnchecked<std::uint32_t>(table.data()), first = LoadUnchecked<std::uint32_t>(table.data() + 4);
  const std::uint64_t buckets_at = 16 + 8 * std::uint64_t{LoadUnchecked<std::uint32_t>(table.data() + 8)};
  if (buckets_at > table.size() || buckets > (table.size() - buckets_at) / 4) return 0;
  std::uint64_t last = 0;
  for (std::uint64_t i = 0; i < buckets; ++i) last = std::max<std::uint64_t>(last, LoadUnchecked<std::uint32_t>(table.data() + buckets_at + 4 * i));
  if (last < first) return first;
  const auto chains = table.subspan(buckets_at + 4 * buckets);
  while ((last - first) < chains.size() / 4 && (LoadUnchecked<std::uint32_t>(chains.data() + 4 * (last - first)) & 1) == 0) ++last;
  return last + 1;
}

void ElfFile::Impl::AddDynsym(std::vector<RankedSymbol>& out) const {
  const Dynamic d = ReadDynamic();
  const auto table = BytesAt(d.symtab), names = Clamp(BytesAt(d.strtab), 0, d.strsz);
  const std::uint64_t count = std::min<std::uint64_t>(DynamicSymbolCount(d), table.size() / sizeof(Elf64_Sym));
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto raw = LoadUnchecked<Elf64_Sym>(table.data() + i * sizeof(Elf64_Sym));
    AddSymbol(raw, TextAt(names, raw.st_name), Rank::kDynsymGlobal, out);
  }
}

void ElfFile::Impl::AddSymtab(std::vector<RankedSymbol>& out) {
  const LibElf elf(bytes);
  Elf_Scn* section = nullptr;
  while (elf.get() != nullptr && (section = elf_nextscn(elf.get(), section)) != nullptr) {
    GElf_Shdr raw, names_raw;
    if (gelf_getshdr(section, &raw) == nullptr || raw.sh_type != SHT_SYMTAB) continue;
    Elf_Scn* names_section = elf_getscn(elf.get(), raw.sh_link);
    if (names_section == nullptr || gelf_getshdr(names_section, &names_raw) == nullptr || names_raw.sh_type != SHT_STRTAB) continue;
    if ((raw.sh_flags & SHF_COMPRESSED) != 0 || (names_raw.sh_flags & SHF_COMPRESSED) != 0) continue;  // no linker does this
    const auto table = Clamp(bytes, raw.sh_offset, raw.sh_size), names = Clamp(bytes, names_raw.sh_offset, names_raw.sh_size);
    for (std::size_t at = 0; table.size() - at >= sizeof(Elf64_Sym); at += sizeof(Elf64_Sym)) {
      const auto symbol = LoadUnchecked<Elf64_Sym>(table.data() + at);
      AddSymbol(symbol, TextAt(names, symbol.st_name), Rank::kSymtabGlobal, out);
    }
  }
}

void ElfFile::Impl::AddDebugData(std::vector<RankedSymbol>& out) {
  const auto found = std::find_if(sections.begin(), sections.end(), [](const Section& s) { return s.name == ".gnu_debugdata"; });
  if (found == sections.end()) return;
  std::vector<std::byte> unpacked;
  const auto status = Decompress(Clamp(bytes, found->file_offset, found->size), kMaxDebugDataBytes, limits.max_decompression_ratio,
                                 [&](std::span<const std::byte> piece) {
                                   unpacked.insert(unpacked.end(), piece.begin(), piece.end());
                                   return true;
                                 });
  if (!status) return;
  auto debug_data = FromOwnedBytes(std::move(unpacked), path + " (.gnu_debugdata)", limits);
  if (!debug_data) return;
  std::vector<RankedSymbol> more;
  (*debug_data)->impl_->AddSymtab(more);
  for (RankedSymbol& s : more) {
    if (s.rank == Rank::kSymtabGlobal) s.rank = Rank::kDebugDataGlobal;
    out.push_back(s);
  }
  index.debug_data = std::move(*debug_data);
}

void ElfFile::Impl::ReadSymbols() {
  std::call_once(sections_once, [this] { ReadSections(); });
  std::vector<RankedSymbol> all;
  AddSymtab(all);
  AddDynsym(all);
  AddDebugData(all);
  const auto key = [](const RankedSymbol& s) { return std::tuple(s.symbol.address, s.rank, s.symbol.name); };
  std::sort(all.begin(), all.end(), [&](const RankedSymbol& a, const RankedSymbol& b) { return key(a) < key(b); });
  // The same symbol is in .symtab and .dynsym; the better rank sorts first. Names at one address are few.
  std::vector<Rank> ranks;
  std::unordered_set<std::string_view> here;
  for (const RankedSymbol& s : all) {
    if (!index.symbols.empty() && index.symbols.back().address != s.symbol.address) here.clear();
    if (!here.insert(s.symbol.name).second) continue;
    index.symbols.push_back(s.symbol);
    ranks.push_back(s.rank);
  }
  std::uint64_t furthest = 0;
  for (std::uint32_t i = 0; i < index.symbols.size(); ++i) {
    const Symbol& s = index.symbols[i];
    if (!s.is_undefined) {
      index.by_name.push_back(i);
      if (!s.is_tls) furthest = std::max(furthest, s.address + std::min(s.size, ~std::uint64_t{0} - s.address));
    }
    index.furthest_end.push_back(furthest);
  }
  const auto name_key = [&](std::uint32_t i) { return std::tuple(index.symbols[i].name, ranks[i], i); };
  std::sort(index.by_name.begin(), index.by_name.end(), [&](std::uint32_t a, std::uint32_t b) { return name_key(a) < name_key(b); });
}

void ElfFile::Impl::ReadRelocations() {
  const Dynamic d = ReadDynamic();
  const auto symbols = BytesAt(d.symtab), names = Clamp(BytesAt(d.strtab), 0, d.strsz);
  const auto add = [&](std::uint64_t address, std::uint64_t size) {
    if (address == 0) return;
    ByteReader entries(Clamp(BytesAt(address), 0, size));
    while (const auto raw = entries.Read<Elf64_Rela>()) {
      Relocation r;
      r.address = raw->r_offset;
      r.type = static_cast<std::uint32_t>(ELF64_R_TYPE(raw->r_info));
      r.addend = raw->r_addend;
      const std::uint64_t symbol = ELF64_R_SYM(raw->r_info);
      if (symbol != 0 && symbol < symbols.size() / sizeof(Elf64_Sym)) {
        r.symbol = TextAt(names, LoadUnchecked<Elf64_Sym>(symbols.data() + symbol * sizeof(Elf64_Sym)).st_name);
      }
      relocations.push_back(r);
    }
  };
  add(d.rela, d.relasz);
  add(d.jmprel, d.pltrelsz);
  std::stable_sort(relocations.begin(), relocations.end(), [](const Relocation& a, const Relocation& b) { return a.address < b.address; });
}

ElfFile::ElfFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ElfFile::~ElfFile() = default;

const std::string& ElfFile::path() const noexcept { return impl_->path; }
std::span<const std::byte> ElfFile::bytes() const noexcept { return impl_->bytes; }
bool ElfFile::IsOf(const MappedFile& file) const noexcept {
  return impl_->file != nullptr && impl_->file->identity() == file.identity() && impl_->path == file.path() && impl_->bytes.size() == file.bytes().size();
}
std::uint16_t ElfFile::type() const noexcept { return impl_->header.e_type; }
std::uint16_t ElfFile::machine() const noexcept { return impl_->header.e_machine; }
std::uint64_t ElfFile::entry() const noexcept { return impl_->header.e_entry; }
std::span<const ProgramHeader> ElfFile::program_headers() const noexcept { return impl_->program_headers; }
bool ElfFile::program_headers_cut() const noexcept { return impl_->headers_cut; }
const std::string& ElfFile::build_id() const noexcept { return impl_->build_id; }
std::span<const std::byte> ElfFile::BytesAt(std::uint64_t address) const noexcept { return impl_->BytesAt(address); }

std::span<const Section> ElfFile::sections() const {
  std::call_once(impl_->sections_once, [this] { impl_->ReadSections(); });
  return impl_->sections;
}

std::span<const Symbol> ElfFile::symbols() const {
  std::call_once(impl_->symbols_once, [this] { impl_->ReadSymbols(); });
  return impl_->index.symbols;
}

std::span<const Relocation> ElfFile::relocations() const {
  std::call_once(impl_->relocations_once, [this] { impl_->ReadRelocations(); });
  return impl_->relocations;
}

std::optional<Symbol> ElfFile::FindSymbol(std::string_view name) const {
  std::call_once(impl_->symbols_once, [this] { impl_->ReadSymbols(); });
  const SymbolIndex& index = impl_->index;
  const auto found = std::lower_bound(index.by_name.begin(), index.by_name.end(), name,
                                      [&](std::uint32_t i, std::string_view wanted) { return index.symbols[i].name < wanted; });
  if (found == index.by_name.end() || index.symbols[*found].name != name) return std::nullopt;
  return index.symbols[*found];
}

std::optional<Symbol> ElfFile::SymbolAt(std::uint64_t address) const {
  constexpr int kMaxSteps = 4096;  // symbols rarely nest; a hostile table of nested ones must not make every lookup slow
  std::call_once(impl_->symbols_once, [this] { impl_->ReadSymbols(); });
  const SymbolIndex& index = impl_->index;
  auto i = static_cast<std::size_t>(std::upper_bound(index.symbols.begin(), index.symbols.end(), address,
                                                     [](std::uint64_t a, const Symbol& s) { return a < s.address; }) -
                                    index.symbols.begin());
  std::optional<Symbol> best;  // the innermost one: the largest address; at one address the first by rank
  for (int steps = 0; i-- > 0 && steps < kMaxSteps && index.furthest_end[i] > address; ++steps) {
    const Symbol& s = index.symbols[i];
    if (best && s.address != best->address) break;
    if (s.is_undefined || s.is_tls || !(s.is_function || s.is_object)) continue;
    if (address - s.address < s.size) best = s;
  }
  return best;
}

bool ElfFile::has_dwarf() const {
  const auto all = sections();
  return std::any_of(all.begin(), all.end(), [](const Section& s) { return s.name == ".debug_info" || s.name == ".zdebug_info"; });
}

}  // namespace pygc::elf
