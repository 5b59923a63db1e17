// Fills any report struct from bytes, member by member: numbers, flags, texts, lists of other structs. A member that a struct gets later is filled without a word
// here. Structs are taken apart by structured bindings, so they have to be plain aggregates, as all of core/report's are.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace pygc::test {

/// Bytes that are used up; zeros behind their end.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}
  [[nodiscard]] bool empty() const noexcept { return left_ == 0; }
  std::uint8_t Byte() noexcept {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  /// Few bytes for small numbers, which are the usual ones; now and then a large one.
  std::uint64_t Number() noexcept {
    const std::uint8_t first = Byte();
    if (first < 0xE0) return first;
    std::uint64_t value = 0;
    for (unsigned i = 0; i <= first % 8u; ++i) value = value << 8 | Byte();
    return (first & 8) != 0 ? ~value : value;
  }
  /// Text of the target: any bytes.
  std::string Text() {
    std::size_t size = Byte() % 24u;
    size = size < left_ ? size : left_;
    std::string text(reinterpret_cast<const char*>(data_), size);
    data_ += size, left_ -= size;
    return text;
  }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

namespace detail {

template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {};
template <typename T>
struct IsPair : std::false_type {};
template <typename A, typename B>
struct IsPair<std::pair<A, B>> : std::true_type {};
template <typename T>
struct IsMap : std::false_type {};
template <typename K, typename V>
struct IsMap<std::map<K, V>> : std::true_type {};

/// What any member can be made of; counts members.
struct Anything {
  template <typename T>
    requires(!IsOptional<T>::value)
  operator T() const;  // never defined
};

template <typename T, std::size_t... I>
constexpr bool TakesMembers(std::index_sequence<I...>) {
  return requires { T{(static_cast<void>(I), Anything{})...}; };
}
template <typename T, std::size_t N = 48>
constexpr std::size_t CountMembers() {
  if constexpr (TakesMembers<T>(std::make_index_sequence<N>{})) return N;
  else return CountMembers<T, N - 1>();
}

}  // namespace detail

template <typename T>
void Fill(Bytes& bytes, T& value, unsigned depth = 0);

namespace detail {

template <typename... Members>
void FillAll(Bytes& bytes, unsigned depth, Members&... members) {
  (Fill(bytes, members, depth), ...);
}

template <typename T>
void FillMembers(Bytes& bytes, T& value, unsigned depth) {
  constexpr std::size_t kCount = CountMembers<T>();
  static_assert(kCount > 0 && kCount <= 32, "more members than are bound below");
#define PYGC_BIND(COUNT, ...)                  \
  if constexpr (kCount == COUNT) {             \
    auto& [__VA_ARGS__] = value;               \
    FillAll(bytes, depth + 1, __VA_ARGS__);    \
  } else
  PYGC_BIND(1, a)
  PYGC_BIND(2, a, b)
  PYGC_BIND(3, a, b, c)
  PYGC_BIND(4, a, b, c, d)
  PYGC_BIND(5, a, b, c, d, e)
  PYGC_BIND(6, a, b, c, d, e, f)
  PYGC_BIND(7, a, b, c, d, e, f, g)
  PYGC_BIND(8, a, b, c, d, e, f, g, h)
  PYGC_BIND(9, a, b, c, d, e, f, g, h, i)
  PYGC_BIND(10, a, b, c, d, e, f, g, h, i, j)
  PYGC_BIND(11, a, b, c, d, e, f, g, h, i, j, k)
  PYGC_BIND(12, a, b, c, d, e, f, g, h, i, j, k, l)
  PYGC_BIND(13, a, b, c, d, e, f, g, h, i, j, k, l, m)
  PYGC_BIND(14, a, b, c, d, e, f, g, h, i, j, k, l, m, n)
  PYGC_BIND(15, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o)
  PYGC_BIND(16, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)
  PYGC_BIND(17, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q)
  PYGC_BIND(18, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r)
  PYGC_BIND(19, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s)
  PYGC_BIND(20, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t)
  PYGC_BIND(21, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u)
  PYGC_BIND(22, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v)
  PYGC_BIND(23, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w)
  PYGC_BIND(24, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x)
  PYGC_BIND(25, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y)
  PYGC_BIND(26, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z)
  PYGC_BIND(27, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, a1)
  PYGC_BIND(28, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, a1, b1)
  PYGC_BIND(29, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, a1, b1, c1)
  PYGC_BIND(30, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, a1, b1, c1, d1)
  PYGC_BIND(31, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, a1, b1, c1, d1, e1)
  PYGC_BIND(32, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, a1, b1, c1, d1, e1, f1) {}
#undef PYGC_BIND
}

}  // namespace detail

/// `depth` bounds lists in lists.
template <typename T>
void Fill(Bytes& bytes, T& value, unsigned depth) {
  if constexpr (std::is_same_v<T, bool>) {
    value = (bytes.Byte() & 1) != 0;
  } else if constexpr (std::is_enum_v<T>) {
    value = T{};  // which values there are is not known here; see PickEnum
    PickEnum(bytes, value);
  } else if constexpr (std::is_floating_point_v<T>) {
    const std::uint64_t bits = bytes.Number();
    value = static_cast<T>(static_cast<std::int64_t>(bits)) / 1000;
  } else if constexpr (std::is_integral_v<T>) {
    value = static_cast<T>(bytes.Number());
  } else if constexpr (std::is_same_v<T, std::string>) {
    value = bytes.Text();
  } else if constexpr (detail::IsOptional<T>::value) {
    if ((bytes.Byte() & 1) != 0) Fill(bytes, value.emplace(), depth + 1);
  } else if constexpr (detail::IsVector<T>::value) {
    const unsigned count = bytes.empty() ? 0 : bytes.Byte() % (depth < 3 ? 6u : 3u);
    for (unsigned i = 0; i < count && !bytes.empty(); ++i) {
      typename T::value_type item{};
      Fill(bytes, item, depth + 1);
      value.push_back(std::move(item));
    }
  } else if constexpr (detail::IsMap<T>::value) {
    for (unsigned count = bytes.Byte() % 4u; count > 0; --count) Fill(bytes, value[bytes.Text()], depth + 1);
  } else if constexpr (detail::IsPair<T>::value) {
    Fill(bytes, value.first, depth + 1);
    Fill(bytes, value.second, depth + 1);
  } else {
    detail::FillMembers(bytes, value, depth);
  }
}

}  // namespace pygc::test
