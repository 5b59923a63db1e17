// ELF notes: name, type and bytes out of a note segment, and the build-id among them. For notes of cores, files and memory alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace pygc::elf {

struct Note {
  std::string_view name;  // without the NUL
  std::uint32_t type = 0;
  std::span<const std::byte> bytes;
};

/// Walks the notes of one segment. A damaged note ends the walk: those before it stand.
class NoteReader {
 public:
  /// `alignment` as in p_align: 8 pads to 8 bytes, anything else to 4.
  NoteReader(std::span<const std::byte> bytes, std::uint64_t alignment) noexcept : bytes_(bytes), padding_(alignment == 8 ? 8 : 4) {}
  /// The next note, or nullopt at the end or at damage.
  [[nodiscard]] std::optional<Note> Next() noexcept;
  /// True when the walk ended at a note whose sizes do not fit.
  [[nodiscard]] bool damaged() const noexcept { return damaged_; }
  [[nodiscard]] std::size_t position() const noexcept { return position_; }

 private:
  std::span<const std::byte> bytes_;
  std::uint64_t padding_;
  std::size_t position_ = 0;
  bool damaged_ = false;
};

/// The GNU build-id in a note segment, as hex; empty where there is none.
[[nodiscard]] std::string FindBuildId(std::span<const std::byte> notes, std::uint64_t alignment);

}  // namespace pygc::elf
