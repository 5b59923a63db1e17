#include "core/target/thread_locals.h"

#include <fmt/format.h>

#include <algorithm>

namespace pygc::target {

namespace {

constexpr std::uint32_t kPtTls = 7, kDtpMod64 = 16, kTpOff64 = 18;  // PT_TLS, R_X86_64_DTPMOD64, R_X86_64_TPOFF64
constexpr std::uint64_t kMaxNumbers = 4096, kMaxTlsBlock = 1u << 24;
constexpr std::uint64_t kMaxStatic = 1u << 20;   // of all static blocks of a thread
constexpr std::uint64_t kPthreadBytes = 0x900;   // struct pthread; 2304 in glibc 2.28 to 2.41
constexpr std::uint64_t kNoOffset = ~std::uint64_t{0};

const elf::ProgramHeader* TlsSegment(const Module& module) {
  if (module.file == nullptr) return nullptr;
  for (const elf::ProgramHeader& h : module.file->program_headers()) {
    if (h.type == kPtTls && h.memory_size > 0 && h.memory_size < kMaxTlsBlock) return &h;
  }
  return nullptr;
}

}  // namespace

ThreadLocals::ThreadLocals(const Process& process) : process_(process) {
  // The number that the loader gave the module, and for what lies beside the thread pointer how far below it the module's block begins.
  std::vector<const Module*> module_of;
  std::vector<std::uint64_t> offset_of(process.modules.size(), kNoOffset);
  for (std::size_t i = 0; i < process.modules.size(); ++i) {
    const Module& m = process.modules[i];
    if (TlsSegment(m) == nullptr) continue;
    std::uint64_t id = m.path == process.executable ? 1 : 0;
    for (const elf::Relocation& r : m.file->relocations()) {
      if (r.type != kDtpMod64 && r.type != kTpOff64) continue;
      const std::uint64_t word = process.memory.ReadPointer(r.address + static_cast<std::uint64_t>(m.load_bias)).value_or(0);
      if (r.type == kDtpMod64) {
        id = word;
        continue;
      }
      const std::optional<elf::Symbol> symbol = r.symbol.empty() ? std::nullopt : m.file->FindSymbol(r.symbol);
      if (!r.symbol.empty() && (!symbol || !symbol->is_tls || symbol->is_undefined)) continue;
      offset_of[i] = (symbol ? symbol->address : 0) + static_cast<std::uint64_t>(r.addend) - word;
    }
    if (id == 0 || id > kMaxNumbers) continue;
    if (module_of.size() <= id) module_of.resize(id + 1);
    module_of[id] = &m;
  }
  for (const Thread& t : process.threads) {
    if (t.has_registers && t.fs_base() != 0) AddThread(t, module_of, offset_of);
  }
  std::sort(blocks_.begin(), blocks_.end(), [](const Block& a, const Block& b) { return a.range.begin < b.range.begin; });
}

void ThreadLocals::AddThread(const Thread& thread, const std::vector<const Module*>& module_of, const std::vector<std::uint64_t>& offset_of) {
  const MemoryImage& memory = process_.memory;
  const Address self = thread.fs_base();
  const auto word = [&](Address a) { return memory.ReadPointer(a).value_or(0); };
  if (word(self) != self || word(self + 16) != self) return;  // tcb, self
  blocks_.push_back({{self, self + kPthreadBytes}, thread.tid, nullptr, true});
  const auto is_static = [&](Address a) { return a < self && self - a < kMaxStatic; };
  std::vector<Block> own;
  for (std::size_t i = 0; i < process_.modules.size(); ++i) {
    if (offset_of[i] == kNoOffset || offset_of[i] > kMaxStatic) continue;
    const Address begin = self - offset_of[i];
    own.push_back({{begin, begin + TlsSegment(process_.modules[i])->memory_size}, thread.tid, &process_.modules[i], false});
  }
  const Address table = word(self + 8);
  const std::uint64_t count = table != 0 ? std::min(word(table - 16), kMaxNumbers) : 0;
  for (std::uint64_t id = 1; id <= count; ++id) {
    const Address begin = word(table + id * 16);
    if (begin == 0 || memory.At(begin, 1) == nullptr) continue;  // -1: never used by the thread
    const Module* const module = id < module_of.size() ? module_of[id] : nullptr;
    const bool known = std::any_of(own.begin(), own.end(), [&](const Block& b) { return b.range.begin == begin; });
    if (known || (module == nullptr && !is_static(begin))) continue;
    own.push_back({{begin, begin + (module != nullptr ? TlsSegment(*module)->memory_size : 8)}, thread.tid, module, false});
  }
  // A static block of a module that is not known reaches as far as the next one.
  for (Block& b : own) {
    if (b.module != nullptr) continue;
    b.range.end = self;
    for (const Block& other : own) {
      if (other.range.begin > b.range.begin) b.range.end = std::min(b.range.end, other.range.begin);
    }
  }
  blocks_.insert(blocks_.end(), own.begin(), own.end());
}

std::string ThreadLocals::PlaceOf(Address a) const {
  const auto after = std::upper_bound(blocks_.begin(), blocks_.end(), a, [](Address x, const Block& b) { return x < b.range.begin; });
  if (after == blocks_.begin() || !(after - 1)->range.Contains(a)) return {};
  const Block& b = *(after - 1);
  if (b.is_thread) return fmt::format("glibc's own data of thread {}", b.tid);
  std::string text = fmt::format("thread-local storage of thread {}", b.tid);
  if (b.module == nullptr) return text;
  const std::uint64_t offset = a - b.range.begin;
  text += fmt::format(", {}", b.module->path.substr(b.module->path.rfind('/') + 1));
  for (const elf::Symbol& s : b.module->file->symbols()) {
    if (s.is_tls && !s.is_undefined && offset >= s.address && offset - s.address < s.size) return fmt::format("{}: {}+{:#x}", text, s.name, offset - s.address);
  }
  return fmt::format("{}+{:#x}", text, offset);
}

}  // namespace pygc::target
