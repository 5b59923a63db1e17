// What lies at an address that is no object.
#include <fmt/format.h>

#include "core/analysis/referrers.h"
#include "core/engine/inspector.h"

namespace pygc::engine {
namespace {

constexpr std::uint64_t kRedZone = 128;  // bytes below the stack pointer that a function may use (System V ABI, x86-64)

// The object of the snapshot that the address lies in; empty where there is none.
std::string InsideObject(const CommandInput& in, Address address) {
  const heap::NodeId n = analysis::LastNodeUpTo(in.heap, address);
  if (n == heap::kNoNode || n >= in.heap.size_bytes.size() || in.heap.size_bytes[n] == heap::kUnknownSize) return {};
  const Address object = in.heap.AddressOf(n);
  const std::uint64_t offset = address - object;
  const objects::TypeFacts* const type = in.reader.Type(in.heap.types[in.heap.type[n]].address);
  if (type == nullptr) return {};
  // sys.getsizeof counts what lies elsewhere too (items of a list), so only what the type itself describes is inside for sure.
  std::uint64_t bytes = type->basicsize > 0 ? static_cast<std::uint64_t>(type->basicsize) : 0;
  if (type->itemsize > 0 || type->size_rule == objects::SizeRule::kStr) bytes = in.heap.size_bytes[n];
  if (offset >= bytes) return {};
  return fmt::format("inside {} {} at {:#x}, at +{}", std::string("aeiouAEIOU").find(type->name.empty() ? 'x' : type->name[0]) == std::string::npos ? "a" : "an", type->name,
                     object, offset);
}

std::string StackOfThread(const target::Process& process, Address address) {
  const target::Segment* const segment = process.memory.Find(address);
  for (const target::Thread& thread : process.threads) {
    if (!thread.has_registers || segment == nullptr || !segment->range.Contains(thread.stack_pointer())) continue;
    const bool in_use = address + kRedZone >= thread.stack_pointer();
    return fmt::format("{} of thread {}", in_use ? "the stack" : "the unused part of the stack", thread.tid);
  }
  return {};
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

}  // namespace

std::string DescribePlace(const CommandInput& in, Address address) {
  const target::Process& process = in.reader.process();
  if (std::string inside = InsideObject(in, address); !inside.empty()) return inside;
  if (const target::Module* const module = process.FindModule(address)) return PlaceInModule(*module, address);
  for (const target::MissingRange& missing : process.missing_ranges) {
    if (missing.range.Contains(address)) return "memory of the process that is not here (see status)";
  }
  const target::Segment* const segment = process.memory.Find(address);
  if (segment == nullptr) return "no memory of the process";
  if (std::string stack = StackOfThread(process, address); !stack.empty()) return stack;
  return fmt::format("memory between {:#x} and {:#x} that is free or belongs to no object found", segment->range.begin, segment->range.end);
}

}  // namespace pygc::engine
