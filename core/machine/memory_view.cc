#include "core/machine/memory_view.h"

#include <algorithm>
#include <cstring>

namespace pygc::machine {

MemoryView::MemoryView(const target::MemoryImage& image, Address stack_base, std::size_t max_overlay_pages)
    : image_(&image),
      stack_base_(stack_base),
      stack_(std::make_unique_for_overwrite<std::uint64_t[]>((kStackBytes + kArenaBytes) / 8)),  // written_ says what of it may be read
      stack_provenance_(std::make_unique_for_overwrite<Address[]>((kStackBytes + kArenaBytes) / 8)),
      written_(std::make_unique<std::uint8_t[]>((kStackBytes + kArenaBytes) / 8)),
      overlay_bytes_(std::make_unique_for_overwrite<std::byte[]>(kMaxOverlayPages * kPageBytes)),  // each page is copied before it is read
      max_overlay_pages_(std::min(max_overlay_pages, kMaxOverlayPages)) {}

void MemoryView::Reset(ReadTrace* trace) {
  TrashBelow(stack_top());
  lowest_written_ = kStackBytes;
  if (allocated()) std::memset(&written_[kStackBytes / 8], 0, (private_bytes_ - kStackBytes) / 8);
  private_bytes_ = kStackBytes;
  for (std::size_t i = 0; i < overlay_count_; ++i) {
    TlbEntry& e = tlb_[(overlay_[i].page / kPageBytes) % kTlbEntries];
    if (e.page == overlay_[i].page) e = TlbEntry{};
  }
  overlay_count_ = 0;
  if (trace != nullptr) tlb_.fill(TlbEntry{});  // so that every read takes the slow way, which records it
  trace_ = trace;
  reason_ = StopReason::kNone;
  fault_address_ = 0;
  read_uninitialised_ = read_preset_ = false;
}

void MemoryView::SetPresets(std::vector<Preset> presets) {
  presets_ = std::move(presets);
  tlb_.fill(TlbEntry{});
}

bool MemoryView::HasPreset(Address page) const noexcept {
  return std::any_of(presets_.begin(), presets_.end(), [&](const Preset& p) { return (p.address & ~(kPageBytes - 1)) == page; });
}

// Puts the preset words that lie in [a, a + bytes.size()) over what was read there.
void MemoryView::ApplyPresets(Address a, std::span<std::byte> bytes) noexcept {
  for (const Preset& preset : presets_) {
    const auto value = std::as_bytes(std::span<const std::uint64_t, 1>(&preset.value, 1));
    for (std::size_t k = 0; k < value.size(); ++k) {
      const std::uint64_t at = preset.address + k - a;
      if (at >= bytes.size()) continue;
      bytes[at] = value[k];
      read_preset_ = true;
    }
  }
}

void MemoryView::TrashBelow(Address stack_pointer) noexcept {
  const std::uint64_t end = std::min<std::uint64_t>(stack_pointer - stack_base_, kStackBytes) / 8 * 8;  // outside the stack: all of it
  if (lowest_written_ >= end) return;
  const std::uint64_t begin = lowest_written_ / 8;
  std::memset(&written_[begin], 0, end / 8 - begin);
  lowest_written_ = end;
}

Address MemoryView::Allocate(std::uint64_t size) noexcept {
  const std::uint64_t room = kStackBytes + kArenaBytes - private_bytes_;
  if (size > room - std::min<std::uint64_t>(room, 16)) return 0;
  const Address a = stack_base_ + private_bytes_;
  private_bytes_ += (std::max<std::uint64_t>(size, 1) + 15) / 16 * 16;  // malloc(0) is an address of its own too
  return a;
}

bool MemoryView::LoadStack(Address a, std::span<std::byte> out) noexcept {
  const std::uint64_t offset = a - stack_base_;
  if (offset >= private_bytes_ || out.size() > private_bytes_ - offset) return Fault(StopReason::kUnmappedRead, a);
  const std::byte* bytes = reinterpret_cast<const std::byte*>(stack_.get());
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::uint64_t at = offset + i;
    const bool known = (written_[at / 8] >> (at % 8)) & 1;
    out[i] = known ? bytes[at] : std::byte{0};
    read_uninitialised_ |= !known;
  }
  return true;
}

void MemoryView::StoreStack(Address a, std::span<const std::byte> bytes) noexcept {
  const std::uint64_t offset = a - stack_base_;
  std::byte* to = reinterpret_cast<std::byte*>(stack_.get());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::uint64_t at = offset + i;
    to[at] = bytes[i];
    written_[at / 8] = static_cast<std::uint8_t>(written_[at / 8] | (1u << (at % 8)));
    stack_provenance_[at / 8] = 0;
  }
  lowest_written_ = std::min(lowest_written_, offset / 8 * 8);  // of the arena: no change
}

void MemoryView::Remember(Address page) noexcept {
  if (trace_ != nullptr || HasPreset(page)) return;
  for (std::size_t i = 0; i < overlay_count_; ++i)
    if (overlay_[i].page == page) return;
  if (const std::byte* bytes = image_->At(page, kPageBytes)) tlb_[(page / kPageBytes) % kTlbEntries] = {page, bytes};
}

// Copies the bytes at `a` that lie in one page and one source; returns how many, 0 when the first is missing.
std::size_t MemoryView::LoadPiece(Address a, std::span<std::byte> out) noexcept {
  const Address page = a & ~(kPageBytes - 1);
  std::uint64_t size = std::min<std::uint64_t>(out.size(), kPageBytes - (a - page));
  for (std::size_t i = 0; i < overlay_count_; ++i) {
    if (overlay_[i].page != page) continue;
    const AddressRange& valid = overlay_[i].valid;
    if (valid.Contains(a)) {
      size = std::min(size, valid.end - a);
      std::memcpy(out.data(), OverlayBytes(i) + (a - page), size);
      return size;
    }
    if (a < valid.begin) size = std::min(size, valid.begin - a);
    break;
  }
  const target::Segment* segment = image_->Find(a);
  if (segment == nullptr) return 0;
  size = std::min(size, segment->range.end - a);
  std::memcpy(out.data(), segment->bytes + (a - segment->range.begin), size);
  if (!presets_.empty()) ApplyPresets(a, out.first(size));
  return size;
}

bool MemoryView::LoadTarget(Address a, std::span<std::byte> out) noexcept {
  for (std::size_t done = 0; done < out.size();) {
    const std::size_t n = LoadPiece(a + done, out.subspan(done));
    if (n == 0) return Fault(StopReason::kUnmappedRead, a + done);
    done += n;
  }
  return true;
}

bool MemoryView::LoadSlow(Address a, std::span<std::byte> out) noexcept {
  if (a + out.size() < a) return Fault(StopReason::kUnmappedRead, a);
  if (TouchesStack(a, out.size())) return LoadStack(a, out);
  if (!LoadTarget(a, out)) return false;
  Remember(a & ~(kPageBytes - 1));
  if (trace_ != nullptr && trace_->reads.size() < trace_->limit) {
    TracedRead read{a, 0, static_cast<std::uint8_t>(std::min<std::size_t>(out.size(), 255))};
    std::memcpy(&read.value, out.data(), std::min<std::size_t>(out.size(), sizeof read.value));
    trace_->reads.push_back(read);
  }
  return true;
}

// The overlay's bytes for `a`, made on the first write to its page. nullptr: a fault was recorded.
std::byte* MemoryView::WritablePage(Address a, std::size_t& available) noexcept {
  const Address page = a & ~(kPageBytes - 1);
  for (std::size_t i = 0; i < overlay_count_; ++i) {
    if (overlay_[i].page != page) continue;
    if (!overlay_[i].valid.Contains(a)) {  // two segments in one page: only a made-up image has that
      Fault(StopReason::kOverlayFull, a);
      return nullptr;
    }
    available = overlay_[i].valid.end - a;
    return OverlayBytes(i) + (a - page);
  }
  const target::Segment* segment = image_->Find(a);
  if (segment == nullptr) {
    Fault(StopReason::kUnmappedWrite, a);
    return nullptr;
  }
  if (!segment->writable || segment->executable) {
    Fault(StopReason::kReadOnlyWrite, a);
    return nullptr;
  }
  if (overlay_count_ == max_overlay_pages_) {
    Fault(StopReason::kOverlayFull, a);
    return nullptr;
  }
  const AddressRange valid{std::max(page, segment->range.begin), std::min(page + kPageBytes, segment->range.end)};
  const std::size_t i = overlay_count_++;
  overlay_[i] = {page, valid};
  std::memcpy(OverlayBytes(i) + (valid.begin - page), segment->bytes + (valid.begin - segment->range.begin), valid.size());
  if (!presets_.empty()) ApplyPresets(valid.begin, std::span(OverlayBytes(i) + (valid.begin - page), valid.size()));
  TlbEntry& e = tlb_[(page / kPageBytes) % kTlbEntries];
  if (valid.size() == kPageBytes && trace_ == nullptr && !HasPreset(page)) e = {page, OverlayBytes(i)};
  else if (e.page == page) e = TlbEntry{};
  available = valid.end - a;
  return OverlayBytes(i) + (a - page);
}

bool MemoryView::StoreSlow(Address a, std::span<const std::byte> bytes) noexcept {
  if (a + bytes.size() < a) return Fault(StopReason::kUnmappedWrite, a);
  if (TouchesStack(a, bytes.size())) {
    if (a - stack_base_ >= private_bytes_ || bytes.size() > private_bytes_ - (a - stack_base_)) return Fault(StopReason::kStackOverflow, a);
    StoreStack(a, bytes);
    return true;
  }
  for (std::size_t done = 0; done < bytes.size();) {
    std::size_t available = 0;
    std::byte* to = WritablePage(a + done, available);
    if (to == nullptr) return false;
    const std::size_t n = std::min(available, bytes.size() - done);
    std::memcpy(to, bytes.data() + done, n);
    done += n;
  }
  return true;
}

}  // namespace pygc::machine
