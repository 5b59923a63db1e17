#include "tests/support/core_writer.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace pygc::test {
namespace {

template <typename T>
void Put(std::vector<std::byte>& out, std::size_t at, const T& value) {
  if (out.size() < at + sizeof value) out.resize(at + sizeof value);
  std::memcpy(out.data() + at, &value, sizeof value);
}

void Append(std::vector<std::byte>& out, const void* bytes, std::size_t size) {
  const auto* begin = static_cast<const std::byte*>(bytes);
  out.insert(out.end(), begin, begin + size);
}

void AppendNote(std::vector<std::byte>& out, const std::string& name, std::uint32_t type, const std::vector<std::byte>& bytes) {
  const std::uint32_t header[3] = {static_cast<std::uint32_t>(name.size() + 1), static_cast<std::uint32_t>(bytes.size()), type};
  Append(out, header, sizeof header);
  Append(out, name.c_str(), name.size() + 1);
  while (out.size() % 4 != 0) out.push_back(std::byte{0});
  Append(out, bytes.data(), bytes.size());
  while (out.size() % 4 != 0) out.push_back(std::byte{0});
}

std::uint32_t GnuHash(const std::string& name) {
  std::uint32_t h = 5381;
  for (const char c : name) h = h * 33 + static_cast<unsigned char>(c);
  return h;
}

}  // namespace

TemporaryFile::TemporaryFile(const std::vector<std::byte>& bytes) {
  const char* directory = std::getenv("TMPDIR");
  path_ = std::string(directory != nullptr ? directory : "/tmp") + "/pygc-test-XXXXXX";
  const int file = mkstemp(path_.data());
  if (file < 0) throw std::runtime_error("cannot make a temporary file");
  close(file);
  Replace(bytes);
}

TemporaryFile::~TemporaryFile() { unlink(path_.c_str()); }

void TemporaryFile::Replace(const std::vector<std::byte>& bytes) const {
  FILE* file = std::fopen(path_.c_str(), "wb");
  if (file == nullptr || (!bytes.empty() && std::fwrite(bytes.data(), bytes.size(), 1, file) != 1)) throw std::runtime_error("cannot write " + path_);
  std::fclose(file);
}

CoreWriter& CoreWriter::Load(Address begin, std::vector<std::byte> bytes, std::uint32_t flags, std::uint64_t memory_size) {
  const std::uint64_t size = memory_size != 0 ? memory_size : bytes.size();
  segments_.push_back({begin, std::move(bytes), flags, size});
  return *this;
}

CoreWriter& CoreWriter::Thread(std::int32_t tid, Address stack_pointer, std::int16_t signal, Address instruction_pointer, Address fs_base) {
  std::vector<std::byte> bytes(336);
  Put(bytes, 12, signal);
  Put(bytes, 32, tid);
  Put(bytes, 112 + 8 * 19, stack_pointer);
  Put(bytes, 112 + 8 * 16, instruction_pointer);
  Put(bytes, 112 + 8 * 21, fs_base);
  threads_.push_back({"CORE", NT_PRSTATUS, std::move(bytes)});
  return *this;
}

CoreWriter& CoreWriter::File(AddressRange range, std::uint64_t file_offset, std::string path) {
  files_.push_back({range, file_offset, std::move(path)});
  return *this;
}

CoreWriter& CoreWriter::Auxiliary(std::uint64_t entry_type, std::uint64_t value) {
  auxv_.push_back(entry_type);
  auxv_.push_back(value);
  return *this;
}

CoreWriter& CoreWriter::Note(std::string name, std::uint32_t note_type, std::vector<std::byte> bytes) {
  others_.push_back({std::move(name), note_type, std::move(bytes)});
  return *this;
}

std::vector<std::byte> CoreWriter::Build() const {
  std::vector<std::byte> notes;
  for (const OtherNote& n : threads_) AppendNote(notes, n.name, n.type, n.bytes);
  std::vector<std::byte> prpsinfo(136);
  Put(prpsinfo, 24, pid);
  std::memcpy(prpsinfo.data() + 40, "test", 4);
  std::memcpy(prpsinfo.data() + 56, "test --flag", 11);
  AppendNote(notes, "CORE", NT_PRPSINFO, prpsinfo);
  std::vector<std::byte> auxv;
  Append(auxv, auxv_.data(), auxv_.size() * 8);
  auxv.resize(auxv.size() + 16);
  AppendNote(notes, "CORE", NT_AUXV, auxv);
  if (write_files && !files_.empty()) {
    std::vector<std::byte> table;
    const std::uint64_t header[2] = {files_.size(), 4096};
    Append(table, header, sizeof header);
    for (const MappedFile& f : files_) {
      const std::uint64_t entry[3] = {f.range.begin, f.range.end, f.file_offset / 4096};
      Append(table, entry, sizeof entry);
    }
    for (const MappedFile& f : files_) Append(table, f.path.c_str(), f.path.size() + 1);
    AppendNote(notes, "CORE", NT_FILE, table);
  }
  for (const OtherNote& n : others_) AppendNote(notes, n.name, n.type, n.bytes);

  const std::size_t count = segments_.size() + 1, notes_at = sizeof(Elf64_Ehdr) + count * sizeof(Elf64_Phdr);
  std::vector<std::byte> out(notes_at);
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = elf_class;
  header.e_ident[EI_DATA] = data;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = type;
  header.e_machine = machine;
  header.e_version = EV_CURRENT;
  header.e_phoff = sizeof(Elf64_Ehdr);
  header.e_ehsize = sizeof(Elf64_Ehdr);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = static_cast<Elf64_Half>(extended_count ? PN_XNUM : count);
  Append(out, notes.data(), notes.size());
  Elf64_Phdr note{};
  note.p_type = PT_NOTE;
  note.p_offset = notes_at;
  note.p_filesz = notes.size();
  Put(out, sizeof(Elf64_Ehdr), note);
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    const Segment& s = segments_[i];
    out.resize((out.size() + 4095) / 4096 * 4096);
    Elf64_Phdr p{};
    p.p_type = PT_LOAD;
    p.p_flags = s.flags;
    p.p_offset = out.size();
    p.p_vaddr = s.begin;
    p.p_filesz = s.bytes.size();
    p.p_memsz = s.memory_size;
    p.p_align = 4096;
    Put(out, sizeof(Elf64_Ehdr) + (i + 1) * sizeof(Elf64_Phdr), p);
    Append(out, s.bytes.data(), s.bytes.size());
  }
  if (extended_count) {
    header.e_shoff = out.size();
    header.e_shentsize = sizeof(Elf64_Shdr);
    header.e_shnum = 1;
    Elf64_Shdr section{};
    section.sh_info = static_cast<Elf64_Word>(count);
    Append(out, &section, sizeof section);
  }
  Put(out, 0, header);
  return out;
}

std::vector<std::byte> ModuleWriter::Build() const {
  std::vector<std::byte> out(0x3000);
  std::fill(out.begin() + 0x1000, out.begin() + 0x2000, std::byte{fill});
  for (std::size_t i = 0x2000; i < 0x3000; ++i) out[i] = static_cast<std::byte>(i * 3);

  std::vector<std::byte> strings(1);
  std::vector<std::byte> table(sizeof(Elf64_Sym));
  const auto add_string = [&](const std::string& text) {
    const std::size_t at = strings.size();
    Append(strings, text.c_str(), text.size() + 1);
    return static_cast<Elf64_Word>(at);
  };
  const auto soname_at = add_string(soname);
  for (const Symbol& s : symbols) {
    Elf64_Sym raw{};
    raw.st_name = add_string(s.name);
    raw.st_info = static_cast<unsigned char>(ELF64_ST_INFO(STB_GLOBAL, s.type));
    raw.st_shndx = 1;
    raw.st_value = s.address;
    raw.st_size = s.size;
    Append(table, &raw, sizeof raw);
  }
  std::vector<std::uint32_t> hash;
  if (use_sysv_hash) {
    hash = {1, static_cast<std::uint32_t>(symbols.size() + 1), symbols.empty() ? 0u : 1u, 0};
    for (std::size_t i = 1; i <= symbols.size(); ++i) hash.push_back(i < symbols.size() ? static_cast<std::uint32_t>(i + 1) : 0);
  } else {
    hash = {1, 1, 1, 0, 0xFFFFFFFF, 0xFFFFFFFF, symbols.empty() ? 0u : 1u};  // one bucket, first symbol 1, one Bloom word that lets all pass
    for (std::size_t i = 0; i < symbols.size(); ++i) hash.push_back((GnuHash(symbols[i].name) & ~1u) | (i + 1 == symbols.size() ? 1u : 0u));
  }
  constexpr std::size_t kNoteAt = 0x300, kHashAt = 0x400, kSymbolsAt = 0x600, kStringsAt = 0xA00, kDynamicAt = 0xE00, kRelaAt = 0xD00;
  if (!build_id.empty()) {
    std::vector<std::byte> id, note;
    for (std::size_t i = 0; i + 1 < build_id.size(); i += 2) id.push_back(static_cast<std::byte>(std::stoul(build_id.substr(i, 2), nullptr, 16)));
    AppendNote(note, "GNU", NT_GNU_BUILD_ID, id);
    std::memcpy(out.data() + kNoteAt, note.data(), note.size());
  }
  std::memcpy(out.data() + kHashAt, hash.data(), hash.size() * 4);
  std::memcpy(out.data() + kSymbolsAt, table.data(), table.size());
  std::memcpy(out.data() + kStringsAt, strings.data(), strings.size());
  const Elf64_Rela relocations[2] = {{0x3010, ELF64_R_INFO(1, R_X86_64_GLOB_DAT), 0}, {0x3008, ELF64_R_INFO(0, R_X86_64_RELATIVE), 0x1000}};
  std::memcpy(out.data() + kRelaAt, relocations, sizeof relocations);
  const std::vector<Elf64_Dyn> dynamic = {{DT_SONAME, {soname_at}},
                                          {use_sysv_hash ? DT_HASH : DT_GNU_HASH, {kHashAt}},
                                          {DT_SYMTAB, {kSymbolsAt}},
                                          {DT_STRTAB, {kStringsAt}},
                                          {DT_STRSZ, {strings.size()}},
                                          {DT_RELA, {kRelaAt}},
                                          {DT_RELASZ, {sizeof relocations}},
                                          {DT_NULL, {0}}};
  std::memcpy(out.data() + kDynamicAt, dynamic.data(), dynamic.size() * sizeof(Elf64_Dyn));

  std::vector<Elf64_Phdr> headers;
  headers.push_back({PT_LOAD, PF_R, 0, 0, 0, 0x1000, 0x1000, 0x1000});
  headers.push_back({PT_LOAD, PF_R | PF_X, 0x1000, 0x1000, 0x1000, 0x1000, 0x1000, 0x1000});
  headers.push_back({PT_LOAD, PF_R | PF_W, 0x2000, 0x3000, 0x3000, 0x1000, 0x1800, 0x1000});
  headers.push_back({PT_DYNAMIC, PF_R, kDynamicAt, kDynamicAt, kDynamicAt, dynamic.size() * sizeof(Elf64_Dyn), dynamic.size() * sizeof(Elf64_Dyn), 8});
  if (!build_id.empty()) headers.push_back({PT_NOTE, PF_R, kNoteAt, kNoteAt, kNoteAt, 16 + build_id.size() / 2, 16 + build_id.size() / 2, 4});
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_DYN;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_phoff = sizeof header;
  header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = static_cast<Elf64_Half>(headers.size());
  std::memcpy(out.data(), &header, sizeof header);
  std::memcpy(out.data() + sizeof header, headers.data(), headers.size() * sizeof(Elf64_Phdr));
  return out;
}

std::vector<std::byte> Filled(std::size_t size, std::uint8_t value) { return std::vector<std::byte>(size, std::byte{value}); }

std::vector<std::byte> Slice(const std::vector<std::byte>& bytes, std::size_t begin, std::size_t size) {
  const auto first = bytes.begin() + static_cast<std::ptrdiff_t>(begin);
  return {first, first + static_cast<std::ptrdiff_t>(size)};
}

}  // namespace pygc::test
