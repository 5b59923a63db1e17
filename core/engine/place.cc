#include "core/engine/place.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/analysis/referrers.h"
#include "core/audit/block_heap.h"
#include "core/audit/malloc_heap.h"
#include "core/engine/inspector.h"
#include "core/engine/memory_owner.h"
#include "core/report/numbers.h"
#include "core/snapshot/thread_words.h"
#include "core/target/thread_locals.h"

namespace pygc::engine {
namespace {

// The object of the snapshot that the address lies in; empty where there is none.
std::string InsideObject(const CommandInput& in, Address address) {
  const heap::NodeId n = analysis::LastNodeUpTo(in.heap, address);
  if (n == heap::kNoNode || n >= in.heap.size_bytes.size() || in.heap.size_bytes[n] == heap::kUnknownSize) return {};
  const Address object = in.heap.AddressOf(n);
  const std::uint64_t offset = address - object;
  const objects::TypeFacts* const type = in.reader.Type(in.heap.types[in.heap.type[n]].address);
  if (type == nullptr) return {};
  // sys.getsizeof counts what lies elsewhere too (items of a list), so only what the type itself describes is inside for sure.
  // Of a type made in C its own size, which leaves out what only classes have.
  std::uint64_t bytes = type->basicsize > 0 ? static_cast<std::uint64_t>(type->basicsize) : 0;
  if (type->size_rule == objects::SizeRule::kType) bytes = std::min(bytes, std::uint64_t{in.heap.size_bytes[n]});
  if ((type->itemsize > 0 && type->size_rule != objects::SizeRule::kType) || type->size_rule == objects::SizeRule::kStr) bytes = in.heap.size_bytes[n];
  if (offset >= bytes) return {};
  return fmt::format("inside {} {} at {:#x}, at +{}", std::string("aeiouAEIOU").find(type->name.empty() ? 'x' : type->name[0]) == std::string::npos ? "a" : "an", type->name,
                     object, offset);
}

std::string StackOfThread(const target::Process& process, Address address) {
  const std::vector<snapshot::UsedStack> stacks = snapshot::UsedStacks(process);
  const snapshot::UsedStack* const stack = snapshot::StackAt(stacks, address);
  return stack == nullptr ? std::string() : fmt::format("{} of thread {}", address >= stack->range.begin ? "the stack" : "the unused part of the stack", stack->thread->tid);
}

std::string PlaceInModule(const target::Module& module, Address address) {
  const std::string name = module.path.substr(module.path.rfind('/') + 1);
  const std::uint64_t link_time = address - static_cast<std::uint64_t>(module.load_bias);
  if (module.file) {
    if (const std::optional<elf::Symbol> symbol = module.file->SymbolAt(link_time)) {
      return fmt::format("{}: {}+{:#x}", name, symbol->name, link_time - symbol->address);
    }
  }
  return fmt::format("{}+{:#x}", name, link_time);
}

std::string BlockText(const char* allocator, const AddressRange& block, bool in_use, Address address) {
  return fmt::format("{} block of {} bytes of {}{}, at +{}", in_use ? "a" : "a free", report::Thousands(block.size()), allocator, in_use ? ", in use" : "", address - block.begin);
}

// Where no block is: in a part of an arena that is not cut into blocks, or not any more. Empty elsewhere.
std::string FreePartOfArena(const audit::BlockHeap& blocks, Address address) {
  for (const AddressRange& arena : blocks.arenas()) {
    if (arena.Contains(address) && !blocks.BlockAt(address)) return fmt::format("an arena of {}, in no block that is handed out, at +{:#x}", blocks.allocator(), address - arena.begin);
  }
  return {};
}

// The block of an allocator that the address lies in, and who has it; empty where there is none that is known.
std::string BlockAround(const CommandInput& in, Address address) {
  struct Block {
    const char* allocator;
    AddressRange range;
    bool in_use;
  };
  std::optional<Block> found;
  const audit::BlockHeap blocks = audit::ReadBlocks(in.reader.process(), in.reader.runtime(), in.request.limits);
  if (const auto block = blocks.BlockAt(address)) found = {blocks.allocator(), block->range, block->in_use};
  if (!found) {
    if (std::string arena = FreePartOfArena(blocks, address); !arena.empty()) return arena;
    audit::MallocHeap(in.reader.process()).ForEachChunk([&](AddressRange chunk, bool in_use) {
      if (chunk.Contains(address)) found = {"malloc", chunk, in_use};
    });
  }
  if (found && !found->in_use) return BlockText(found->allocator, found->range, false, address);
  std::string owner = DescribeMemoryOf(in, address, found ? found->range : AddressRange{address, address + 1});
  if (!found) return owner;
  std::string block = BlockText(found->allocator, found->range, true, address);
  return owner.empty() ? block : fmt::format("{}: {}", owner, block);
}

constexpr std::string_view kUnknownMemory = "memory between";

}  // namespace

std::string DescribeAddress(const CommandInput& in, Address address) {
  std::string place = DescribePlace(in, address);
  if (!place.starts_with(kUnknownMemory)) return place;
  std::string block = BlockAround(in, address);
  return block.empty() ? place : block;
}

std::string DescribeFreed(const CommandInput& in, Address address) {
  const audit::BlockHeap blocks = audit::ReadBlocks(in.reader.process(), in.reader.runtime(), in.request.limits);
  const auto block = blocks.BlockAt(address);
  if (!blocks.IsFree(address)) return {};
  return block ? BlockText(blocks.allocator(), block->range, false, address) : FreePartOfArena(blocks, address);
}

std::string DescribePlace(const CommandInput& in, Address address) {
  const target::Process& process = in.reader.process();
  if (std::string inside = InsideObject(in, address); !inside.empty()) return inside;
  if (const target::Module* const module = process.FindModule(address)) return PlaceInModule(*module, address);
  for (const target::MissingRange& missing : process.missing_ranges) {
    if (missing.range.Contains(address)) return "memory of the process that is not here (see status)";
  }
  const target::Segment* const segment = process.memory.Find(address);
  if (segment == nullptr) return "no memory of the process";
  if (std::string local = target::ThreadLocals(process).PlaceOf(address); !local.empty()) return local;
  if (std::string stack = StackOfThread(process, address); !stack.empty()) return stack;
  return fmt::format("{} {:#x} and {:#x} that is free or belongs to no object found", kUnknownMemory, segment->range.begin, segment->range.end);
}

}  // namespace pygc::engine
