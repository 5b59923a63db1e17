#include "core/machine/linkage.h"

#include <mutex>
#include <unordered_map>
#include <vector>

#include "core/base/byte_reader.h"

namespace pygc::machine {
namespace {

constexpr std::uint32_t kRelocationGlobDat = 6;     // R_X86_64_GLOB_DAT
constexpr std::uint32_t kRelocationJumpSlot = 7;    // R_X86_64_JUMP_SLOT
constexpr std::uint32_t kRelocationIrelative = 37;  // R_X86_64_IRELATIVE

}  // namespace

struct Linkage::ModuleLinks {
  std::once_flag once;
  std::unordered_map<Address, LinkSlot> slots;
  std::unordered_map<Address, NamedFunction> functions;  // only those that are not kNone

  void Build(const Linkage& linkage, const target::Module& module);

 private:
  void AddSlot(const Linkage& linkage, const target::Module& module, const elf::Relocation& relocation);
};

struct Linkage::Impl {
  const target::Process* process;
  std::vector<std::unique_ptr<ModuleLinks>> links;  // by module index
};

Linkage::Linkage(const target::Process& process) : impl_(std::make_unique<Impl>()) {
  impl_->process = &process;
  impl_->links.reserve(process.modules.size());
  for (std::size_t i = 0; i < process.modules.size(); ++i) impl_->links.push_back(std::make_unique<ModuleLinks>());
}
Linkage::~Linkage() = default;

const target::Process& Linkage::process() const noexcept { return *impl_->process; }

void Linkage::ModuleLinks::Build(const Linkage& linkage, const target::Module& module) {
  if (module.file == nullptr) return;
  const auto bias = static_cast<std::uint64_t>(module.load_bias);
  for (const elf::Symbol& s : module.file->symbols()) {
    if (s.is_undefined || s.is_tls || s.address == 0) continue;
    const LibraryFunction f = ClassifyLibraryFunction(s.name);
    if (f != LibraryFunction::kNone) functions.emplace(s.address + bias, NamedFunction{s.name, f});
  }
  for (const elf::Relocation& r : module.file->relocations()) AddSlot(linkage, module, r);
}

void Linkage::ModuleLinks::AddSlot(const Linkage& linkage, const target::Module& module, const elf::Relocation& relocation) {
  // Only slots that nobody but the dynamic linker writes: what an R_X86_64_64 filled is a variable of the program.
  if (relocation.type != kRelocationGlobDat && relocation.type != kRelocationJumpSlot && relocation.type != kRelocationIrelative) return;
  const auto bias = static_cast<std::uint64_t>(module.load_bias);
  LinkSlot slot;
  slot.target.name = relocation.symbol;
  if (relocation.symbol.empty()) {
    if (relocation.type != kRelocationIrelative) return;
    const std::optional<elf::Symbol> chooser = module.file->SymbolAt(static_cast<std::uint64_t>(relocation.addend));
    if (!chooser || chooser->address != static_cast<std::uint64_t>(relocation.addend)) return;
    slot.target.name = chooser->name;
  }
  slot.target.name = slot.target.name.substr(0, slot.target.name.find('@'));
  slot.target.function = ClassifyLibraryFunction(slot.target.name);
  if (relocation.type == kRelocationJumpSlot) {
    // The file holds the address of the slot's own entry in the procedure linkage table; until it is bound memory holds the same, moved by the load bias.
    const std::span<const std::byte> in_file = module.file->BytesAt(relocation.address);
    const std::byte* in_memory = linkage.process().memory.At(relocation.address + bias, 8);
    if (in_file.size() >= 8 && in_memory != nullptr) {
      const auto initial = LoadUnchecked<std::uint64_t>(in_file.data());
      slot.is_unbound = initial != 0 && LoadUnchecked<std::uint64_t>(in_memory) == initial + bias;
    }
  }
  if (slot.target.function == LibraryFunction::kNone && !slot.is_unbound) return;
  slots.emplace(relocation.address + bias, slot);
}

const Linkage::ModuleLinks* Linkage::LinksAt(Address a) const {
  const target::Segment* segment = impl_->process->memory.Find(a);
  if (segment == nullptr) return nullptr;
  std::size_t index = segment->module;
  if (index >= impl_->links.size()) {
    // .bss and the like belong to a module without being mapped from its file.
    const target::Module* module = impl_->process->FindModule(a);
    if (module == nullptr) return nullptr;
    index = static_cast<std::size_t>(module - impl_->process->modules.data());
    if (index >= impl_->links.size()) return nullptr;
  }
  ModuleLinks& links = *impl_->links[index];
  std::call_once(links.once, [&] { links.Build(*this, impl_->process->modules[index]); });
  return &links;
}

std::optional<LinkSlot> Linkage::FindSlot(Address slot) const {
  const ModuleLinks* links = LinksAt(slot);
  if (links == nullptr) return std::nullopt;
  const auto it = links->slots.find(slot);
  if (it == links->slots.end()) return std::nullopt;
  LinkSlot found = it->second;
  if (found.is_unbound && found.target.function == LibraryFunction::kNone) found.address = FindDefinition(found.target.name);
  return found;
}

NamedFunction Linkage::FindFunction(Address entry) const {
  const ModuleLinks* links = LinksAt(entry);
  if (links == nullptr) return {};
  const auto it = links->functions.find(entry);
  return it == links->functions.end() ? NamedFunction{} : it->second;
}

Address Linkage::FindDefinition(std::string_view name) const {
  if (name.empty() || MayBeIndirectFunction(name)) return 0;
  Address found = 0;
  for (const target::Module& module : impl_->process->modules) {
    if (module.file == nullptr) continue;
    const std::optional<elf::Symbol> s = module.file->FindSymbol(name);
    if (!s || s->is_undefined || !s->is_function || s->address == 0) continue;
    const Address here = s->address + static_cast<std::uint64_t>(module.load_bias);
    if (module.path == impl_->process->executable) return here;  // the executable comes first in every search scope
    if (found != 0 && found != here) return 0;  // several and the order of the scopes is not known: do not guess
    found = here;
  }
  return found;
}

}  // namespace pygc::machine
