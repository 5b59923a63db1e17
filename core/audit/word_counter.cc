#include "core/audit/word_counter.h"

#include <fmt/format.h>

#include <algorithm>

namespace pygc::audit {

using heap::kNoNode;
using heap::NodeId;
using heap::RootKind;

void WordCounter::NumberUnreached() {
  if (audit_.unreached.empty()) return;
  unreached_ = heap::ObjectIndex(in_.heap.index.ranges());
  std::vector<heap::UnreachedObject> numbered;
  for (const heap::UnreachedObject& u : audit_.unreached) {
    if (unreached_.Mark(u.object)) numbered.push_back(u);
  }
  unreached_.Seal();
  audit_.unreached = std::move(numbered);  // ids are ranks by address, as the elements are
}

void WordCounter::Note(NodeId n, Address slot, NodeId owner, std::int32_t tid) {
  const auto at = std::lower_bound(watch_->targets.begin(), watch_->targets.end(), n);
  if (at == watch_->targets.end() || *at != n) return;
  std::vector<PossibleHolder>& found = (*watch_->found)[static_cast<std::size_t>(at - watch_->targets.begin())];
  // What was counted as known already lies in open memory too; it is no further reference.
  if (found.size() >= watch_->max || (slot != 0 && IsKnownSlot(slot))) return;
  if (slot == 0) {
    found.push_back({slot, owner, RootKind::kRegister, fmt::format("register of thread {}", tid)});
    return;
  }
  auto [kind, place] = PlaceOf(slot);
  found.push_back({slot, owner, kind, std::move(place)});
}

void WordCounter::CountRemains(std::size_t u, Address slot) {
  heap::UnreachedObject& object = audit_.unreached[u];
  ++object.possible;
  if (watch_ == nullptr) return;
  const auto at = std::lower_bound(watch_->targets.begin(), watch_->targets.end(), in_.heap.size() + static_cast<NodeId>(u));
  if (at == watch_->targets.end() || *at != in_.heap.size() + u) return;
  std::vector<PossibleHolder>& found = (*watch_->found)[static_cast<std::size_t>(at - watch_->targets.begin())];
  if (found.size() >= watch_->max) return;
  found.push_back({slot, kNoNode, RootKind::kNative, fmt::format("itself, +{:#x}, which leads to freed memory: it may be what was left of an object", slot - object.object)});
}

bool WordCounter::IsKnownSlot(Address slot) const {
  const auto at = std::lower_bound(in_.roots.references.begin(), in_.roots.references.end(), slot, [](const RootReference& r, Address a) { return r.slot < a; });
  return at != in_.roots.references.end() && at->slot == slot;
}

std::pair<RootKind, std::string> WordCounter::PlaceOf(Address slot) const {
  const target::Process& process = in_.reader.process();
  const target::Module* const module = ModuleOfData(process, slot);
  if (module != nullptr) {
    const std::string file = module->path.substr(module->path.rfind('/') + 1);
    const std::uint64_t linked = slot - static_cast<Address>(module->load_bias);
    if (module->file) {
      if (const auto symbol = module->file->SymbolAt(linked); symbol && symbol->is_object) return {RootKind::kStatic, fmt::format("{}: {}+{:#x}", file, symbol->name, linked - symbol->address)};
    }
    return {RootKind::kStatic, fmt::format("{}+{:#x}", file, linked)};
  }
  if (!locals_) locals_.emplace(process);
  if (std::string place = locals_->PlaceOf(slot); !place.empty()) return {RootKind::kNative, std::move(place)};
  if (!stacks_) stacks_ = snapshot::UsedStacks(process);
  if (const snapshot::UsedStack* const stack = snapshot::StackAt(*stacks_, slot); stack != nullptr && slot >= stack->range.begin) {
    return {RootKind::kStack, fmt::format("stack of thread {}", stack->thread->tid)};
  }
  if (const auto block = in_.blocks.BlockAt(slot)) return {RootKind::kNative, fmt::format("block of {} bytes at {:#x}, +{:#x}", block->range.size(), block->range.begin, slot - block->range.begin)};
  if (const std::optional<AddressRange> chunk = in_.chunks.ChunkAt(slot)) return {RootKind::kNative, fmt::format("malloc block of {} bytes at {:#x}, +{:#x}", chunk->size(), chunk->begin, slot - chunk->begin)};
  return {RootKind::kNative, fmt::format("memory at {:#x}", slot)};
}

}  // namespace pygc::audit
