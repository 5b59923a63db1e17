#include "core/objects/member_names.h"

#include <algorithm>

namespace pygc::objects {

std::string MemberNames::Of(const TypeFacts& type, std::span<const std::int64_t> offsets) const {
  const target::Module* const module = type.basicsize > 0 ? process_->FindModule(type.tp_traverse) : nullptr;
  if (module == nullptr || module->file == nullptr) return {};
  elf::DwarfStructs* structs = nullptr;
  {
    const std::lock_guard lock(mutex_);
    const auto [it, is_new] = modules_.try_emplace(module);
    if (is_new) it->second = elf::DwarfStructs::Open(*module->file);
    structs = it->second.get();
  }
  if (structs == nullptr) return {};
  return structs->NameOf(type.tp_traverse - static_cast<std::uint64_t>(module->load_bias), static_cast<std::uint64_t>(type.basicsize),
                         static_cast<std::uint64_t>(std::max<std::int64_t>(type.itemsize, 0)), offsets);
}

}  // namespace pygc::objects
