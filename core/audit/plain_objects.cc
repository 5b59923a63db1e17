#include "core/audit/plain_objects.h"

#include <cstddef>

#include "core/base/byte_reader.h"

namespace pygc::audit {

namespace {

constexpr std::int32_t kMostDays = 999'999'999, kSecondsOfDay = 86'400, kMicroseconds = 1'000'000;  // Modules/_datetimemodule.c: MAX_DELTA_DAYS
constexpr std::int64_t kMostDigits = std::int64_t{1} << 40;  // of a number that a process holds
constexpr std::int64_t kLeastWords = 4;                      // _Py_DEC_MINALLOC
constexpr std::int64_t kDigitsOfWord = 19;                   // MPD_RDIGITS
constexpr std::uint64_t kDecimal = 88, kDecimalData = 56;    // behind the head

unsigned At(const std::byte* p, std::size_t i) noexcept { return static_cast<unsigned>(p[i]); }

// Two bytes of the year, the month, the day.
bool IsDate(const std::byte* data) noexcept { return (At(data, 0) << 8 | At(data, 1)) >= 1 && (At(data, 0) << 8 | At(data, 1)) <= 9999 && At(data, 2) >= 1 && At(data, 2) <= 12 && At(data, 3) >= 1 && At(data, 3) <= 31; }
bool IsTime(const std::byte* data) noexcept {
  return At(data, 0) < 24 && At(data, 1) < 60 && At(data, 2) < 60 && (At(data, 3) << 16 | At(data, 4) << 8 | At(data, 5)) < static_cast<unsigned>(kMicroseconds);
}
bool IsDelta(const std::byte* days) noexcept {
  const auto d = LoadUnchecked<std::int32_t>(days), seconds = LoadUnchecked<std::int32_t>(days + 4), microseconds = LoadUnchecked<std::int32_t>(days + 8);
  return d >= -kMostDays && d <= kMostDays && seconds >= 0 && seconds < kSecondsOfDay && microseconds >= 0 && microseconds < kMicroseconds;
}
// mpd_t behind the hash: {flags, exp, digits, len, alloc, data}, then the words that a small number has its digits in.
bool IsDecimal(const std::byte* p, Address object, std::uint32_t head) noexcept {
  const auto digits = LoadUnchecked<std::int64_t>(p + 24), length = LoadUnchecked<std::int64_t>(p + 32), room = LoadUnchecked<std::int64_t>(p + 40);
  const auto data = LoadUnchecked<Address>(p + 48);
  const bool is_small = data == object + head + kDecimalData;
  return room >= kLeastWords && length >= 0 && length <= room && digits >= 0 && digits <= kMostDigits && digits <= length * kDigitsOfWord && (is_small ? room == kLeastWords : data != 0 && data % 8 == 0);
}

}  // namespace

std::optional<std::uint64_t> PlainObjectBytes(const target::MemoryImage& memory, std::string_view type, Address object, std::uint32_t head) noexcept {
  // The head, the hash; of dates and times a byte that says whether there is a tzinfo, which objects without one have no place for.
  const auto fields = [&](std::uint64_t bytes) { return memory.At(object + head, bytes); };
  if (type == "datetime.timedelta") {
    const std::byte* const p = fields(24);
    return p != nullptr && IsDelta(p + 8) ? head + 24 : 0;
  }
  if (type == "decimal.Decimal") {
    const std::byte* const p = fields(kDecimal);
    return p != nullptr && IsDecimal(p, object, head) ? head + kDecimal : 0;
  }
  const bool is_date = type == "datetime.date", is_time = type == "datetime.time", is_both = type == "datetime.datetime";
  if (!is_date && !is_time && !is_both) return std::nullopt;
  const std::byte* const p = fields(is_both ? 24 : 16);
  if (p == nullptr || At(p, 8) > 1) return 0;
  if (is_date) return IsDate(p + 9) ? head + 16 : 0;
  if (is_time) return IsTime(p + 9) ? head + (At(p, 8) != 0 ? 24 : 16) : 0;
  return IsDate(p + 9) && IsTime(p + 13) ? head + (At(p, 8) != 0 ? 32 : 24) : 0;
}

}  // namespace pygc::audit
