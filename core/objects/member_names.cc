#include "core/objects/member_names.h"

#include <algorithm>

namespace pygc::objects {

namespace {

struct NamedMember {
  std::string_view type;     // tp_name
  std::int64_t behind_head;  // bytes behind the object head
  const char* name;
};
// FutureObj_HEAD, Modules/_asynciomodule.c [3.7+; with the context of a callback].
constexpr NamedMember kNamedMembers[] = {
    {"_asyncio.Future", 0, "fut_loop"}, {"_asyncio.Future", 8, "fut_callback0"}, {"_asyncio.Future", 16, "fut_context0"}, {"_asyncio.Future", 24, "fut_callbacks"},
    {"_asyncio.Task", 0, "task_loop"},  {"_asyncio.Task", 8, "task_callback0"},  {"_asyncio.Task", 16, "task_context0"},  {"_asyncio.Task", 24, "task_callbacks"},
};

}  // namespace

std::string MemberNames::Of(const TypeFacts& type, std::span<const std::int64_t> offsets) const {
  std::string name = FromDwarf(type, offsets);
  if (!name.empty() || offsets.size() != 1 || !layout_->Has(cpython::Field::pycontextobject_ctx_vars)) return name;
  const std::int64_t behind_head = offsets[0] - static_cast<std::int64_t>(layout_->Size(cpython::Struct::PyObject));
  for (const NamedMember& member : kNamedMembers) {
    if (member.behind_head == behind_head && member.type == type.name) return member.name;
  }
  return {};
}

std::string MemberNames::FromDwarf(const TypeFacts& type, std::span<const std::int64_t> offsets) const {
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
