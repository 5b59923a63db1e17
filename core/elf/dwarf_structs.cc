#include "core/elf/dwarf_structs.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <fmt/format.h>
#include <gelf.h>

#include <map>
#include <mutex>
#include <optional>
#include <utility>

namespace pygc::elf {
namespace {

// Bounds: DWARF may nest and refer as it likes.
constexpr int kMaxPeels = 32;            // typedefs and qualifiers around one type
constexpr int kMaxNesting = 8;           // structs in structs; blocks in a function; namespaces
constexpr int kMaxDies = 200'000;        // looked at for one function
constexpr int kMaxMembers = 4096;        // of one struct
constexpr std::uint64_t kMaxIndex = 1u << 24;

// A place of a type: what is written for it, and the type.
struct Place {
  std::string text;
  Dwarf_Die type{};
};

std::optional<Dwarf_Die> TypeOf(Dwarf_Die die) {
  Dwarf_Attribute attribute;
  Dwarf_Die type;
  if (dwarf_attr_integrate(&die, DW_AT_type, &attribute) == nullptr || dwarf_formref_die(&attribute, &type) == nullptr) return std::nullopt;
  return type;
}

// Without typedefs and qualifiers.
std::optional<Dwarf_Die> Peel(std::optional<Dwarf_Die> type) {
  for (int peels = 0; type && peels < kMaxPeels; ++peels) {
    switch (dwarf_tag(&*type)) {
      case DW_TAG_typedef: case DW_TAG_const_type: case DW_TAG_volatile_type: case DW_TAG_restrict_type: case DW_TAG_atomic_type: type = TypeOf(*type); break;
      default: return type;
    }
  }
  return std::nullopt;
}

bool IsStruct(Dwarf_Die type) {
  const int tag = dwarf_tag(&type);
  return tag == DW_TAG_structure_type || tag == DW_TAG_union_type || tag == DW_TAG_class_type;
}

// Bytes; nullopt for flexible arrays and incomplete types.
std::optional<std::uint64_t> SizeOf(Dwarf_Die type) {
  Dwarf_Word size = 0;
  return dwarf_aggregate_size(&type, &size) == 0 ? std::optional<std::uint64_t>(size) : std::nullopt;
}

// The struct that a pointer type points to.
std::optional<Dwarf_Die> PointedStruct(std::optional<Dwarf_Die> type) {
  type = Peel(type);
  if (!type || dwarf_tag(&*type) != DW_TAG_pointer_type) return std::nullopt;
  type = Peel(TypeOf(*type));
  return type && IsStruct(*type) ? type : std::nullopt;
}

std::optional<std::uint64_t> OffsetOf(Dwarf_Die member) {
  Dwarf_Attribute attribute;
  Dwarf_Word offset = 0;
  if (dwarf_attr(&member, DW_AT_data_member_location, &attribute) == nullptr) return 0;  // of a union, or the first
  return dwarf_formudata(&attribute, &offset) == 0 ? std::optional<std::uint64_t>(offset) : std::nullopt;
}

// Goes down to what lies at `offset` of `place`; false where that is no whole pointer or number.
bool Descend(Place& place, std::uint64_t offset, int depth);

// True for the array at the end of an object whose length its type does not say: items[], items[1].
bool IsOpenArray(Dwarf_Die type) {
  if (dwarf_tag(&type) != DW_TAG_array_type) return false;
  const std::optional<Dwarf_Die> element = Peel(TypeOf(type));
  const std::optional<std::uint64_t> one = element ? SizeOf(*element) : std::nullopt, all = SizeOf(type);
  return one && (!all || *all <= *one);
}

bool DescendIntoStruct(Place& place, std::uint64_t offset, int depth) {
  Dwarf_Die member;
  if (dwarf_child(&place.type, &member) != 0) return false;
  int count = 0;
  do {
    if (dwarf_tag(&member) != DW_TAG_member) continue;
    const std::optional<std::uint64_t> begin = OffsetOf(member);
    const std::optional<Dwarf_Die> type = Peel(TypeOf(member));
    if (!begin || !type || *begin > offset) continue;
    const std::optional<std::uint64_t> size = SizeOf(*type);
    if (size && offset - *begin >= *size && !IsOpenArray(*type)) continue;
    const char* const name = dwarf_diename(&member);  // none: an anonymous struct or union
    Place inside = {name == nullptr ? place.text : place.text + name, *type};
    if (name != nullptr && IsStruct(*type)) inside.text += '.';
    if (!Descend(inside, offset - *begin, depth + 1)) continue;
    place = std::move(inside);
    return true;
  } while (dwarf_siblingof(&member, &member) == 0 && ++count < kMaxMembers);
  return false;
}

bool Descend(Place& place, std::uint64_t offset, int depth) {
  if (depth > kMaxNesting) return false;
  if (IsStruct(place.type)) return DescendIntoStruct(place, offset, depth);
  if (dwarf_tag(&place.type) != DW_TAG_array_type) return offset == 0;
  const std::optional<Dwarf_Die> element = Peel(TypeOf(place.type));
  const std::optional<std::uint64_t> size = element ? SizeOf(*element) : std::nullopt;
  if (!size || *size == 0 || offset / *size > kMaxIndex) return false;
  place = {place.text + fmt::format("[{}]{}", offset / *size, IsStruct(*element) ? "." : ""), *element};
  return Descend(place, offset % *size, depth + 1);
}

// Follows the pointer at `place`, then goes down to `offset`.
bool Follow(Place& place, std::uint64_t offset) {
  if (dwarf_tag(&place.type) != DW_TAG_pointer_type) return false;
  const std::optional<Dwarf_Die> target = Peel(TypeOf(place.type));
  const std::optional<std::uint64_t> size = target ? SizeOf(*target) : std::nullopt;
  if (!size || *size == 0 || offset / *size > kMaxIndex) return false;
  const std::uint64_t index = offset / *size;
  if (!IsStruct(*target)) place.text += fmt::format("[{}]", index);
  else place.text += index == 0 ? "->" : fmt::format("[{}].", index);
  place.type = *target;
  return Descend(place, offset % *size, 0);
}

// The struct of `size` bytes that a parameter or variable of the function (or of what was inlined into it) points to; those at the top first.
std::optional<Dwarf_Die> ObjectStruct(Dwarf_Die scope, std::uint64_t size, int depth, int& dies) {
  Dwarf_Die child;
  if (depth > kMaxNesting || dwarf_child(&scope, &child) != 0) return std::nullopt;
  const Dwarf_Die first = child;
  do {
    const int tag = dwarf_tag(&child);
    if (tag != DW_TAG_formal_parameter && tag != DW_TAG_variable) continue;
    const std::optional<Dwarf_Die> pointed = PointedStruct(TypeOf(child));
    if (pointed && SizeOf(*pointed) == size) return pointed;
  } while (dwarf_siblingof(&child, &child) == 0 && ++dies < kMaxDies);
  child = first;
  do {
    const int tag = dwarf_tag(&child);
    if (tag != DW_TAG_lexical_block && tag != DW_TAG_inlined_subroutine) continue;
    if (const auto found = ObjectStruct(child, size, depth + 1, dies)) return found;
  } while (dwarf_siblingof(&child, &child) == 0 && ++dies < kMaxDies);
  return std::nullopt;
}

std::optional<Dwarf_Die> FunctionAt(Dwarf_Die scope, std::uint64_t address, int depth, int& dies) {
  Dwarf_Die child;
  if (depth > kMaxNesting || dwarf_child(&scope, &child) != 0) return std::nullopt;
  do {
    const int tag = dwarf_tag(&child);
    Dwarf_Addr entry = 0;
    if (tag == DW_TAG_subprogram && dwarf_entrypc(&child, &entry) == 0 && entry == address) return child;
    if (tag != DW_TAG_namespace && tag != DW_TAG_class_type && tag != DW_TAG_structure_type) continue;
    if (const auto found = FunctionAt(child, address, depth + 1, dies)) return found;
  } while (dwarf_siblingof(&child, &child) == 0 && ++dies < kMaxDies);
  return std::nullopt;
}

}  // namespace

struct DwarfStructs::Impl {
  ~Impl() {
    if (dwarf != nullptr) dwarf_end(dwarf);
    if (elf != nullptr) elf_end(elf);
  }
  [[nodiscard]] std::optional<Dwarf_Die> UnitAt(std::uint64_t address) const;
  [[nodiscard]] std::optional<Dwarf_Die> StructFor(std::uint64_t function, std::uint64_t size);

  Elf* elf = nullptr;
  Dwarf* dwarf = nullptr;
  std::mutex mutex;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::optional<Dwarf_Die>> structs;  // by function and size
};

// The compilation unit with the code at `address`: by .debug_aranges, which not every compiler writes, else by asking each.
std::optional<Dwarf_Die> DwarfStructs::Impl::UnitAt(std::uint64_t address) const {
  Dwarf_Die unit;
  if (dwarf_addrdie(dwarf, address, &unit) != nullptr) return unit;
  Dwarf_CU* at = nullptr;
  while (dwarf_get_units(dwarf, at, &at, nullptr, nullptr, &unit, nullptr) == 0)
    if (dwarf_haspc(&unit, address) == 1) return unit;
  return std::nullopt;
}

std::optional<Dwarf_Die> DwarfStructs::Impl::StructFor(std::uint64_t function, std::uint64_t size) {
  const auto [it, is_new] = structs.try_emplace({function, size});
  if (!is_new) return it->second;
  int dies = 0;
  const std::optional<Dwarf_Die> unit = UnitAt(function);
  const std::optional<Dwarf_Die> found = unit ? FunctionAt(*unit, function, 0, dies) : std::nullopt;
  if (!found) return std::nullopt;
  it->second = ObjectStruct(*found, size, 0, dies);
  // A copy that was compiled on its own (a clone, link-time optimisation) may keep its variables only where it was written.
  Dwarf_Attribute attribute;
  Dwarf_Die origin = *found;
  if (!it->second && dwarf_attr(&origin, DW_AT_abstract_origin, &attribute) != nullptr && dwarf_formref_die(&attribute, &origin) != nullptr)
    it->second = ObjectStruct(origin, size, 0, dies);
  return it->second;
}

std::unique_ptr<DwarfStructs> DwarfStructs::Open(const ElfFile& file) {
  if (!file.has_dwarf() || elf_version(EV_CURRENT) == EV_NONE) return nullptr;
  auto impl = std::make_unique<Impl>();
  const std::span<const std::byte> bytes = file.bytes();
  impl->elf = elf_memory(reinterpret_cast<char*>(const_cast<std::byte*>(bytes.data())), bytes.size());  // opened for reading: not written to
  if (impl->elf == nullptr) return nullptr;
  impl->dwarf = dwarf_begin_elf(impl->elf, DWARF_C_READ, nullptr);
  if (impl->dwarf == nullptr) return nullptr;
  return std::unique_ptr<DwarfStructs>(new DwarfStructs(std::move(impl)));
}

DwarfStructs::DwarfStructs(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DwarfStructs::~DwarfStructs() = default;

std::string DwarfStructs::NameOf(std::uint64_t function, std::uint64_t size, std::uint64_t item_size, std::span<const std::int64_t> offsets) {
  const std::lock_guard lock(impl_->mutex);
  std::optional<Dwarf_Die> object = offsets.empty() ? std::nullopt : impl_->StructFor(function, size);
  if (!object && !offsets.empty() && item_size != 0) object = impl_->StructFor(function, size + item_size);
  if (!object) return {};
  Place place = {"", *object};
  for (std::size_t k = 0; k < offsets.size(); ++k) {
    if (offsets[k] < 0) return {};
    const auto offset = static_cast<std::uint64_t>(offsets[k]);
    if (!(k == 0 ? Descend(place, offset, 0) : Follow(place, offset))) return {};
  }
  return place.text;
}

}  // namespace pygc::elf
