// Little-endian integers out of host bytes, with bounds. The only place (with cpython::StructView) where bytes become values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>

namespace pygc {

/// The integer at `p`, which must have sizeof(T) readable bytes. Unaligned is fine.
template <typename T>
[[nodiscard]] inline T LoadUnchecked(const std::byte* p) noexcept {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

/// True where every byte is 0, and where there is none.
[[nodiscard]] inline bool IsZero(std::span<const std::byte> bytes) noexcept {
  return bytes.empty() || (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

/// Cursor over a span of bytes. A read past the end returns nullopt and leaves the cursor where it was.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

  template <typename T>
  [[nodiscard]] std::optional<T> Read() noexcept {
    if (bytes_.size() - position_ < sizeof(T)) return std::nullopt;
    const T value = LoadUnchecked<T>(bytes_.data() + position_);
    position_ += sizeof(T);
    return value;
  }
  /// The next `size` bytes, or nullopt when fewer are left.
  [[nodiscard]] std::optional<std::span<const std::byte>> ReadBytes(std::size_t size) noexcept {
    if (bytes_.size() - position_ < size) return std::nullopt;
    const auto out = bytes_.subspan(position_, size);
    position_ += size;
    return out;
  }
  /// Moves to `position` bytes from the start; false (and no move) when that is past the end.
  bool Seek(std::size_t position) noexcept {
    if (position > bytes_.size()) return false;
    position_ = position;
    return true;
  }
  [[nodiscard]] std::size_t position() const noexcept { return position_; }
  [[nodiscard]] std::size_t remaining() const noexcept { return bytes_.size() - position_; }

 private:
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
};

}  // namespace pygc
