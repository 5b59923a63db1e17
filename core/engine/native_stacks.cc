#include "core/engine/native_stacks.h"

#include <algorithm>
#include <string_view>

#include "core/elf/native_unwind.h"
#include "core/engine/inspector.h"

namespace pygc::engine {
namespace {

constexpr std::size_t kMostFrames = 4096;  // of one thread; a stack of 8 MB holds some hundred thousand, of which nobody reads more

// The interpreter's loop; compilers append ".cold", ".lto_priv.0".
bool IsEvalLoop(std::string_view symbol) {
  symbol = symbol.substr(0, symbol.find('.'));
  return symbol == "_PyEval_EvalFrameDefault" || symbol == "PyEval_EvalFrameEx";
}

// Registers of `struct user_regs_struct` in the order of DWARF.
elf::UnwindRegisters Registers(const target::Thread& t) {
  constexpr std::size_t kOrder[] = {10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0, 16};
  elf::UnwindRegisters out{};
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = t.registers[kOrder[i]];
  return out;
}

// Whether the interpreter's loop runs in this native frame. From 3.12 on the frame of the interpreter's own that ends what one call of the loop runs is a local
// variable of it, so no symbol is needed. CPython: entry_frame [3.12, 3.13], entry [3.14+], _PyEval_EvalFrameDefault(), Python/ceval.c.
bool RunsLoop(const elf::NativeChain& chain, std::size_t i, std::string_view symbol, Address entry) {
  if (entry == 0) return IsEvalLoop(symbol);
  return i + 1 < chain.calls.size() && chain.calls[i].stack_pointer <= entry && entry < chain.calls[i + 1].stack_pointer;
}

// The frame behind those that the same call of the loop runs as frames[next] does; 0: none, or not known.
Address EntryOf(const std::vector<objects::PythonFrame>& frames, std::size_t next) {
  while (next < frames.size() && !frames[next].is_entry) ++next;
  return next < frames.size() ? frames[next].entry : 0;
}

}  // namespace

NativeStacks::NativeStacks(const CommandInput& in) : in_(in) {
  std::vector<elf::UnwindModule> modules;
  for (const target::Module& m : in.reader.process().modules) {
    if (!m.file || m.ranges.empty()) continue;
    modules.push_back({m.file.get(), {m.ranges.front().begin, m.ranges.back().end}, m.load_bias});
  }
  const target::MemoryImage* const memory = &in.reader.process().memory;
  unwinder_ = std::make_unique<elf::NativeUnwinder>(std::move(modules), [memory](Address a, std::uint64_t* word) {
    const Result<std::uint64_t> value = memory->ReadValue<std::uint64_t>(a);
    if (value) *word = *value;
    return value.has_value();
  });
}

NativeStacks::~NativeStacks() = default;

report::NativeStack NativeStacks::Of(const target::Thread& thread, const std::vector<objects::PythonFrame>& frames) {
  report::NativeStack out;
  if (!thread.has_registers) return out;
  const elf::NativeChain chain = unwinder_->Unwind(Registers(thread), kMostFrames);
  out.complete = chain.complete;
  std::size_t next = 0;  // Python frame
  for (std::size_t i = 0; i < chain.calls.size(); ++i) {
    report::NativeFrame& frame = out.frames.emplace_back();
    frame.address = chain.calls[i].program_counter;
    const Address at = chain.calls[i].is_interrupted ? frame.address : frame.address - 1;  // of a caller: the call itself, which may be the last instruction of its function
    const target::Module* const module = in_.reader.process().FindModule(at);
    if (module == nullptr) continue;
    frame.module = module->path;
    const std::optional<elf::Symbol> symbol = module->file ? module->file->SymbolAt(at - static_cast<Address>(module->load_bias)) : std::nullopt;
    if (symbol) {
      frame.symbol = std::string(symbol->name);
      frame.offset = frame.address - static_cast<Address>(module->load_bias) - symbol->address;
    }
    if (next >= frames.size() || !RunsLoop(chain, i, frame.symbol, EntryOf(frames, next))) continue;
    while (next < frames.size()) {
      frame.python.push_back(next);
      if (frames[next++].is_entry) break;
    }
  }
  out.merged = next == frames.size();
  return out;
}

}  // namespace pygc::engine
