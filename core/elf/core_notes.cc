#include "core/elf/core_notes.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "core/base/byte_reader.h"
#include "core/elf/note.h"

namespace pygc::elf {
namespace {

// Linux include/uapi/linux/elfcore.h, x86-64: struct elf_prstatus and elf_prpsinfo.
constexpr std::size_t kPrstatusSize = 336, kPrstatusSignal = 12, kPrstatusPid = 32, kPrstatusRegisters = 112;
constexpr std::size_t kPrpsinfoSize = 136, kPrpsinfoPid = 24, kPrpsinfoName = 40, kPrpsinfoNameSize = 16, kPrpsinfoArguments = 56,
                      kPrpsinfoArgumentsSize = 80;
constexpr std::size_t kSiginfoCode = 8, kSiginfoAddress = 16;

std::string TextIn(std::span<const std::byte> bytes) {
  const char* begin = reinterpret_cast<const char*>(bytes.data());
  return {begin, strnlen(begin, bytes.size())};
}

void ReadThread(const Note& note, CoreNotes& out) {
  if (note.bytes.size() < kPrstatusSize) {
    out.damage.push_back(fmt::format("NT_PRSTATUS has {} bytes, not {}", note.bytes.size(), kPrstatusSize));
    return;
  }
  CoreThread t;
  t.signal = LoadUnchecked<std::int16_t>(note.bytes.data() + kPrstatusSignal);
  t.tid = LoadUnchecked<std::int32_t>(note.bytes.data() + kPrstatusPid);
  t.registers = LoadUnchecked<std::array<std::uint64_t, 27>>(note.bytes.data() + kPrstatusRegisters);
  out.threads.push_back(t);
}

// Linux fs/binfmt_elf.c, fill_files_note(): count, page size, {start, end, offset in pages} each, then the names.
void ReadFiles(const Note& note, CoreNotes& out) {
  out.has_files = true;
  ByteReader reader(note.bytes);
  const auto count = reader.Read<std::uint64_t>(), page_size = reader.Read<std::uint64_t>();
  if (!count || !page_size || *count > reader.remaining() / 24) {
    out.damage.push_back(fmt::format("NT_FILE claims {} mappings in {} bytes", count.value_or(0), note.bytes.size()));
    return;
  }
  ByteReader names(note.bytes);
  names.Seek(16 + 24 * static_cast<std::size_t>(*count));
  for (std::uint64_t i = 0; i < *count; ++i) {
    CoreFileMapping m;
    m.range.begin = *reader.Read<std::uint64_t>();
    m.range.end = *reader.Read<std::uint64_t>();
    const std::uint64_t pages = *reader.Read<std::uint64_t>();
    const auto rest = note.bytes.subspan(names.position());
    const void* end = rest.empty() ? nullptr : std::memchr(rest.data(), 0, rest.size());
    if (end == nullptr) {
      out.damage.push_back(fmt::format("NT_FILE names only {} of its {} mappings", i, *count));
      return;
    }
    const auto length = static_cast<std::size_t>(static_cast<const std::byte*>(end) - rest.data());
    m.path.assign(reinterpret_cast<const char*>(rest.data()), length);
    names.Seek(names.position() + length + 1);
    if (m.range.empty() || __builtin_mul_overflow(pages, *page_size, &m.file_offset)) {
      out.damage.push_back(fmt::format("NT_FILE mapping {} has an impossible range", i));
      continue;
    }
    out.files.push_back(std::move(m));
  }
}

void ReadCoreNote(const Note& note, CoreNotes& out) {
  switch (note.type) {
    case NT_PRSTATUS:
      ReadThread(note, out);
      break;
    case NT_PRPSINFO:
      if (note.bytes.size() < kPrpsinfoSize) break;
      out.pid = LoadUnchecked<std::int32_t>(note.bytes.data() + kPrpsinfoPid);
      out.program_name = TextIn(note.bytes.subspan(kPrpsinfoName, kPrpsinfoNameSize));
      out.arguments = TextIn(note.bytes.subspan(kPrpsinfoArguments, kPrpsinfoArgumentsSize));
      break;
    case NT_AUXV: {
      ByteReader reader(note.bytes);
      while (const auto pair = reader.Read<std::array<std::uint64_t, 2>>()) {
        if ((*pair)[0] == AT_NULL) break;
        out.auxv.emplace_back((*pair)[0], (*pair)[1]);
      }
      break;
    }
    case NT_FILE:
      ReadFiles(note, out);
      break;
    case NT_SIGINFO:
      if (note.bytes.size() < kSiginfoAddress + 8) break;
      out.signal = LoadUnchecked<std::int32_t>(note.bytes.data());
      out.signal_code = LoadUnchecked<std::int32_t>(note.bytes.data() + kSiginfoCode);
      out.fault_address = LoadUnchecked<std::uint64_t>(note.bytes.data() + kSiginfoAddress);
      out.sender = LoadUnchecked<std::int32_t>(note.bytes.data() + kSiginfoAddress);
      break;
    default:
      break;
  }
}

}  // namespace

std::optional<std::uint64_t> CoreNotes::Auxiliary(std::uint64_t type) const noexcept {
  const auto found = std::find_if(auxv.begin(), auxv.end(), [&](const auto& entry) { return entry.first == type; });
  if (found == auxv.end()) return std::nullopt;
  return found->second;
}

CoreNotes ReadCoreNotes(const ElfFile& core, const Limits& limits) {
  CoreNotes out;
  std::uint64_t budget = limits.max_note_bytes;
  for (const ProgramHeader& p : core.program_headers()) {
    if (p.type != PT_NOTE) continue;
    const std::uint64_t size = std::min(budget, p.file_size);  // LIMIT: max_note_bytes
    if (size < p.file_size) out.damage.push_back(fmt::format("notes of {} bytes: only the first {} were read", p.file_size, size));
    if (p.file_size < p.wanted_file_size) out.damage.push_back(fmt::format("notes: {} of {} bytes are in the file", p.file_size, p.wanted_file_size));
    budget -= size;
    NoteReader reader(core.bytes().subspan(size == 0 ? 0 : p.file_offset, size), p.alignment);
    while (const auto note = reader.Next()) {
      if (note->name == "CORE") {
        ReadCoreNote(*note, out);
      } else if (note->name == "QEMU" || note->name == "VMCOREINFO" || note->name == "XEN CORE") {
        out.is_kernel_dump = true;
      }
    }
    if (reader.damaged()) out.damage.push_back(fmt::format("a note at byte {} of its segment has impossible sizes: the rest was not read", reader.position()));
  }
  return out;
}

}  // namespace pygc::elf
