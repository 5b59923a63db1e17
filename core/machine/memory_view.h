// Memory as one run of the machine sees it: the target's image below, a small copy-on-write overlay that is thrown away after the run, and a private
// shadow stack at an address where the target has nothing, with a small arena above it for what the run allocates. The target itself is never written.
// For each byte of the shadow stack it is known whether it was written in this run, and for each of its words where the value in it was loaded from.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/address.h"
#include "core/base/byte_reader.h"
#include "core/machine/stop_reason.h"
#include "core/target/memory_image.h"

namespace pygc::machine {

/// One read of target memory, for finding where a function takes its answer from.
struct TracedRead {
  Address address = 0;
  std::uint64_t value = 0;  // zero-extended; the low 8 bytes of wider reads
  std::uint8_t size = 0;    // bytes
};

/// The reads of one run in order, at most `limit` of them.
struct ReadTrace {
  std::vector<TracedRead> reads;
  std::size_t limit = 4096;
};

/// A word that the machine reads differently from what the image has there: the state of a thread that is not running is not where a running one has it.
struct Preset {
  Address address = 0;  // 8-aligned
  std::uint64_t value = 0;
};

class MemoryView {
 public:
  static constexpr std::uint64_t kPageBytes = 4096;
  static constexpr std::uint64_t kStackBytes = 256u << 10;
  static constexpr std::uint64_t kArenaBytes = 64u << 10;  // directly above the stack
  static constexpr std::size_t kMaxOverlayPages = 16;

  /// `stack_base` is the lowest address of the shadow stack, 16-aligned; the target must have nothing in [stack_base, stack_base + kStackBytes + kArenaBytes).
  MemoryView(const target::MemoryImage& image, Address stack_base, std::size_t max_overlay_pages = kMaxOverlayPages);

  /// Words that read as something else from now on. Reading one sets read_preset().
  void SetPresets(std::vector<Preset> presets);

  /// Forgets everything that the last run wrote. Cost: what it touched. `trace` may be nullptr.
  void Reset(ReadTrace* trace);

  /// Reads a value. False: reason() and fault_address() say why.
  template <typename T>
  [[nodiscard]] bool Load(Address a, T& value) noexcept {
    const TlbEntry& e = tlb_[(a / kPageBytes) % kTlbEntries];
    if (e.page == (a & ~(kPageBytes - 1)) && (a & (kPageBytes - 1)) <= kPageBytes - sizeof(T)) [[likely]] {
      value = LoadUnchecked<T>(e.bytes + (a & (kPageBytes - 1)));
      return true;
    }
    std::array<std::byte, sizeof(T)> bytes;
    if (!LoadSlow(a, bytes)) return false;
    value = LoadUnchecked<T>(bytes.data());
    return true;
  }
  /// The same for bytes of a known buffer, up to a page.
  [[nodiscard]] bool LoadBytes(Address a, std::span<std::byte> out) noexcept { return LoadSlow(a, out); }

  /// Reads a word of the target, not of the shadow stack, in any case without a trace or a fault. False where there is none.
  [[nodiscard]] bool PeekWord(Address a, std::uint64_t& value) noexcept {
    const TlbEntry& e = tlb_[(a / kPageBytes) % kTlbEntries];
    if (e.page == (a & ~(kPageBytes - 1)) && (a & (kPageBytes - 1)) <= kPageBytes - 8) [[likely]] {
      value = LoadUnchecked<std::uint64_t>(e.bytes + (a & (kPageBytes - 1)));
      return true;
    }
    const std::byte* bytes = image_->At(a, 8);
    if (bytes == nullptr) return false;
    value = LoadUnchecked<std::uint64_t>(bytes);
    Remember(a & ~(kPageBytes - 1));
    return true;
  }

  /// Says that the start of an object at `a` will be looked at soon.
  void Prefetch(Address a) const noexcept {
    const TlbEntry& e = tlb_[(a / kPageBytes) % kTlbEntries];
    if (e.page == (a & ~(kPageBytes - 1))) __builtin_prefetch(e.bytes + (a & (kPageBytes - 1)));
  }

  /// Reads a word with the address that the value came from: for a word of the shadow stack the one stored with it, else `a` itself.
  [[nodiscard]] bool LoadWord(Address a, std::uint64_t& value, Address& provenance) noexcept {
    const std::uint64_t offset = a - stack_base_;
    if (offset < private_bytes_) {
      if ((offset & 7) == 0 && written_[offset / 8] == 0xff) [[likely]] {
        value = stack_[offset / 8];
        provenance = stack_provenance_[offset / 8];
        return true;
      }
      provenance = 0;
    } else {
      provenance = a;
    }
    return Load(a, value);
  }
  /// The same for a pop: a word of the shadow stack that was never written is no fault and sets `is_undefined` instead. Compilers pop such words into a
  /// register that they do not use, to move the stack pointer.
  [[nodiscard]] bool PopWord(Address a, std::uint64_t& value, Address& provenance, bool& is_undefined) noexcept {
    const std::uint64_t offset = a - stack_base_;
    is_undefined = offset < private_bytes_ && (offset & 7) == 0 && written_[offset / 8] == 0;
    return is_undefined || LoadWord(a, value, provenance);
  }
  /// The other way round: a push of an undefined register leaves the word never written.
  void PushUndefined(Address a) noexcept {
    const std::uint64_t offset = a - stack_base_;
    if (offset < private_bytes_) written_[offset / 8] = 0;
  }
  /// Writes a word with the address that its value came from.
  [[nodiscard]] bool StoreWord(Address a, std::uint64_t value, Address provenance) noexcept {
    const std::uint64_t offset = a - stack_base_;
    if (offset < private_bytes_ && (offset & 7) == 0) [[likely]] {
      stack_[offset / 8] = value;
      stack_provenance_[offset / 8] = provenance;
      written_[offset / 8] = 0xff;
      if (offset < lowest_written_) lowest_written_ = offset;
      return true;
    }
    return StoreSlow(a, std::as_bytes(std::span<const std::uint64_t, 1>(&value, 1)));
  }
  /// Writes a value. False: reason() and fault_address() say why.
  template <typename T>
  [[nodiscard]] bool Store(Address a, T value) noexcept {
    return StoreSlow(a, std::as_bytes(std::span<const T, 1>(&value, 1)));
  }
  [[nodiscard]] bool StoreBytes(Address a, std::span<const std::byte> bytes) noexcept { return StoreSlow(a, bytes); }

  /// True when not one byte of [a, a + size), within one word of the shadow stack, was written in this run.
  [[nodiscard]] bool IsNeverWritten(Address a, std::uint64_t size) const noexcept {
    const std::uint64_t offset = a - stack_base_;
    if (offset >= private_bytes_ || offset % 8 + size > 8) return false;
    return (written_[offset / 8] & (((1u << size) - 1) << (offset % 8))) == 0;
  }
  /// Everything below `stack_pointer` counts as never written again: what a callee outside the machine would have done to it.
  void TrashBelow(Address stack_pointer) noexcept;

  /// Private memory for this run, 16-aligned and never written, as malloc() would give; 0 where the arena has no room for it.
  [[nodiscard]] Address Allocate(std::uint64_t size) noexcept;
  /// True for addresses that Allocate() gave in this run.
  [[nodiscard]] bool IsAllocated(Address a) const noexcept { return a >= stack_top() && a - stack_base_ < private_bytes_; }
  /// True when this run took memory from the arena.
  [[nodiscard]] bool allocated() const noexcept { return private_bytes_ != kStackBytes; }

  /// True when [a, a + size) can be read, without a fault being recorded and without a trace.
  [[nodiscard]] bool IsReadable(Address a, std::uint64_t size) const noexcept { return image_->At(a, size) != nullptr; }

  [[nodiscard]] Address stack_base() const noexcept { return stack_base_; }
  [[nodiscard]] Address stack_top() const noexcept { return stack_base_ + kStackBytes; }
  [[nodiscard]] StopReason reason() const noexcept { return reason_; }
  [[nodiscard]] Address fault_address() const noexcept { return fault_address_; }
  [[nodiscard]] bool wrote_target() const noexcept { return overlay_count_ != 0; }
  [[nodiscard]] bool read_preset() const noexcept { return read_preset_; }
  [[nodiscard]] bool read_uninitialised() const noexcept { return read_uninitialised_; }
  [[nodiscard]] const target::MemoryImage& image() const noexcept { return *image_; }

 private:
  static constexpr std::size_t kTlbEntries = 512;
  static constexpr Address kNoPage = 1;  // no page starts there
  struct TlbEntry {
    Address page = kNoPage;  // address of the page
    const std::byte* bytes = nullptr;
  };
  // A page that this run wrote to. Only [valid.begin, valid.end) of it stands for target memory.
  struct OverlayPage {
    Address page = kNoPage;
    AddressRange valid;
  };

  [[nodiscard]] bool LoadSlow(Address a, std::span<std::byte> out) noexcept;
  [[nodiscard]] bool StoreSlow(Address a, std::span<const std::byte> bytes) noexcept;
  [[nodiscard]] bool LoadStack(Address a, std::span<std::byte> out) noexcept;
  void StoreStack(Address a, std::span<const std::byte> bytes) noexcept;
  [[nodiscard]] bool LoadTarget(Address a, std::span<std::byte> out) noexcept;
  void ApplyPresets(Address a, std::span<std::byte> bytes) noexcept;
  [[nodiscard]] bool HasPreset(Address page) const noexcept;
  [[nodiscard]] std::size_t LoadPiece(Address a, std::span<std::byte> out) noexcept;
  [[nodiscard]] std::byte* WritablePage(Address a, std::size_t& available) noexcept;
  [[nodiscard]] std::byte* OverlayBytes(std::size_t i) noexcept { return overlay_bytes_.get() + i * kPageBytes; }
  void Remember(Address page) noexcept;  // for quick reads, unless this run wrote to it or it has a preset
  bool Fault(StopReason reason, Address a) noexcept {
    reason_ = reason;
    fault_address_ = a;
    return false;
  }
  [[nodiscard]] bool TouchesStack(Address a, std::uint64_t size) const noexcept {
    return a - stack_base_ < private_bytes_ || stack_base_ - a < size;
  }

  const target::MemoryImage* image_;
  Address stack_base_;
  std::array<TlbEntry, kTlbEntries> tlb_;
  std::unique_ptr<std::uint64_t[]> stack_;
  std::unique_ptr<Address[]> stack_provenance_;
  std::unique_ptr<std::uint8_t[]> written_;  // a bit for each byte of a word
  std::uint64_t lowest_written_ = kStackBytes;  // of the stack
  std::uint64_t private_bytes_ = kStackBytes;   // the stack and what was allocated above it
  std::array<OverlayPage, kMaxOverlayPages> overlay_;
  std::unique_ptr<std::byte[]> overlay_bytes_;
  std::size_t overlay_count_ = 0, max_overlay_pages_;
  ReadTrace* trace_ = nullptr;
  StopReason reason_ = StopReason::kNone;
  Address fault_address_ = 0;
  bool read_uninitialised_ = false, read_preset_ = false;
  std::vector<Preset> presets_;
};

}  // namespace pygc::machine
