// Execution of one SSE, AVX or AVX-512 (moves and logic only) instruction: moves, logic, integer lanes. No floating-point arithmetic: a traversal that
// computes with floats does not exist in practice, and a wrong rounding would be a silent error.
// Registers are kept as 64 bytes; a lane is read and written by its index.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "core/machine/execution.h"

namespace pygc::machine {
namespace {

using disasm::Instruction;
using disasm::Opcode;
using disasm::Operand;
using disasm::OperandKind;

constexpr unsigned kLaneGroup = 16;  // most operations work within 128 bits

static_assert(std::endian::native == std::endian::little, "lanes are addressed in memory order");

// An index beyond the register wraps: whatever an instruction says, nothing outside of it is touched.
template <typename T>
unsigned LaneOffset(unsigned index) noexcept { return index % (sizeof(VectorRegister) / sizeof(T)) * sizeof(T); }

template <typename T>
T Lane(const VectorRegister& v, unsigned index) noexcept {
  T value;
  std::memcpy(&value, reinterpret_cast<const std::byte*>(v.words.data()) + LaneOffset<T>(index), sizeof(T));
  return value;
}
template <typename T>
void SetLane(VectorRegister& v, unsigned index, T value) noexcept {
  std::memcpy(reinterpret_cast<std::byte*>(v.words.data()) + LaneOffset<T>(index), &value, sizeof(T));
}
void ClearFrom(VectorRegister& v, unsigned first_byte) noexcept {
  if (first_byte < sizeof v.words) std::memset(reinterpret_cast<std::byte*>(v.words.data()) + first_byte, 0, sizeof v.words - first_byte);
}

std::span<std::byte> Bytes(VectorRegister& v, unsigned size) noexcept { return std::as_writable_bytes(std::span(v.words)).first(size); }

bool AddressOf(Execution& e, const Instruction& i, unsigned size, Address& a) noexcept {
  if (!e.EffectiveAddress(i, a)) return false;
  if (i.needs_alignment && (a & (size - 1)) != 0) return e.Stop(StopReason::kMisaligned, a);
  return true;
}

// Reads a vector, memory or general register operand into the low bytes of `out`; the rest is 0 for memory and general registers.
bool ReadVector(Execution& e, const Instruction& i, const Operand& o, unsigned size, VectorRegister& out) noexcept {
  if (o.kind == OperandKind::kVector) {
    out = e.cpu.vector[o.reg];
    return true;
  }
  out = VectorRegister{};
  if (o.kind == OperandKind::kRegister) {
    out.words[0] = size >= 8 ? e.cpu.gpr[o.reg] : e.cpu.gpr[o.reg] & ((1ull << (8 * size)) - 1);
    return true;
  }
  if (o.kind != OperandKind::kMemory || size == 0 || size > sizeof out.words) return e.Stop(StopReason::kUnknownInstruction);
  Address a = 0;
  if (!AddressOf(e, i, size, a)) return false;
  return e.memory.LoadBytes(a, Bytes(out, size)) || e.MemoryFault();
}

// Writes the low `size` bytes to a vector register. VEX: clears the rest; legacy: keeps what lies above `keep_above`.
void WriteVector(Execution& e, const Instruction& i, const Operand& o, unsigned size, VectorRegister& value) noexcept {
  VectorRegister& to = e.cpu.vector[o.reg];
  e.cpu.vectors_touched = true;
  if (i.clears_upper) {
    ClearFrom(value, size);
    to = value;
  } else {
    std::memcpy(to.words.data(), value.words.data(), size);
  }
}

bool StoreVector(Execution& e, const Instruction& i, unsigned size, VectorRegister& value) noexcept {
  Address a = 0;
  if (size == 0 || size > sizeof value.words || !AddressOf(e, i, size, a)) return e.stop == StopReason::kNone ? e.Stop(StopReason::kUnknownInstruction) : false;
  return e.memory.StoreBytes(a, Bytes(value, size)) || e.MemoryFault();
}

template <typename Body>
bool WithLane(Execution& e, unsigned lane, Body body) {
  switch (lane) {
    case 1: return body(std::uint8_t{});
    case 2: return body(std::uint16_t{});
    case 4: return body(std::uint32_t{});
    case 8: return body(std::uint64_t{});
    default: return e.Stop(StopReason::kUnknownInstruction);
  }
}

// dst[k] = f(src1[k], src2[k]) for each lane.
template <typename F>
bool PerLane(Execution& e, const Instruction& i, F f) {
  const unsigned size = i.operands[0].size;
  VectorRegister a, b, r;
  if (!ReadVector(e, i, i.operands[1], size, a) || !ReadVector(e, i, i.operands[2], size, b)) return false;
  return WithLane(e, i.lane, [&](auto lane) {
    using T = decltype(lane);
    for (unsigned k = 0; k < size / sizeof(T); ++k) SetLane<T>(r, k, f(Lane<T>(a, k), Lane<T>(b, k)));
    WriteVector(e, i, i.operands[0], size, r);
    return true;
  });
}

// Reads both sources and lets `body(result, a, b, group)` fill each 128-bit group of the result; `group` is its first byte.
template <typename Body>
bool PerGroup(Execution& e, const Instruction& i, Body body) {
  const unsigned size = i.operands[0].size;
  VectorRegister a, b, r;
  if (!ReadVector(e, i, i.operands[1], size, a) || !ReadVector(e, i, i.operands[2], size, b)) return false;
  for (unsigned group = 0; group < size; group += kLaneGroup) body(r, a, b, group);
  WriteVector(e, i, i.operands[0], size, r);
  return true;
}
// The same with one source.
template <typename Body>
bool PerGroupUnary(Execution& e, const Instruction& i, Body body) {
  const unsigned size = i.operands[0].size;
  VectorRegister a, r;
  if (!ReadVector(e, i, i.operands[1], size, a)) return false;
  for (unsigned group = 0; group < size; group += kLaneGroup) body(r, a, group);
  WriteVector(e, i, i.operands[0], size, r);
  return true;
}

bool MoveWhole(Execution& e, const Instruction& i) {
  VectorRegister v;
  if (i.operands[0].kind == OperandKind::kMemory) {
    return ReadVector(e, i, i.operands[1], i.operands[1].size, v) && StoreVector(e, i, i.operands[1].size, v);
  }
  const unsigned size = i.operands[0].size;
  if (!ReadVector(e, i, i.operands[1], size, v)) return false;
  WriteVector(e, i, i.operands[0], size, v);
  return true;
}

bool MoveScalar(Execution& e, const Instruction& i) {
  VectorRegister v;
  if (i.operands[0].kind == OperandKind::kMemory) return ReadVector(e, i, i.operands[1], 16, v) && StoreVector(e, i, i.lane, v);
  if (i.operands[1].kind == OperandKind::kMemory) {
    if (!ReadVector(e, i, i.operands[1], i.lane, v)) return false;
    WriteVector(e, i, i.operands[0], 16, v);  // the load form clears the rest of the 128 bits
    return true;
  }
  // Register form: the low lane from the last operand, the rest of 128 bits from the one before (legacy: the destination).
  const Operand& low = i.operands[i.operand_count - 1];
  const Operand& rest = i.operands[i.operand_count == 3 ? 1 : 0];
  VectorRegister from;
  if (!ReadVector(e, i, rest, 16, v) || !ReadVector(e, i, low, 16, from)) return false;
  std::memcpy(v.words.data(), from.words.data(), i.lane);
  WriteVector(e, i, i.operands[0], 16, v);
  return true;
}

bool MoveLow(Execution& e, const Instruction& i) {
  VectorRegister v;
  const Operand& to = i.operands[0];
  if (to.kind == OperandKind::kVector) {
    if (!ReadVector(e, i, i.operands[1], i.lane, v)) return false;
    ClearFrom(v, i.lane);
    WriteVector(e, i, to, 16, v);
    return true;
  }
  if (!ReadVector(e, i, i.operands[1], 16, v)) return false;
  if (to.kind == OperandKind::kMemory) return StoreVector(e, i, i.lane, v);
  if (to.kind != OperandKind::kRegister) return e.Stop(StopReason::kUnknownInstruction);
  e.cpu.SetRegister(to.reg, i.lane == 8 ? v.words[0] : static_cast<std::uint32_t>(v.words[0]));
  return true;
}

// movlps, movhps: one half from or to memory.
bool MoveHalf(Execution& e, const Instruction& i, unsigned half) {
  VectorRegister v, m;
  if (i.operands[0].kind == OperandKind::kMemory) {
    if (!ReadVector(e, i, i.operands[1], 16, v)) return false;
    v.words[0] = v.words[half];
    return StoreVector(e, i, 8, v);
  }
  if (!ReadVector(e, i, i.operands[1], 16, v) || !ReadVector(e, i, i.operands[2], 8, m)) return false;
  v.words[half] = m.words[0];
  WriteVector(e, i, i.operands[0], 16, v);
  return true;
}

bool MoveBetweenHalves(Execution& e, const Instruction& i) {
  VectorRegister a, b;
  if (!ReadVector(e, i, i.operands[1], 16, a) || !ReadVector(e, i, i.operands[2], 16, b)) return false;
  if (i.opcode == Opcode::kVecHighToLow) a.words[0] = b.words[1];
  else a.words[1] = b.words[0];
  WriteVector(e, i, i.operands[0], 16, a);
  return true;
}

bool Unpack(Execution& e, const Instruction& i) {
  return WithLane(e, i.lane, [&](auto lane) {
    using T = decltype(lane);
    return PerGroup(e, i, [&](VectorRegister& r, const VectorRegister& a, const VectorRegister& b, unsigned group) {
      constexpr unsigned kHalf = kLaneGroup / sizeof(T) / 2;
      const unsigned first = group / sizeof(T), from = first + (i.opcode == Opcode::kVecUnpackHigh ? kHalf : 0);
      for (unsigned k = 0; k < kHalf; ++k) {
        SetLane<T>(r, first + 2 * k, Lane<T>(a, from + k));
        SetLane<T>(r, first + 2 * k + 1, Lane<T>(b, from + k));
      }
    });
  });
}

template <typename Wide, typename Narrow>
bool Pack(Execution& e, const Instruction& i) {
  return PerGroup(e, i, [](VectorRegister& r, const VectorRegister& a, const VectorRegister& b, unsigned group) {
    constexpr unsigned kCount = kLaneGroup / sizeof(Wide);
    for (unsigned k = 0; k < 2 * kCount; ++k) {
      const VectorRegister& from = k < kCount ? a : b;
      const Wide v = Lane<Wide>(from, group / sizeof(Wide) + k % kCount);
      // NOLINTNEXTLINE(bugprone-signed-char-misuse): the sign is meant to be extended
      const Wide low = static_cast<Wide>(std::numeric_limits<Narrow>::min()), high = static_cast<Wide>(std::numeric_limits<Narrow>::max());
      SetLane<Narrow>(r, group / sizeof(Narrow) + k, static_cast<Narrow>(std::clamp(v, low, high)));
    }
  });
}

bool ShufflePs(Execution& e, const Instruction& i) {
  const auto control = static_cast<unsigned>(i.immediate);
  return PerGroup(e, i, [&](VectorRegister& r, const VectorRegister& a, const VectorRegister& b, unsigned group) {
    const unsigned first = group / 4;
    for (unsigned k = 0; k < 4; ++k) SetLane<std::uint32_t>(r, first + k, Lane<std::uint32_t>(k < 2 ? a : b, first + ((control >> (2 * k)) & 3)));
  });
}
bool ShufflePd(Execution& e, const Instruction& i) {
  const auto control = static_cast<unsigned>(i.immediate);
  return PerGroup(e, i, [&](VectorRegister& r, const VectorRegister& a, const VectorRegister& b, unsigned group) {
    const unsigned first = group / 8;
    r.words[first] = a.words[first + ((control >> first) & 1)];
    r.words[first + 1] = b.words[first + ((control >> (first + 1)) & 1)];
  });
}
bool ShuffleBytes(Execution& e, const Instruction& i) {
  return PerGroup(e, i, [](VectorRegister& r, const VectorRegister& a, const VectorRegister& b, unsigned group) {
    for (unsigned k = 0; k < kLaneGroup; ++k) {
      const auto control = Lane<std::uint8_t>(b, group + k);
      SetLane<std::uint8_t>(r, group + k, control & 0x80 ? std::uint8_t{0} : Lane<std::uint8_t>(a, group + (control & 15)));
    }
  });
}
bool AlignRight(Execution& e, const Instruction& i) {
  const unsigned shift = static_cast<unsigned>(i.immediate) & 0xff;
  return PerGroup(e, i, [&](VectorRegister& r, const VectorRegister& a, const VectorRegister& b, unsigned group) {
    for (unsigned k = 0; k < kLaneGroup; ++k) {
      const unsigned from = k + shift;  // in the 32 bytes a:b
      const std::uint8_t v = from < 16 ? Lane<std::uint8_t>(b, group + from) : from < 32 ? Lane<std::uint8_t>(a, group + from - 16) : std::uint8_t{0};
      SetLane<std::uint8_t>(r, group + k, v);
    }
  });
}
bool Shuffle32(Execution& e, const Instruction& i) {
  const auto control = static_cast<unsigned>(i.immediate);
  return PerGroupUnary(e, i, [&](VectorRegister& r, const VectorRegister& a, unsigned group) {
    for (unsigned k = 0; k < 4; ++k) SetLane<std::uint32_t>(r, group / 4 + k, Lane<std::uint32_t>(a, group / 4 + ((control >> (2 * k)) & 3)));
  });
}
bool Shuffle16(Execution& e, const Instruction& i) {
  const auto control = static_cast<unsigned>(i.immediate);
  const unsigned base = i.opcode == Opcode::kVecShuffleHigh16 ? 4 : 0;
  return PerGroupUnary(e, i, [&](VectorRegister& r, const VectorRegister& a, unsigned group) {
    const unsigned first = group / 2;
    for (unsigned k = 0; k < 8; ++k) SetLane<std::uint16_t>(r, first + k, Lane<std::uint16_t>(a, first + k));
    for (unsigned k = 0; k < 4; ++k) SetLane<std::uint16_t>(r, first + base + k, Lane<std::uint16_t>(a, first + base + ((control >> (2 * k)) & 3)));
  });
}

template <typename T>
T ShiftedLane(Opcode opcode, T v, std::uint64_t n) {
  if (opcode == Opcode::kVecShiftRightSigned) return static_cast<T>(static_cast<std::make_signed_t<T>>(v) >> std::min<std::uint64_t>(n, kBits<T> - 1));
  if (n >= kBits<T>) return 0;
  return static_cast<T>(opcode == Opcode::kVecShiftLeft ? static_cast<std::uint64_t>(v) << n : static_cast<std::uint64_t>(v) >> n);
}

bool ShiftLanes(Execution& e, const Instruction& i) {
  const unsigned size = i.operands[0].size;
  VectorRegister a, count, r;
  if (!ReadVector(e, i, i.operands[1], size, a)) return false;
  std::uint64_t n = static_cast<std::uint64_t>(i.immediate) & 0xff;
  if (i.operands[2].kind != OperandKind::kImmediate) {
    if (!ReadVector(e, i, i.operands[2], 16, count)) return false;
    n = count.words[0];
  }
  return WithLane(e, i.lane, [&](auto lane) {
    using T = decltype(lane);
    for (unsigned k = 0; k < size / sizeof(T); ++k) SetLane<T>(r, k, ShiftedLane<T>(i.opcode, Lane<T>(a, k), n));
    WriteVector(e, i, i.operands[0], size, r);
    return true;
  });
}

bool ShiftBytes(Execution& e, const Instruction& i) {
  const unsigned n = std::min(static_cast<unsigned>(i.immediate) & 0xff, kLaneGroup);
  const bool left = i.opcode == Opcode::kVecShiftLeftBytes;
  return PerGroupUnary(e, i, [&](VectorRegister& r, const VectorRegister& a, unsigned group) {
    for (unsigned k = 0; k < kLaneGroup; ++k) {
      const unsigned from = left ? k - n : k + n;
      SetLane<std::uint8_t>(r, group + k, from < kLaneGroup ? Lane<std::uint8_t>(a, group + from) : std::uint8_t{0});
    }
  });
}

bool Insert(Execution& e, const Instruction& i) {
  VectorRegister v, from;
  if (!ReadVector(e, i, i.operands[1], 16, v) || !ReadVector(e, i, i.operands[2], i.lane, from)) return false;
  return WithLane(e, i.lane, [&](auto lane) {
    using T = decltype(lane);
    SetLane<T>(v, static_cast<unsigned>(i.immediate) & (16 / sizeof(T) - 1), Lane<T>(from, 0));
    WriteVector(e, i, i.operands[0], 16, v);
    return true;
  });
}

bool ExtractLane(Execution& e, const Instruction& i) {
  VectorRegister v;
  if (!ReadVector(e, i, i.operands[1], 16, v)) return false;
  return WithLane(e, i.lane, [&](auto lane) {
    using T = decltype(lane);
    const T value = Lane<T>(v, static_cast<unsigned>(i.immediate) & (16 / sizeof(T) - 1));
    if (i.operands[0].kind == OperandKind::kMemory) return e.Write(i, i.operands[0], value);
    e.cpu.SetRegister(i.operands[0].reg, value);
    return true;
  });
}

bool MoveMask(Execution& e, const Instruction& i) {
  VectorRegister v;
  const unsigned size = i.operands[1].size;
  if (!ReadVector(e, i, i.operands[1], size, v)) return false;
  return WithLane(e, i.lane, [&](auto lane) {
    using T = decltype(lane);
    std::uint64_t mask = 0;
    for (unsigned k = 0; k < size / sizeof(T); ++k) mask |= static_cast<std::uint64_t>(TopBit(Lane<T>(v, k))) << k;
    e.cpu.SetRegister(i.operands[0].reg, mask);
    return true;
  });
}

bool Test(Execution& e, const Instruction& i) {
  const unsigned size = i.operands[0].size;
  VectorRegister a, b;
  if (!ReadVector(e, i, i.operands[0], size, a) || !ReadVector(e, i, i.operands[1], size, b)) return false;
  std::uint64_t both = 0, only_b = 0;
  for (unsigned k = 0; k < size / 8; ++k) both |= a.words[k] & b.words[k], only_b |= ~a.words[k] & b.words[k];
  e.cpu.flags = Flags{};
  e.cpu.flags.SetZero(both == 0);
  e.cpu.flags.parity_source = 1;  // PF = 0
  e.cpu.flags.carry = only_b == 0;
  return true;
}

bool Broadcast(Execution& e, const Instruction& i) {
  const unsigned size = i.operands[0].size;
  VectorRegister from, r;
  if (!ReadVector(e, i, i.operands[1], i.lane, from)) return false;
  for (unsigned at = 0; at < size; at += i.lane) std::memcpy(reinterpret_cast<std::byte*>(r.words.data()) + at, from.words.data(), i.lane);
  WriteVector(e, i, i.operands[0], size, r);
  return true;
}

bool Insert128(Execution& e, const Instruction& i) {
  VectorRegister v, from;
  if (!ReadVector(e, i, i.operands[1], 32, v) || !ReadVector(e, i, i.operands[2], 16, from)) return false;
  std::memcpy(&v.words[(i.immediate & 1) * 2], from.words.data(), 16);
  WriteVector(e, i, i.operands[0], 32, v);
  return true;
}
bool Extract128(Execution& e, const Instruction& i) {
  VectorRegister v;
  if (!ReadVector(e, i, i.operands[1], 32, v)) return false;
  std::memmove(v.words.data(), &v.words[(i.immediate & 1) * 2], 16);
  if (i.operands[0].kind == OperandKind::kMemory) return StoreVector(e, i, 16, v);
  WriteVector(e, i, i.operands[0], 16, v);
  return true;
}
bool Permute128(Execution& e, const Instruction& i) {
  VectorRegister a, b, r;
  if (!ReadVector(e, i, i.operands[1], 32, a) || !ReadVector(e, i, i.operands[2], 32, b)) return false;
  for (unsigned half = 0; half < 2; ++half) {
    const auto control = static_cast<unsigned>(i.immediate >> (4 * half)) & 15;
    if ((control & 8) == 0) std::memcpy(&r.words[half * 2], &((control & 2) != 0 ? b : a).words[(control & 1) * 2], 16);
  }
  WriteVector(e, i, i.operands[0], 32, r);
  return true;
}
bool Permute64(Execution& e, const Instruction& i) {
  if (i.operands[2].kind != OperandKind::kImmediate || i.operands[0].size != 32) return e.Stop(StopReason::kUnknownInstruction);
  VectorRegister a, r;
  if (!ReadVector(e, i, i.operands[1], 32, a)) return false;
  for (unsigned k = 0; k < 4; ++k) r.words[k] = a.words[static_cast<unsigned>(i.immediate >> (2 * k)) & 3];
  WriteVector(e, i, i.operands[0], 32, r);
  return true;
}

// vpermilps, vpermilpd with an immediate.
bool PermuteInGroups(Execution& e, const Instruction& i) {
  if (i.lane == 4) return Shuffle32(e, i);
  return PerGroupUnary(e, i, [&](VectorRegister& r, const VectorRegister& a, unsigned group) {
    const unsigned first = group / 8;
    for (unsigned k = 0; k < 2; ++k) r.words[first + k] = a.words[first + ((i.immediate >> (first + k)) & 1)];
  });
}

bool Blend(Execution& e, const Instruction& i) {
  const unsigned size = i.operands[0].size;
  VectorRegister a, b;
  if (!ReadVector(e, i, i.operands[1], size, a) || !ReadVector(e, i, i.operands[2], size, b)) return false;
  return WithLane(e, i.lane, [&](auto lane) {
    using T = decltype(lane);
    for (unsigned k = 0; k < size / sizeof(T); ++k)
      if ((i.immediate >> (k % 8)) & 1) SetLane<T>(a, k, Lane<T>(b, k));  // pblendw uses its eight bits for each 128-bit group
    WriteVector(e, i, i.operands[0], size, a);
    return true;
  });
}
bool BlendBytes(Execution& e, const Instruction& i) {
  const unsigned size = i.operands[0].size;
  const unsigned first = i.operand_count == 4 ? 1 : 0;
  VectorRegister a, b, mask;
  if (!ReadVector(e, i, i.operands[first], size, a) || !ReadVector(e, i, i.operands[first + 1], size, b) ||
      !ReadVector(e, i, i.operands[first + 2], size, mask))
    return false;
  for (unsigned k = 0; k < size; ++k)
    if (Lane<std::uint8_t>(mask, k) & 0x80) SetLane<std::uint8_t>(a, k, Lane<std::uint8_t>(b, k));
  WriteVector(e, i, i.operands[0], size, a);
  return true;
}

bool ExtendLanes(Execution& e, const Instruction& i) {
  const unsigned size = i.operands[0].size;
  VectorRegister a, r;
  if (i.lane_to == 0 || !ReadVector(e, i, i.operands[1], size / i.lane_to * i.lane, a)) return e.stop == StopReason::kNone ? e.Stop(StopReason::kUnknownInstruction) : false;
  return WithLane(e, i.lane, [&](auto narrow) {
    using N = decltype(narrow);
    return WithLane(e, i.lane_to, [&](auto wide) {
      using W = decltype(wide);
      for (unsigned k = 0; k < size / sizeof(W); ++k) {
        const N v = Lane<N>(a, k);
        SetLane<W>(r, k, i.opcode == Opcode::kVecSignExtend ? static_cast<W>(static_cast<std::make_signed_t<N>>(v)) : static_cast<W>(v));
      }
      WriteVector(e, i, i.operands[0], size, r);
      return true;
    });
  });
}

bool DuplicateLow64(Execution& e, const Instruction& i) {
  if (i.operands[1].kind == OperandKind::kMemory && i.operands[0].size == 16) {
    VectorRegister v;
    if (!ReadVector(e, i, i.operands[1], 8, v)) return false;
    v.words[1] = v.words[0];
    WriteVector(e, i, i.operands[0], 16, v);
    return true;
  }
  return PerGroupUnary(e, i, [](VectorRegister& r, const VectorRegister& a, unsigned group) { r.words[group / 8] = r.words[group / 8 + 1] = a.words[group / 8]; });
}

bool ZeroUpper(Execution& e, unsigned from_byte) {
  for (unsigned k = 0; k < 16; ++k) ClearFrom(e.cpu.vector[k], from_byte);
  return true;
}

template <typename T>
std::make_signed_t<T> Signed(T v) { return static_cast<std::make_signed_t<T>>(v); }

}  // namespace

bool ExecuteVector(Execution& e, const Instruction& i) noexcept {
  switch (i.opcode) {
    case Opcode::kVecMove: return MoveWhole(e, i);
    case Opcode::kVecMoveScalar: return MoveScalar(e, i);
    case Opcode::kVecMoveLow: return MoveLow(e, i);
    case Opcode::kVecLowHalf: return MoveHalf(e, i, 0);
    case Opcode::kVecHighHalf: return MoveHalf(e, i, 1);
    case Opcode::kVecHighToLow:
    case Opcode::kVecLowToHigh: return MoveBetweenHalves(e, i);
    case Opcode::kVecXor: return PerLane(e, i, [](auto a, auto b) { return static_cast<decltype(a)>(a ^ b); });
    case Opcode::kVecOr: return PerLane(e, i, [](auto a, auto b) { return static_cast<decltype(a)>(a | b); });
    case Opcode::kVecAnd: return PerLane(e, i, [](auto a, auto b) { return static_cast<decltype(a)>(a & b); });
    case Opcode::kVecAndNot: return PerLane(e, i, [](auto a, auto b) { return static_cast<decltype(a)>(~a & b); });
    case Opcode::kVecAdd: return PerLane(e, i, [](auto a, auto b) { return static_cast<decltype(a)>(a + b); });
    case Opcode::kVecSub: return PerLane(e, i, [](auto a, auto b) { return static_cast<decltype(a)>(a - b); });
    case Opcode::kVecCompareEqual: return PerLane(e, i, [](auto a, auto b) { return static_cast<decltype(a)>(a == b ? ~0ull : 0); });
    case Opcode::kVecCompareGreater: return PerLane(e, i, [](auto a, auto b) { return static_cast<decltype(a)>(Signed(a) > Signed(b) ? ~0ull : 0); });
    case Opcode::kVecMinUnsigned: return PerLane(e, i, [](auto a, auto b) { return std::min(a, b); });
    case Opcode::kVecMaxUnsigned: return PerLane(e, i, [](auto a, auto b) { return std::max(a, b); });
    case Opcode::kVecMinSigned: return PerLane(e, i, [](auto a, auto b) { return Signed(a) < Signed(b) ? a : b; });
    case Opcode::kVecMaxSigned: return PerLane(e, i, [](auto a, auto b) { return Signed(a) > Signed(b) ? a : b; });
    case Opcode::kVecMulLow: return PerLane(e, i, [](auto a, auto b) { return static_cast<decltype(a)>(static_cast<std::uint64_t>(a) * b); });
    case Opcode::kVecMulUnsignedWide:
      return PerLane(e, i, [](auto a, auto b) { return static_cast<decltype(a)>(static_cast<std::uint64_t>(static_cast<std::uint32_t>(a)) * static_cast<std::uint32_t>(b)); });
    case Opcode::kVecUnpackLow:
    case Opcode::kVecUnpackHigh: return Unpack(e, i);
    case Opcode::kVecPackSigned: return i.lane == 2 ? Pack<std::int16_t, std::int8_t>(e, i) : Pack<std::int32_t, std::int16_t>(e, i);
    case Opcode::kVecPackUnsigned: return i.lane == 2 ? Pack<std::int16_t, std::uint8_t>(e, i) : Pack<std::int32_t, std::uint16_t>(e, i);
    case Opcode::kVecShuffle32: return Shuffle32(e, i);
    case Opcode::kVecShuffleLow16:
    case Opcode::kVecShuffleHigh16: return Shuffle16(e, i);
    case Opcode::kVecShufflePs: return ShufflePs(e, i);
    case Opcode::kVecShufflePd: return ShufflePd(e, i);
    case Opcode::kVecShuffleBytes: return ShuffleBytes(e, i);
    case Opcode::kVecAlignRight: return AlignRight(e, i);
    case Opcode::kVecInsert: return Insert(e, i);
    case Opcode::kVecExtract: return ExtractLane(e, i);
    case Opcode::kVecMoveMask: return MoveMask(e, i);
    case Opcode::kVecShiftLeft:
    case Opcode::kVecShiftRight:
    case Opcode::kVecShiftRightSigned: return ShiftLanes(e, i);
    case Opcode::kVecShiftLeftBytes:
    case Opcode::kVecShiftRightBytes: return ShiftBytes(e, i);
    case Opcode::kVecTest: return Test(e, i);
    case Opcode::kVecBroadcast: return Broadcast(e, i);
    case Opcode::kVecInsert128: return Insert128(e, i);
    case Opcode::kVecExtract128: return Extract128(e, i);
    case Opcode::kVecPermute128: return Permute128(e, i);
    case Opcode::kVecPermute64: return Permute64(e, i);
    case Opcode::kVecPermuteInGroups: return PermuteInGroups(e, i);
    case Opcode::kVecBlend: return Blend(e, i);
    case Opcode::kVecBlendBytes: return BlendBytes(e, i);
    case Opcode::kVecZeroExtend:
    case Opcode::kVecSignExtend: return ExtendLanes(e, i);
    case Opcode::kVecDuplicateLow64: return DuplicateLow64(e, i);
    case Opcode::kVecZeroUpper: return ZeroUpper(e, 16);
    case Opcode::kVecZeroAll: return ZeroUpper(e, 0);
    default: return e.Stop(StopReason::kUnknownInstruction);
  }
}

}  // namespace pygc::machine
