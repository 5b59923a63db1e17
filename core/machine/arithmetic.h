// What the arithmetic instructions compute, with flags, for operands of 8 to 64 bits. Header only: the run loop inlines the common ones.
// Reference: Intel SDM volume 2. Where a flag is undefined there, it is left in some deterministic state.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/machine/cpu_state.h"

namespace pygc::machine {

template <typename T>
inline constexpr unsigned kBits = std::numeric_limits<T>::digits;

template <typename T>
[[nodiscard]] inline bool TopBit(T v) noexcept { return (v >> (kBits<T> - 1)) & 1; }

template <typename T>
inline T Add(Flags& f, T a, T b, bool carry_in = false) noexcept {
  const T r = static_cast<T>(static_cast<std::uint64_t>(a) + b + (carry_in ? 1 : 0));
  f.SetResult(r);
  f.carry = carry_in ? r <= a : r < a;
  f.overflow = TopBit<T>(static_cast<T>((a ^ r) & (b ^ r)));
  return r;
}

template <typename T>
inline T Subtract(Flags& f, T a, T b, bool borrow_in = false) noexcept {
  const T r = static_cast<T>(static_cast<std::uint64_t>(a) - b - (borrow_in ? 1 : 0));
  f.SetResult(r);
  f.carry = borrow_in ? a <= b : a < b;
  f.overflow = TopBit<T>(static_cast<T>((a ^ b) & (a ^ r)));
  return r;
}

template <typename T>
inline T And(Flags& f, T a, T b) noexcept {
  const T r = static_cast<T>(a & b);
  f.SetLogic(r);
  return r;
}
template <typename T>
inline T Or(Flags& f, T a, T b) noexcept {
  const T r = static_cast<T>(a | b);
  f.SetLogic(r);
  return r;
}
template <typename T>
inline T Xor(Flags& f, T a, T b) noexcept {
  const T r = static_cast<T>(a ^ b);
  f.SetLogic(r);
  return r;
}

template <typename T>
inline T Increment(Flags& f, T a) noexcept {  // keeps CF
  const T r = static_cast<T>(static_cast<std::uint64_t>(a) + 1);
  f.SetResult(r);
  f.overflow = r == static_cast<T>(T{1} << (kBits<T> - 1));
  return r;
}
template <typename T>
inline T Decrement(Flags& f, T a) noexcept {  // keeps CF
  const T r = static_cast<T>(static_cast<std::uint64_t>(a) - 1);
  f.SetResult(r);
  f.overflow = a == static_cast<T>(T{1} << (kBits<T> - 1));
  return r;
}
template <typename T>
inline T Negate(Flags& f, T a) noexcept { return Subtract<T>(f, 0, a); }

/// The count of a shift or rotate: 6 bits for 64-bit operands, 5 otherwise.
template <typename T>
[[nodiscard]] inline unsigned ShiftCount(std::uint64_t count) noexcept { return static_cast<unsigned>(count & (kBits<T> == 64 ? 63 : 31)); }

template <typename T>
inline T ShiftLeft(Flags& f, T a, std::uint64_t raw_count) noexcept {
  const unsigned n = ShiftCount<T>(raw_count);
  if (n == 0) return a;
  const T r = n >= kBits<T> ? T{0} : static_cast<T>(static_cast<std::uint64_t>(a) << n);
  f.carry = n <= kBits<T> && ((static_cast<std::uint64_t>(a) >> (kBits<T> - n)) & 1);
  f.SetResult(r);
  f.overflow = TopBit(r) != f.carry;
  return r;
}
template <typename T>
inline T ShiftRight(Flags& f, T a, std::uint64_t raw_count) noexcept {
  const unsigned n = ShiftCount<T>(raw_count);
  if (n == 0) return a;
  const T r = n >= kBits<T> ? T{0} : static_cast<T>(a >> n);
  f.carry = n <= kBits<T> && ((static_cast<std::uint64_t>(a) >> (n - 1)) & 1);
  f.SetResult(r);
  f.overflow = TopBit(a);
  return r;
}
template <typename T>
inline T ShiftRightSigned(Flags& f, T a, std::uint64_t raw_count) noexcept {
  const unsigned n = ShiftCount<T>(raw_count);
  if (n == 0) return a;
  // NOLINTNEXTLINE(bugprone-signed-char-misuse): the sign is meant to be extended
  const std::int64_t wide = static_cast<std::int64_t>(static_cast<std::make_signed_t<T>>(a));
  const unsigned capped = n < kBits<T> ? n : kBits<T> - 1;
  const T r = static_cast<T>(wide >> capped);
  f.carry = ((wide >> (n < kBits<T> ? n - 1 : kBits<T> - 1)) & 1) != 0;
  f.SetResult(r);
  f.overflow = false;
  return r;
}
template <typename T>
inline T RotateLeft(Flags& f, T a, std::uint64_t raw_count) noexcept {
  const unsigned n = ShiftCount<T>(raw_count);
  if (n == 0) return a;
  const T r = std::rotl(a, static_cast<int>(n % kBits<T>));
  f.carry = r & 1;
  f.overflow = TopBit(r) != f.carry;
  return r;
}
template <typename T>
inline T RotateRight(Flags& f, T a, std::uint64_t raw_count) noexcept {
  const unsigned n = ShiftCount<T>(raw_count);
  if (n == 0) return a;
  const T r = std::rotr(a, static_cast<int>(n % kBits<T>));
  f.carry = TopBit(r);
  f.overflow = TopBit(r) != ((r >> (kBits<T> - 2)) & 1);
  return r;
}
template <typename T>
inline T RotateLeftThroughCarry(Flags& f, T a, std::uint64_t raw_count) noexcept {
  const unsigned n = ShiftCount<T>(raw_count) % (kBits<T> + 1);
  T r = a;
  for (unsigned i = 0; i < n; ++i) {
    const bool out = TopBit(r);
    r = static_cast<T>(static_cast<std::uint64_t>(r) << 1 | (f.carry ? 1 : 0));
    f.carry = out;
  }
  if (n != 0) f.overflow = TopBit(r) != f.carry;
  return r;
}
template <typename T>
inline T RotateRightThroughCarry(Flags& f, T a, std::uint64_t raw_count) noexcept {
  const unsigned n = ShiftCount<T>(raw_count) % (kBits<T> + 1);
  if (n != 0) f.overflow = TopBit(a) != f.carry;  // defined for a count of 1 only
  T r = a;
  for (unsigned i = 0; i < n; ++i) {
    const bool out = r & 1;
    r = static_cast<T>(r >> 1 | static_cast<T>(static_cast<std::uint64_t>(f.carry ? 1 : 0) << (kBits<T> - 1)));
    f.carry = out;
  }
  return r;
}
/// shld: bits come in from the top of `from`. A count above the width leaves the destination alone (undefined there).
template <typename T>
inline T ShiftLeftDouble(Flags& f, T a, T from, std::uint64_t raw_count) noexcept {
  const unsigned n = ShiftCount<T>(raw_count);
  if (n == 0 || n > kBits<T>) return a;
  const T r = n == kBits<T> ? from : static_cast<T>(static_cast<std::uint64_t>(a) << n | static_cast<std::uint64_t>(from) >> (kBits<T> - n));
  f.carry = (static_cast<std::uint64_t>(a) >> (kBits<T> - n)) & 1;
  f.SetResult(r);
  f.overflow = TopBit(r) != TopBit(a);
  return r;
}
template <typename T>
inline T ShiftRightDouble(Flags& f, T a, T from, std::uint64_t raw_count) noexcept {
  const unsigned n = ShiftCount<T>(raw_count);
  if (n == 0 || n > kBits<T>) return a;
  const T r = n == kBits<T> ? from : static_cast<T>(static_cast<std::uint64_t>(a) >> n | static_cast<std::uint64_t>(from) << (kBits<T> - n));
  f.carry = (static_cast<std::uint64_t>(a) >> (n - 1)) & 1;
  f.SetResult(r);
  f.overflow = TopBit(r) != TopBit(a);
  return r;
}

__extension__ using WideUnsigned = unsigned __int128;
__extension__ using WideSigned = __int128;

/// imul with two or three operands: the product cut to the width; CF = OF = it does not fit.
template <typename T>
inline T MultiplySigned(Flags& f, T a, T b) noexcept {
  using S = std::make_signed_t<T>;
  const WideSigned wide = static_cast<WideSigned>(static_cast<S>(a)) * static_cast<S>(b);
  const T r = static_cast<T>(wide);
  f.SetResult(r);
  f.carry = f.overflow = wide != static_cast<WideSigned>(static_cast<S>(r));
  return r;
}

}  // namespace pygc::machine
