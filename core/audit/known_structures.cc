#include "core/audit/known_structures.h"

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/audit/static_data.h"

namespace pygc::audit {

namespace {

// struct _block {ab_size, ab_offset, ab_next, ab_mem}; the memory lies behind it, 8 KB or more.
AddressRange SyntaxTree(const target::MemoryImage& memory, AddressRange chunk) noexcept {
  constexpr std::uint64_t kTreeHead = 32, kLeastTree = 8192;
  for (const std::uint64_t debug : {std::uint64_t{0}, std::uint64_t{16}}) {  // the head that the debug allocator puts in front
    const AddressRange block{chunk.begin + debug, chunk.end};
    const std::byte* const p = chunk.size() >= debug + kTreeHead + kLeastTree ? memory.At(block.begin, kTreeHead) : nullptr;
    if (p == nullptr) return {};
    const auto size = LoadUnchecked<std::uint64_t>(p), used = LoadUnchecked<std::uint64_t>(p + 8), first = LoadUnchecked<std::uint64_t>(p + 24);
    if (size >= kLeastTree && size <= block.size() - kTreeHead && used <= size && first == block.begin + kTreeHead) return block;
  }
  return {};
}

// struct dlfo_mappings_segment {previous, to_free, size, allocated, objects[]}, at a cache line's beginning; struct dl_find_object_internal {map_start, map_end,
// link_map, eh_frame}, in the order of addresses. Returns the entries and the head before them.
AddressRange TableOfMappings(const target::MemoryImage& memory, AddressRange chunk) noexcept {
  constexpr std::uint64_t kTableHead = 32, kEntry = 32, kAlignment = 64;
  if (chunk.size() < kAlignment + kTableHead + kEntry) return {};
  for (Address table = chunk.begin; table <= chunk.begin + kAlignment; table += 8) {
    const std::byte* p = memory.At(table, kTableHead);
    if (p == nullptr) return {};
    const auto size = LoadUnchecked<std::uint64_t>(p + 16), room = LoadUnchecked<std::uint64_t>(p + 24);
    if (LoadUnchecked<std::uint64_t>(p + 8) != chunk.begin || size == 0 || size > room || room > (chunk.end - table - kTableHead) / kEntry) continue;
    p = memory.At(table + kTableHead, size * kEntry);
    Address before = 0;
    bool fits = p != nullptr;
    for (std::uint64_t i = 0; fits && i < size; ++i, p += kEntry) {
      const auto from = LoadUnchecked<Address>(p), to = LoadUnchecked<Address>(p + 8), map = LoadUnchecked<Address>(p + 16), unwind = LoadUnchecked<Address>(p + 24);
      fits = from >= before && from < to && map != 0 && (unwind == 0 || (unwind >= from && unwind < to));
      before = to;
    }
    if (fits) return {table, table + kTableHead + size * kEntry};
  }
  return {};
}

}  // namespace

std::array<AddressRange, 2> PartsWithoutReferences(const target::MemoryImage& memory, AddressRange chunk) noexcept {
  if (const AddressRange tree = SyntaxTree(memory, chunk); !tree.empty()) return {tree};
  const AddressRange table = TableOfMappings(memory, chunk);
  if (table.empty()) return {};
  return {AddressRange{chunk.begin, table.begin}, AddressRange{table.end, chunk.end}};
}

AddressRange EmergencyPool(const target::Process& process) noexcept {
  constexpr std::uint64_t kLeast = 4096, kMost = 1u << 24, kEntryHead = 16;  // {size, next}
  for (const target::Segment& s : process.memory.segments()) {
    const target::Module* const module = s.writable && s.bytes != nullptr ? ModuleOfData(process, s.range.begin) : nullptr;
    if (module == nullptr || module->path.find("libstdc++.so") == std::string::npos) continue;
    for (Address at = (s.range.begin + 7) & ~Address{7}; at + 24 <= s.range.end; at += 8) {
      const std::byte* const p = s.bytes + (at - s.range.begin);
      const auto first = LoadUnchecked<Address>(p), arena = LoadUnchecked<Address>(p + 8);
      const auto size = LoadUnchecked<std::uint64_t>(p + 16);
      if (first == 0 || first != arena || size < kLeast || size > kMost) continue;
      const std::byte* const entry = process.memory.At(arena, size);
      if (entry != nullptr && LoadUnchecked<std::uint64_t>(entry) == size && LoadUnchecked<std::uint64_t>(entry + 8) == 0) return {arena + kEntryHead, arena + size};
    }
  }
  return {};
}

std::vector<AddressRange> StdioBuffers(const target::Process& process) {
  // int _flags, padded; then the pointers of what is read and written, and of the buffer; the next file.
  constexpr std::uint64_t kReadPtr = 0x08, kBufBase = 0x38, kBufEnd = 0x40, kChain = 0x68, kFileHead = 0x70, kMaxFiles = 4096, kMaxBuffer = 64u << 20;
  constexpr std::uint32_t kMagic = 0xFBAD0000, kMagicMask = 0xFFFF0000;
  std::vector<AddressRange> buffers;
  for (const target::Module& module : process.modules) {
    if (!module.file || module.path.find("/libc.so") == std::string::npos) continue;
    const std::optional<elf::Symbol> list = module.file->FindSymbol("_IO_list_all");
    if (!list) continue;
    Address file = process.memory.ReadPointer(list->address + static_cast<Address>(module.load_bias)).value_or(0);
    for (std::uint64_t n = 0; file != 0 && n < kMaxFiles; ++n) {
      const std::byte* const p = process.memory.At(file, kFileHead);
      if (p == nullptr || (LoadUnchecked<std::uint32_t>(p) & kMagicMask) != kMagic) break;
      const AddressRange buffer{LoadUnchecked<Address>(p + kBufBase), LoadUnchecked<Address>(p + kBufEnd)};
      bool within = !buffer.empty() && buffer.size() <= kMaxBuffer;
      for (std::uint64_t at = kReadPtr; within && at < kBufBase; at += 8) {
        const auto pointer = LoadUnchecked<Address>(p + at);
        within = pointer >= buffer.begin && pointer <= buffer.end;
      }
      if (within) buffers.push_back(buffer);
      file = LoadUnchecked<Address>(p + kChain);
    }
  }
  return buffers;
}

}  // namespace pygc::audit
