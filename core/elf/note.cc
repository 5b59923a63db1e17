#include "core/elf/note.h"

#include <elf.h>
#include <fmt/format.h>

#include "core/base/byte_reader.h"

namespace pygc::elf {

std::optional<Note> NoteReader::Next() noexcept {
  constexpr std::size_t kHeader = 12;
  if (damaged_ || position_ >= bytes_.size()) return std::nullopt;
  if (bytes_.size() - position_ < kHeader) {
    for (std::size_t i = position_; i < bytes_.size(); ++i) damaged_ |= bytes_[i] != std::byte{0};  // padding at the end is no damage
    position_ = bytes_.size();
    return std::nullopt;
  }
  const std::byte* header = bytes_.data() + position_;
  const std::uint64_t name_size = LoadUnchecked<std::uint32_t>(header), size = LoadUnchecked<std::uint32_t>(header + 4);
  const std::uint64_t left = bytes_.size() - position_;
  const std::uint64_t content = (kHeader + name_size + padding_ - 1) / padding_ * padding_;
  if (content > left || size > left - content) {
    damaged_ = true;
    return std::nullopt;
  }
  Note note;
  note.type = LoadUnchecked<std::uint32_t>(header + 8);
  note.name = {reinterpret_cast<const char*>(header + kHeader), static_cast<std::size_t>(name_size)};
  while (!note.name.empty() && note.name.back() == '\0') note.name.remove_suffix(1);
  note.bytes = bytes_.subspan(position_ + content, size);
  const std::uint64_t next = content + (size + padding_ - 1) / padding_ * padding_;
  position_ += static_cast<std::size_t>(std::min<std::uint64_t>(next, left));
  return note;
}

std::string FindBuildId(std::span<const std::byte> notes, std::uint64_t alignment) {
  NoteReader reader(notes, alignment);
  while (const auto note = reader.Next()) {
    if (note->type != NT_GNU_BUILD_ID || note->name != "GNU" || note->bytes.empty() || note->bytes.size() > 64) continue;
    std::string hex;
    for (const std::byte b : note->bytes) fmt::format_to(std::back_inserter(hex), "{:02x}", static_cast<unsigned>(b));
    return hex;
  }
  return {};
}

}  // namespace pygc::elf
