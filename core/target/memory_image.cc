#include "core/target/memory_image.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

namespace pygc::target {
namespace {

constexpr Address kUserSpaceEnd = Address{1} << 48;  // AddressMap wants no range across it

bool SameKind(const Segment& a, const Segment& b) {
  return a.readable == b.readable && a.writable == b.writable && a.executable == b.executable && a.source == b.source && a.module == b.module;
}

/// Appends `piece`, joined to the last one where both continue each other.
void Append(std::vector<Segment>& out, const Segment& piece) {
  if (!out.empty()) {
    Segment& last = out.back();
    if (last.range.end == piece.range.begin && last.bytes + last.range.size() == piece.bytes && SameKind(last, piece)) {
      last.range.end = piece.range.end;
      return;
    }
  }
  out.push_back(piece);
}

/// The part of `s` inside [begin, end), which must lie inside it.
Segment Cut(const Segment& s, Address begin, Address end) {
  Segment piece = s;
  piece.range = {begin, end};
  piece.bytes = s.bytes + (begin - s.range.begin);
  return piece;
}

/// Sweep over the borders of all segments; between two borders the active segment that comes first in the vector wins. Time O(n log n).
std::vector<Segment> Disjoint(const std::vector<Segment>& in) {
  struct Border {
    Address at;
    std::uint32_t index;
    bool begins;
  };
  std::vector<Border> borders;
  borders.reserve(in.size() * 2);
  for (std::uint32_t i = 0; i < in.size(); ++i) {
    borders.push_back({in[i].range.begin, i, true});
    borders.push_back({in[i].range.end, i, false});
  }
  std::sort(borders.begin(), borders.end(), [](const Border& a, const Border& b) { return a.at < b.at; });
  std::vector<Segment> out;
  out.reserve(in.size());
  std::set<std::uint32_t> active;
  for (std::size_t i = 0; i < borders.size();) {
    const Address at = borders[i].at;
    for (; i < borders.size() && borders[i].at == at; ++i) {
      if (borders[i].begins) {
        active.insert(borders[i].index);
      } else {
        active.erase(borders[i].index);
      }
    }
    if (!active.empty() && i < borders.size()) Append(out, Cut(in[*active.begin()], at, borders[i].at));
  }
  return out;
}

}  // namespace

MemoryImage::MemoryImage(std::vector<Segment> segments, std::vector<std::shared_ptr<Backing>> backings) : backings_(std::move(backings)) {
  std::erase_if(segments, [](const Segment& s) { return s.range.empty() || s.bytes == nullptr; });
  const auto by_begin = [](const Segment& a, const Segment& b) { return a.range.begin < b.range.begin; };
  std::vector<Segment> sorted = segments;
  std::stable_sort(sorted.begin(), sorted.end(), by_begin);
  const bool overlap =
      std::adjacent_find(sorted.begin(), sorted.end(), [](const Segment& a, const Segment& b) { return a.range.end > b.range.begin; }) != sorted.end();
  if (overlap) {
    segments_ = Disjoint(segments);
  } else {
    for (const Segment& s : sorted) Append(segments_, s);
  }
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    const Segment s = segments_[i];
    if (s.range.begin >= kUserSpaceEnd || s.range.end <= kUserSpaceEnd) continue;
    segments_[i] = Cut(s, s.range.begin, kUserSpaceEnd);
    segments_.insert(segments_.begin() + static_cast<std::ptrdiff_t>(i) + 1, Cut(s, kUserSpaceEnd, s.range.end));
    break;  // disjoint: only one can cross
  }
  std::vector<AddressRange> ranges;
  ranges.reserve(segments_.size());
  for (const Segment& s : segments_) ranges.push_back(s.range);
  map_ = AddressMap(ranges);
  SewSegments();
}

void MemoryImage::SewSegments() {
  constexpr std::uint64_t kMostBytes = 32u << 20, kLongestReach = 1u << 20, kShortestReach = 512;
  const auto apart = [&](std::size_t i) {
    const Segment &a = segments_[i - 1], &b = segments_[i];
    return a.range.end == b.range.begin && a.bytes + a.range.size() != b.bytes;
  };
  std::uint64_t count = 0;
  for (std::size_t i = 1; i < segments_.size(); ++i) count += apart(i);
  if (count == 0) return;
  seam_reach_ = std::min(kLongestReach, kMostBytes / 2 / count);
  if (seam_reach_ < kShortestReach) {  // a made file: so many borders are in no process
    seam_reach_ = 0;
    return;
  }
  seams_.reserve(count);
  for (std::size_t i = 1; i < segments_.size(); ++i) {
    if (!apart(i)) continue;
    const Address border = segments_[i].range.begin;
    Address begin = border, end = border;
    for (std::size_t k = i; k-- > 0 && segments_[k].range.end == begin && border - begin < seam_reach_;) begin = segments_[k].range.begin;
    for (std::size_t k = i; k < segments_.size() && segments_[k].range.begin == end && end - border < seam_reach_; ++k) end = segments_[k].range.end;
    Seam seam{border, {std::max(begin, border - std::min(border, seam_reach_)), end - border < seam_reach_ ? end : border + seam_reach_}, {}};
    seam.copy = std::make_shared<SeamCopy>(seam.range.size());
    seams_.push_back(std::move(seam));
  }
}

const std::byte* MemoryImage::AcrossBorder(std::uint32_t segment, Address a, std::uint64_t size) const noexcept {
  constexpr std::uint32_t kMostJoined = 16;  // segments of different kinds that one object or table spans
  const Segment& first = segments_[segment];
  Address end = first.range.end;
  for (std::uint32_t i = segment + 1; i < segments_.size() && i <= segment + kMostJoined && segments_[i].range.begin == end; ++i) {
    if (segments_[i].bytes != first.bytes + (end - first.range.begin)) break;
    end = segments_[i].range.end;
    if (size <= end - a) return first.bytes + (a - first.range.begin);
  }
  const auto seam = std::partition_point(seams_.begin(), seams_.end(), [&](const Seam& s) { return s.border < end; });
  if (seam == seams_.end() || seam->border != end || !seam->range.Contains(a, size)) return nullptr;
  SeamCopy& copy = *seam->copy;
  std::call_once(copy.made, [&] {
    const Result<std::size_t> n = Read(seam->range.begin, {copy.bytes.get(), seam->range.size()});
    copy.is_whole = n && *n == seam->range.size();
  });
  return copy.is_whole ? copy.bytes.get() + (a - seam->range.begin) : nullptr;
}

Result<std::size_t> MemoryImage::Read(Address from, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    if (from > std::numeric_limits<Address>::max() - done) break;
    const Address at = from + done;
    const std::uint32_t i = map_.Find(at);
    if (i == AddressMap::kNone) break;
    const Segment& s = segments_[i];
    const std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(out.size() - done, s.range.end - at));
    std::memcpy(out.data() + done, s.bytes + (at - s.range.begin), n);
    done += n;
  }
  if (done == 0 && !out.empty()) return FailAt(ErrorCode::kFault, from, "cannot read {} bytes at {:#x}: no such memory in the image", out.size(), from);
  return done;
}

Result<std::string> MemoryImage::ReadCString(Address a, std::size_t max) const {
  std::string text;
  while (text.size() < max) {
    const std::uint32_t i = a > std::numeric_limits<Address>::max() - text.size() ? AddressMap::kNone : map_.Find(a + text.size());
    if (i == AddressMap::kNone) return FailAt(ErrorCode::kFault, a, "cannot read the text at {:#x}: no end within {} readable bytes", a, text.size());
    const Segment& s = segments_[i];
    const Address at = a + text.size();
    const std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(max - text.size(), s.range.end - at));
    const char* begin = reinterpret_cast<const char*>(s.bytes + (at - s.range.begin));
    const void* nul = std::memchr(begin, 0, n);
    text.append(begin, nul != nullptr ? static_cast<std::size_t>(static_cast<const char*>(nul) - begin) : n);
    if (nul != nullptr) return text;
  }
  return text;
}

}  // namespace pygc::target
