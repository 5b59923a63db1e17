#include "core/elf/native_unwind.h"

#include <elfutils/libdwfl.h>
#include <fmt/format.h>
#include <gelf.h>

#include <algorithm>
#include <string>
#include <utility>

namespace pygc::elf {
namespace {

constexpr pid_t kThread = 1;  // dwfl wants a number; only one thread at a time is shown to it
constexpr unsigned kRsp = 7, kRip = 16;

}  // namespace

struct NativeUnwinder::Impl {
  std::vector<UnwindModule> modules;
  std::function<bool(Address, std::uint64_t*)> read;
  Dwfl* dwfl = nullptr;
  const UnwindRegisters* registers = nullptr;
  NativeChain* chain = nullptr;
  std::size_t max = 0;

  // ---- callbacks of dwfl

  // The file's bytes are here already: nothing is opened.
  static int FindElf(Dwfl_Module*, void** user_data, const char*, Dwarf_Addr, char**, Elf** elf) {
    const auto* const module = static_cast<const UnwindModule*>(*user_data);
    if (module == nullptr) return -1;
    const std::span<const std::byte> bytes = module->file->bytes();
    // libelf changes nothing in an image that is only read.
    *elf = elf_memory(const_cast<char*>(reinterpret_cast<const char*>(bytes.data())), bytes.size());
    return -1;
  }
  static int FindDebugInfo(Dwfl_Module*, void**, const char*, Dwarf_Addr, const char*, const char*, GElf_Word, char**) { return -1; }

  static pid_t NextThread(Dwfl*, void* argument, void** thread_argument) {
    if (*thread_argument != nullptr) return 0;
    *thread_argument = argument;
    return kThread;
  }
  static bool GetThread(Dwfl*, pid_t tid, void* argument, void** thread_argument) {
    *thread_argument = argument;
    return tid == kThread;
  }
  static bool ReadMemory(Dwfl*, Dwarf_Addr address, Dwarf_Word* word, void* argument) {
    std::uint64_t value = 0;
    if (!static_cast<Impl*>(argument)->read(address, &value)) return false;
    *word = value;
    return true;
  }
  static bool SetRegisters(Dwfl_Thread* thread, void* argument) {
    const auto* const self = static_cast<const Impl*>(argument);
    std::array<Dwarf_Word, std::tuple_size_v<UnwindRegisters>> words{};
    std::copy(self->registers->begin(), self->registers->end(), words.begin());
    if (!dwfl_thread_state_registers(thread, 0, kRip, words.data())) return false;
    dwfl_thread_state_register_pc(thread, words[kRip]);
    return dwfl_thread_state_registers(thread, kRip, 1, &words[kRip]);
  }
  static int OnFrame(Dwfl_Frame* frame, void* argument) {
    auto* const self = static_cast<Impl*>(argument);
    Dwarf_Addr pc = 0;
    bool is_interrupted = false;
    if (!dwfl_frame_pc(frame, &pc, &is_interrupted)) return DWARF_CB_ABORT;
    Dwarf_Word sp = 0;
    if (dwfl_frame_reg(frame, kRsp, &sp) != 0) sp = 0;
    self->chain->calls.push_back({pc, sp, is_interrupted});
    return self->chain->calls.size() < self->max ? DWARF_CB_OK : DWARF_CB_ABORT;
  }

  // ----

  bool Open() {
    static const Dwfl_Callbacks kCallbacks = {FindElf, FindDebugInfo, nullptr, nullptr};
    static const Dwfl_Thread_Callbacks kThreads = {NextThread, GetThread, ReadMemory, SetRegisters, nullptr, nullptr};
    elf_version(EV_CURRENT);
    dwfl = dwfl_begin(&kCallbacks);
    if (dwfl == nullptr) return false;
    dwfl_report_begin(dwfl);
    for (std::size_t i = 0; i < modules.size(); ++i) {
      Dwfl_Module* const module = dwfl_report_module(dwfl, fmt::format("m{}", i).c_str(), modules[i].range.begin, modules[i].range.end);
      void** user_data = nullptr;
      if (module == nullptr || dwfl_module_info(module, &user_data, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr) == nullptr) continue;
      *user_data = &modules[i];
    }
    if (dwfl_report_end(dwfl, nullptr, nullptr) != 0) return false;
    return dwfl_attach_state(dwfl, nullptr, kThread, &kThreads, this);
  }
};

NativeUnwinder::NativeUnwinder(std::vector<UnwindModule> modules, std::function<bool(Address, std::uint64_t*)> read) : impl_(std::make_unique<Impl>()) {
  impl_->modules = std::move(modules);
  impl_->read = std::move(read);
  if (impl_->Open() || impl_->dwfl == nullptr) return;
  dwfl_end(impl_->dwfl);
  impl_->dwfl = nullptr;
}

NativeUnwinder::~NativeUnwinder() {
  if (impl_->dwfl != nullptr) dwfl_end(impl_->dwfl);
}

NativeChain NativeUnwinder::Unwind(const UnwindRegisters& registers, std::size_t max) {
  NativeChain chain;
  if (impl_->dwfl == nullptr || max == 0) return chain;
  impl_->registers = &registers;
  impl_->chain = &chain;
  impl_->max = max;
  // 0: unwound to a frame that says it is the last one. dwfl keeps no state of a thread between two calls.
  chain.complete = dwfl_getthread_frames(impl_->dwfl, kThread, Impl::OnFrame, impl_.get()) == 0;
  if (chain.calls.empty()) chain.calls.push_back({registers[kRip], registers[kRsp]});
  return chain;
}

}  // namespace pygc::elf
