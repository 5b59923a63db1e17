// Execution of one instruction of general registers, any form. Reference: Intel SDM volume 2, AMD APM volume 3 where they say more.
#include <algorithm>
#include <bit>

#include "core/machine/execution.h"

namespace pygc::machine {
namespace {

using disasm::Instruction;
using disasm::Opcode;
using disasm::Operand;
using disasm::OperandKind;

// Runs `body` with a value of the unsigned type of `size` bytes. False for any other size.
template <typename Body>
bool WithWidth(Execution& e, unsigned size, Body body) {
  switch (size) {
    case 1: return body(std::uint8_t{});
    case 2: return body(std::uint16_t{});
    case 4: return body(std::uint32_t{});
    case 8: return body(std::uint64_t{});
    default: return e.Stop(StopReason::kUnknownInstruction);
  }
}

// dst = f(dst, src)
template <typename T, typename F>
bool Binary(Execution& e, const Instruction& i, F f) {
  T a{}, b{};
  if (!e.Read(i, i.operands[0], a) || !e.Read(i, i.operands[1], b)) return false;
  return e.Write(i, i.operands[0], f(e.cpu.flags, a, b));
}
template <typename T, typename F>
bool Compare(Execution& e, const Instruction& i, F f) {
  T a{}, b{};
  if (!e.Read(i, i.operands[0], a) || !e.Read(i, i.operands[1], b)) return false;
  f(e.cpu.flags, a, b);
  return true;
}
template <typename T, typename F>
bool Unary(Execution& e, const Instruction& i, F f) {
  T a{};
  return e.Read(i, i.operands[0], a) && e.Write(i, i.operands[0], f(e.cpu.flags, a));
}
// dst = f(dst, count); the count is an immediate, cl, or an implied 1
template <typename T, typename F>
bool Shift(Execution& e, const Instruction& i, F f) {
  T a{};
  std::uint8_t count = 1;
  if (!e.Read(i, i.operands[0], a) || (i.operand_count > 1 && !e.Read(i, i.operands[1], count))) return false;
  return e.Write(i, i.operands[0], f(e.cpu.flags, a, count));
}
// BMI: dst = f(src1, src2)
template <typename T, typename F>
bool Three(Execution& e, const Instruction& i, F f) {
  T a{}, b{};
  if (!e.Read(i, i.operands[1], a) || !e.Read(i, i.operands[2], b)) return false;
  return e.Write(i, i.operands[0], f(e.cpu.flags, a, b));
}

bool Move(Execution& e, const Instruction& i) {
  const Operand& to = i.operands[0];
  const Operand& from = i.operands[1];
  if (to.size == 8 && to.kind == OperandKind::kRegister && from.kind == OperandKind::kRegister && from.size == 8) {
    e.cpu.SetRegister(to.reg, e.cpu.gpr[from.reg], e.cpu.provenance[from.reg]);
    return true;
  }
  if (to.size == 8 && to.kind == OperandKind::kRegister && from.kind == OperandKind::kMemory && !Execution::IsCanary(i)) {
    Address a = 0, came_from = 0;
    std::uint64_t value = 0;
    if (!e.EffectiveAddress(i, a)) return false;
    if (!e.memory.LoadWord(a, value, came_from)) return e.MemoryFault();
    e.cpu.SetRegister(to.reg, value, came_from);
    return true;
  }
  if (to.size == 8 && to.kind == OperandKind::kMemory && from.kind == OperandKind::kRegister) {
    Address a = 0;
    if (!e.EffectiveAddress(i, a)) return false;
    return e.memory.StoreWord(a, e.cpu.gpr[from.reg], e.cpu.provenance[from.reg]) || e.MemoryFault();
  }
  return WithWidth(e, to.size, [&](auto width) {
    decltype(width) v{};
    return e.Read(i, from, v) && e.Write(i, to, v);
  });
}

bool Extend(Execution& e, const Instruction& i, bool is_signed) {
  return WithWidth(e, i.operands[1].size, [&](auto narrow) {
    using N = decltype(narrow);
    N v{};
    if (!e.Read(i, i.operands[1], v)) return false;
    const std::uint64_t wide = is_signed ? static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::make_signed_t<N>>(v))) : v;
    return WithWidth(e, i.operands[0].size, [&](auto width) { return e.Write(i, i.operands[0], static_cast<decltype(width)>(wide)); });
  });
}

bool LoadAddress(Execution& e, const Instruction& i) {
  const std::uint64_t a = e.Offset(i);
  return WithWidth(e, i.operands[0].size, [&](auto width) { return e.Write(i, i.operands[0], static_cast<decltype(width)>(a)); });
}

bool PushWord(Execution& e, std::uint64_t value, Address from) {
  const std::uint64_t sp = e.cpu.gpr[kRsp] - 8;
  if (!e.memory.StoreWord(sp, value, from)) return e.MemoryFault();
  e.cpu.SetRegister(kRsp, sp);
  return true;
}

bool Push(Execution& e, const Instruction& i) {
  const Operand& from = i.operands[0];
  if (from.kind == OperandKind::kRegister && from.size == 8) return PushWord(e, e.cpu.gpr[from.reg], e.cpu.provenance[from.reg]);
  if (from.kind == OperandKind::kImmediate) return PushWord(e, static_cast<std::uint64_t>(i.immediate), 0);
  if (from.kind != OperandKind::kMemory || from.size != 8) return e.Stop(StopReason::kUnknownInstruction);
  Address a = 0, came_from = 0;
  std::uint64_t value = 0;
  if (!e.EffectiveAddress(i, a)) return false;
  if (!e.memory.LoadWord(a, value, came_from)) return e.MemoryFault();
  return PushWord(e, value, came_from);
}

bool Pop(Execution& e, const Instruction& i) {
  const Operand& to = i.operands[0];
  if (to.size != 8) return e.Stop(StopReason::kUnknownInstruction);
  std::uint64_t value = 0;
  Address came_from = 0;
  const std::uint64_t sp = e.cpu.gpr[kRsp];
  if (!e.memory.LoadWord(sp, value, came_from)) return e.MemoryFault();
  e.cpu.SetRegister(kRsp, sp + 8);  // before the write: pop rsp gets the value, a memory operand sees the new rsp
  if (to.kind == OperandKind::kRegister) {
    e.cpu.SetRegister(to.reg, value, came_from);
    return true;
  }
  Address a = 0;
  if (!e.EffectiveAddress(i, a)) return false;
  return e.memory.StoreWord(a, value, came_from) || e.MemoryFault();
}

bool Leave(Execution& e) {
  const std::uint64_t frame = e.cpu.gpr[kRbp];
  std::uint64_t value = 0;
  Address came_from = 0;
  if (!e.memory.LoadWord(frame, value, came_from)) return e.MemoryFault();
  e.cpu.SetRegister(kRsp, frame + 8);
  e.cpu.SetRegister(kRbp, value, came_from);
  return true;
}

bool Exchange(Execution& e, const Instruction& i) {
  const Operand& x = i.operands[0];
  const Operand& y = i.operands[1];
  if (x.size == 8 && x.kind == OperandKind::kRegister && y.kind == OperandKind::kRegister) {
    std::swap(e.cpu.gpr[x.reg], e.cpu.gpr[y.reg]);
    std::swap(e.cpu.provenance[x.reg], e.cpu.provenance[y.reg]);
    return true;
  }
  return WithWidth(e, x.size, [&](auto width) {
    decltype(width) a{}, b{};
    if (!e.Read(i, x, a) || !e.Read(i, y, b)) return false;
    // Memory first: its address may use the register.
    return x.kind == OperandKind::kMemory ? e.Write(i, x, b) && e.Write(i, y, a) : e.Write(i, y, a) && e.Write(i, x, b);
  });
}

bool ConditionalMove(Execution& e, const Instruction& i) {
  const Operand& to = i.operands[0];
  const Operand& from = i.operands[1];
  const bool taken = e.cpu.flags.Holds(i.condition);
  if (to.size == 8 && from.kind == OperandKind::kRegister) {
    if (taken) e.cpu.SetRegister(to.reg, e.cpu.gpr[from.reg], e.cpu.provenance[from.reg]);
    return true;
  }
  if (to.size == 8 && from.kind == OperandKind::kMemory) {
    Address a = 0, came_from = 0;
    std::uint64_t value = 0;
    if (!e.EffectiveAddress(i, a)) return false;
    if (!e.memory.LoadWord(a, value, came_from)) return e.MemoryFault();  // reads whether taken or not
    if (taken) e.cpu.SetRegister(to.reg, value, came_from);
    return true;
  }
  return WithWidth(e, to.size, [&](auto width) {
    decltype(width) a{}, b{};
    if (!e.Read(i, to, a) || !e.Read(i, from, b)) return false;
    return e.Write(i, to, taken ? b : a);  // a 32-bit one that is not taken clears the upper half as well
  });
}

bool AndKeepingProvenance(Execution& e, const Instruction& i) {
  const Operand& to = i.operands[0];
  std::uint64_t a = 0, b = 0;
  if (!e.Read(i, to, a) || !e.Read(i, i.operands[1], b)) return false;
  const std::uint64_t r = And(e.cpu.flags, a, b);
  if (to.kind != OperandKind::kRegister) return e.Write(i, to, r);
  e.cpu.gpr[to.reg] = r;
  if (b < ~15ull) e.cpu.provenance[to.reg] = 0;  // else tag bits masked off a pointer: it still comes from there
  return true;
}

// `and mem, 0`, `or mem, -1` (short ways to store a constant) and `or mem, 0`, `xor mem, 0` (probes of a stack page): where the stack there was never written its old value
// does not matter, and reading it must not make the run a doubtful one. False: nothing was done, the ordinary way is right.
bool StoredWithoutOldValue(Execution& e, const Instruction& i) {
  const bool constant = i.operands[1].kind == OperandKind::kImmediate && (i.immediate == 0 || (i.immediate == -1 && i.opcode != Opcode::kXor));
  if (!constant || i.operands[0].kind != OperandKind::kMemory || i.uses_fs || !e.memory.IsNeverWritten(e.Offset(i), i.operands[0].size)) return false;
  const bool keeps = (i.opcode == Opcode::kAnd) == (i.immediate == -1);
  e.cpu.flags.SetLogic(static_cast<std::uint64_t>(keeps ? 0 : i.immediate));
  if (keeps) return true;
  return WithWidth(e, i.operands[0].size, [&](auto width) { return e.Write(i, i.operands[0], static_cast<decltype(width)>(i.immediate)); });
}

template <typename T>
bool MultiplyWide(Execution& e, const Instruction& i, bool is_signed) {
  T b{};
  if (!e.Read(i, i.operands[0], b)) return false;
  const T a = e.ReadRegister<T>(kRax);
  Flags& f = e.cpu.flags;
  T low{}, high{};
  if (is_signed) {
    using S = std::make_signed_t<T>;
    const WideSigned wide = static_cast<WideSigned>(static_cast<S>(a)) * static_cast<S>(b);
    low = static_cast<T>(wide);
    high = static_cast<T>(static_cast<WideUnsigned>(wide) >> kBits<T>);
    f.SetResult(low);
    f.carry = f.overflow = wide != static_cast<WideSigned>(static_cast<S>(low));
  } else {
    const WideUnsigned wide = static_cast<WideUnsigned>(a) * b;
    low = static_cast<T>(wide);
    high = static_cast<T>(wide >> kBits<T>);
    f.SetResult(low);
    f.carry = f.overflow = high != 0;
  }
  if constexpr (sizeof(T) == 1) {
    e.WriteRegister<std::uint16_t>(kRax, static_cast<std::uint16_t>(low | high << 8));
  } else {
    e.WriteRegister<T>(kRax, low);
    e.WriteRegister<T>(kRdx, high);
  }
  return true;
}

template <typename T>
bool Divide(Execution& e, const Instruction& i, bool is_signed) {
  T divisor{};
  if (!e.Read(i, i.operands[0], divisor)) return false;
  if (divisor == 0) return e.Stop(StopReason::kDivideError);
  T low = e.ReadRegister<T>(kRax), high = e.ReadRegister<T>(kRdx);
  if constexpr (sizeof(T) == 1) high = static_cast<T>(e.cpu.gpr[kRax] >> 8);
  const WideUnsigned dividend = static_cast<WideUnsigned>(high) << kBits<T> | low;
  T quotient{}, remainder{};
  if (is_signed) {
    using S = std::make_signed_t<T>;
    // The dividend has 2 * kBits<T> bits: move its sign to the top of 128.
    constexpr unsigned kUnused = 128 - 2 * kBits<T>;
    const WideSigned n = static_cast<WideSigned>(dividend << kUnused) >> kUnused;
    // NOLINTNEXTLINE(bugprone-signed-char-misuse): the sign is meant to be extended
    const WideSigned d = static_cast<S>(divisor);
    const bool smallest = n == static_cast<WideSigned>(static_cast<WideUnsigned>(1) << 127);
    if (smallest && d == -1) return e.Stop(StopReason::kDivideError);
    const WideSigned q = n / d;
    if (q != static_cast<WideSigned>(static_cast<S>(static_cast<T>(q)))) return e.Stop(StopReason::kDivideError);
    quotient = static_cast<T>(q);
    remainder = static_cast<T>(n % d);
  } else {
    const WideUnsigned q = dividend / divisor;
    if (q > std::numeric_limits<T>::max()) return e.Stop(StopReason::kDivideError);
    quotient = static_cast<T>(q);
    remainder = static_cast<T>(dividend % divisor);
  }
  if constexpr (sizeof(T) == 1) {
    e.WriteRegister<std::uint16_t>(kRax, static_cast<std::uint16_t>(quotient | remainder << 8));
  } else {
    e.WriteRegister<T>(kRax, quotient);
    e.WriteRegister<T>(kRdx, remainder);
  }
  return true;
}

template <typename T>
bool Imul(Execution& e, const Instruction& i) {
  T a{}, b{};
  const unsigned first = i.operand_count == 3 ? 1 : 0;
  if (!e.Read(i, i.operands[first], a) || !e.Read(i, i.operands[first + 1], b)) return false;
  return e.Write(i, i.operands[0], MultiplySigned(e.cpu.flags, a, b));
}

template <typename T>
bool Mulx(Execution& e, const Instruction& i) {
  T b{};
  if (!e.Read(i, i.operands[2], b)) return false;
  const WideUnsigned wide = static_cast<WideUnsigned>(e.ReadRegister<T>(kRdx)) * b;
  e.WriteRegister<T>(i.operands[1].reg, static_cast<T>(wide));  // low first: where both are one register it ends with the high half
  e.WriteRegister<T>(i.operands[0].reg, static_cast<T>(wide >> kBits<T>));
  return true;
}

// bt, bts, btr, btc. With a bit number in a register and a bit string in memory the number reaches beyond the operand, in both directions.
template <typename T>
bool BitTest(Execution& e, const Instruction& i) {
  const Operand& string = i.operands[0];
  T number{};
  if (!e.Read(i, i.operands[1], number)) return false;
  const unsigned bit = static_cast<unsigned>(number) % kBits<T>;
  T value{};
  Address a = 0;
  if (string.kind == OperandKind::kMemory) {
    if (!e.EffectiveAddress(i, a)) return false;
    if (i.operands[1].kind == OperandKind::kRegister) {
      const std::int64_t element = static_cast<std::int64_t>(static_cast<std::make_signed_t<T>>(number)) >> std::countr_zero(kBits<T>);
      a += static_cast<std::uint64_t>(element) * sizeof(T);
    }
    if (!e.memory.Load(a, value)) return e.MemoryFault();
  } else if (!e.Read(i, string, value)) {
    return false;
  }
  e.cpu.flags.carry = (value >> bit) & 1;
  const T mask = static_cast<T>(T{1} << bit);
  switch (i.opcode) {
    case Opcode::kBitTest: return true;
    case Opcode::kBitSet: value = static_cast<T>(value | mask); break;
    case Opcode::kBitReset: value = static_cast<T>(value & ~mask); break;
    default: value = static_cast<T>(value ^ mask); break;
  }
  if (string.kind == OperandKind::kMemory) return e.memory.Store(a, value) || e.MemoryFault();
  return e.Write(i, string, value);
}

template <typename T>
bool ScanBits(Execution& e, const Instruction& i) {
  T v{};
  if (!e.Read(i, i.operands[1], v)) return false;
  Flags& f = e.cpu.flags;
  T r{};
  switch (i.opcode) {
    case Opcode::kBsf:
    case Opcode::kBsr:
      f.SetZero(v == 0);
      if (v == 0) return true;  // the destination keeps its value (AMD says so, Intel does so)
      r = static_cast<T>(i.opcode == Opcode::kBsf ? std::countr_zero(v) : static_cast<int>(kBits<T>) - 1 - std::countl_zero(v));
      break;
    case Opcode::kTzcnt:
      r = static_cast<T>(std::countr_zero(v));
      f.carry = v == 0;
      f.SetZero(r == 0);
      break;
    case Opcode::kLzcnt:
      r = static_cast<T>(std::countl_zero(v));
      f.carry = v == 0;
      f.SetZero(r == 0);
      break;
    default:  // popcnt
      r = static_cast<T>(std::popcount(v));
      f = Flags{};
      f.zero_source = v;
      f.parity_source = 1;  // PF = 0
      break;
  }
  return e.Write(i, i.operands[0], r);
}

template <typename T>
T Deposit(T source, T mask) {
  T r = 0;
  for (unsigned k = 0; mask != 0; ++k) {
    const T lowest = static_cast<T>(mask & (~mask + 1u));
    if ((source >> k) & 1) r = static_cast<T>(r | lowest);
    mask = static_cast<T>(mask & (mask - 1u));
  }
  return r;
}
template <typename T>
T Extract(T source, T mask) {
  T r = 0;
  for (unsigned k = 0; mask != 0; ++k) {
    const T lowest = static_cast<T>(mask & (~mask + 1u));
    if (source & lowest) r = static_cast<T>(r | T{1} << k);
    mask = static_cast<T>(mask & (mask - 1u));
  }
  return r;
}

// The instructions of BMI1 and BMI2; T is 32 or 64 bits wide.
template <typename T>
bool BitManipulation(Execution& e, const Instruction& i) {
  const auto lowest = [&](auto result_of, auto carry_of) {
    T v{};
    if (!e.Read(i, i.operands[1], v)) return false;
    const T r = result_of(v);
    e.cpu.flags.SetLogic(r);
    e.cpu.flags.carry = carry_of(v);
    return e.Write(i, i.operands[0], r);
  };
  switch (i.opcode) {
    case Opcode::kAndn: return Three<T>(e, i, [](Flags& f, T a, T b) { return And<T>(f, static_cast<T>(~a), b); });
    case Opcode::kBextr:
      return Three<T>(e, i, [](Flags& f, T a, T control) {
        const unsigned start = control & 0xff, size = (control >> 8) & 0xff;
        T r = start < kBits<T> ? static_cast<T>(a >> start) : T{0};
        if (size < kBits<T>) r = static_cast<T>(r & ((T{1} << size) - 1));
        f.SetLogic(r);
        return r;
      });
    case Opcode::kBlsi: return lowest([](T v) { return static_cast<T>(v & (~v + 1u)); }, [](T v) { return v != 0; });
    case Opcode::kBlsmsk: return lowest([](T v) { return static_cast<T>(v ^ (v - 1u)); }, [](T v) { return v == 0; });
    case Opcode::kBlsr: return lowest([](T v) { return static_cast<T>(v & (v - 1u)); }, [](T v) { return v == 0; });
    case Opcode::kBzhi:
      return Three<T>(e, i, [](Flags& f, T a, T index) {
        const unsigned n = index & 0xff;
        const T r = n < kBits<T> ? static_cast<T>(a & ((T{1} << n) - 1)) : a;
        f.SetLogic(r);
        f.carry = n > kBits<T> - 1;
        return r;
      });
    case Opcode::kPdep: return Three<T>(e, i, [](Flags&, T a, T mask) { return Deposit(a, mask); });
    case Opcode::kPext: return Three<T>(e, i, [](Flags&, T a, T mask) { return Extract(a, mask); });
    case Opcode::kRorx: return Three<T>(e, i, [](Flags&, T a, T n) { return std::rotr(a, static_cast<int>(n % kBits<T>)); });
    case Opcode::kSarx:
      return Three<T>(e, i, [](Flags&, T a, T n) { return static_cast<T>(static_cast<std::make_signed_t<T>>(a) >> (n % kBits<T>)); });
    case Opcode::kShlx: return Three<T>(e, i, [](Flags&, T a, T n) { return static_cast<T>(a << (n % kBits<T>)); });
    case Opcode::kShrx: return Three<T>(e, i, [](Flags&, T a, T n) { return static_cast<T>(a >> (n % kBits<T>)); });
    case Opcode::kMulx: return Mulx<T>(e, i);
    default: return e.Stop(StopReason::kUnknownInstruction);
  }
}

template <typename T>
bool ExchangeAdd(Execution& e, const Instruction& i) {
  T a{}, b{};
  if (!e.Read(i, i.operands[0], a) || !e.Read(i, i.operands[1], b)) return false;
  const T sum = Add(e.cpu.flags, a, b);
  if (i.operands[0].kind == OperandKind::kMemory) return e.Write(i, i.operands[0], sum) && e.Write(i, i.operands[1], a);
  return e.Write(i, i.operands[1], a) && e.Write(i, i.operands[0], sum);
}

template <typename T>
bool CompareExchange(Execution& e, const Instruction& i) {
  T destination{}, source{};
  if (!e.Read(i, i.operands[0], destination) || !e.Read(i, i.operands[1], source)) return false;
  const T accumulator = e.ReadRegister<T>(kRax);
  Subtract(e.cpu.flags, accumulator, destination);
  if (accumulator == destination) return e.Write(i, i.operands[0], source);
  // The processor writes the old value back: this faults on read-only memory and makes a locked one a write, but does not change it.
  if (i.operands[0].kind == OperandKind::kMemory && !e.Write(i, i.operands[0], destination)) return false;
  e.WriteRegister<T>(kRax, destination);
  return true;
}

// One step of a string instruction. Sets `e.cpu.flags` where it compares.
template <typename T>
bool StringStep(Execution& e, Opcode opcode) {
  const Address from = e.cpu.gpr[kRsi], to = e.cpu.gpr[kRdi];
  T a{}, b{};
  switch (opcode) {
    case Opcode::kStos:
      if (!e.memory.Store(to, e.ReadRegister<T>(kRax))) return e.MemoryFault();
      break;
    case Opcode::kMovs:
      if (!e.memory.Load(from, a) || !e.memory.Store(to, a)) return e.MemoryFault();
      break;
    case Opcode::kLods:
      if (!e.memory.Load(from, a)) return e.MemoryFault();
      e.WriteRegister<T>(kRax, a);
      break;
    case Opcode::kScas:
      if (!e.memory.Load(to, b)) return e.MemoryFault();
      Subtract(e.cpu.flags, e.ReadRegister<T>(kRax), b);
      break;
    default:  // cmps
      if (!e.memory.Load(from, a) || !e.memory.Load(to, b)) return e.MemoryFault();
      Subtract(e.cpu.flags, a, b);
      break;
  }
  if (opcode == Opcode::kMovs || opcode == Opcode::kLods || opcode == Opcode::kCmps) e.cpu.SetRegister(kRsi, from + sizeof(T));
  if (opcode != Opcode::kLods) e.cpu.SetRegister(kRdi, to + sizeof(T));
  return true;
}

template <typename T>
bool String(Execution& e, const Instruction& i) {
  if (!i.repeats && !i.repeats_while_not_equal) return StringStep<T>(e, i.opcode);
  const bool compares = i.opcode == Opcode::kScas || i.opcode == Opcode::kCmps;
  while (e.cpu.gpr[kRcx] != 0) {
    if (!e.Charge(1) || !StringStep<T>(e, i.opcode)) return false;
    e.cpu.SetRegister(kRcx, e.cpu.gpr[kRcx] - 1);
    if (compares && e.cpu.flags.zero() != i.repeats) break;
  }
  return true;
}

bool SignExtendAccumulator(Execution& e, unsigned size) {
  const auto rax = static_cast<std::int64_t>(e.cpu.gpr[kRax]);
  if (size == 2) e.WriteRegister<std::uint16_t>(kRax, static_cast<std::uint16_t>(static_cast<std::int8_t>(rax)));
  else if (size == 4) e.WriteRegister<std::uint32_t>(kRax, static_cast<std::uint32_t>(static_cast<std::int16_t>(rax)));
  else e.WriteRegister<std::uint64_t>(kRax, static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::int32_t>(rax))));
  return true;
}

bool SignExtendIntoD(Execution& e, unsigned size) {
  return WithWidth(e, size, [&](auto width) {
    using T = decltype(width);
    e.WriteRegister<T>(kRdx, TopBit(e.ReadRegister<T>(kRax)) ? std::numeric_limits<T>::max() : T{0});
    return true;
  });
}

template <typename T>
bool AddKeepingOthers(Execution& e, const Instruction& i, bool Flags::* flag) {
  Flags scratch;
  T a{}, b{};
  if (!e.Read(i, i.operands[0], a) || !e.Read(i, i.operands[1], b)) return false;
  const T r = Add(scratch, a, b, e.cpu.flags.*flag);
  e.cpu.flags.*flag = scratch.carry;
  return e.Write(i, i.operands[0], r);
}

template <typename T>
T ByteSwapped(T v) {
  T r = 0;
  for (unsigned k = 0; k < sizeof(T); ++k) r = static_cast<T>(static_cast<std::uint64_t>(r) << 8 | ((static_cast<std::uint64_t>(v) >> (8 * k)) & 0xff));
  return r;
}

template <typename T>
bool MoveBigEndian(Execution& e, const Instruction& i) {
  T v{};
  return e.Read(i, i.operands[1], v) && e.Write(i, i.operands[0], ByteSwapped(v));
}

template <typename T>
bool DoubleShift(Execution& e, const Instruction& i) {
  T a{}, from{};
  std::uint8_t count = 0;
  if (!e.Read(i, i.operands[0], a) || !e.Read(i, i.operands[1], from) || !e.Read(i, i.operands[2], count)) return false;
  Flags& f = e.cpu.flags;
  return e.Write(i, i.operands[0], i.opcode == Opcode::kShld ? ShiftLeftDouble(f, a, from, count) : ShiftRightDouble(f, a, from, count));
}

// The operations whose width is that of operand 0.
template <typename T>
bool Sized(Execution& e, const Instruction& i) {
  switch (i.opcode) {
    case Opcode::kAdd: return Binary<T>(e, i, [](Flags& f, T a, T b) { return Add(f, a, b); });
    case Opcode::kAdc: return Binary<T>(e, i, [](Flags& f, T a, T b) { return Add(f, a, b, f.carry); });
    case Opcode::kSub: return Binary<T>(e, i, [](Flags& f, T a, T b) { return Subtract(f, a, b); });
    case Opcode::kSbb: return Binary<T>(e, i, [](Flags& f, T a, T b) { return Subtract(f, a, b, f.carry); });
    case Opcode::kCmp: return Compare<T>(e, i, [](Flags& f, T a, T b) { Subtract(f, a, b); });
    case Opcode::kAnd: return Binary<T>(e, i, [](Flags& f, T a, T b) { return And(f, a, b); });
    case Opcode::kTest: return Compare<T>(e, i, [](Flags& f, T a, T b) { And(f, a, b); });
    case Opcode::kOr: return Binary<T>(e, i, [](Flags& f, T a, T b) { return Or(f, a, b); });
    case Opcode::kXor: return Binary<T>(e, i, [](Flags& f, T a, T b) { return Xor(f, a, b); });
    case Opcode::kInc: return Unary<T>(e, i, [](Flags& f, T a) { return Increment(f, a); });
    case Opcode::kDec: return Unary<T>(e, i, [](Flags& f, T a) { return Decrement(f, a); });
    case Opcode::kNeg: return Unary<T>(e, i, [](Flags& f, T a) { return Negate(f, a); });
    case Opcode::kNot: return Unary<T>(e, i, [](Flags&, T a) { return static_cast<T>(~a); });
    case Opcode::kShl: return Shift<T>(e, i, [](Flags& f, T a, std::uint64_t n) { return ShiftLeft(f, a, n); });
    case Opcode::kShr: return Shift<T>(e, i, [](Flags& f, T a, std::uint64_t n) { return ShiftRight(f, a, n); });
    case Opcode::kSar: return Shift<T>(e, i, [](Flags& f, T a, std::uint64_t n) { return ShiftRightSigned(f, a, n); });
    case Opcode::kRol: return Shift<T>(e, i, [](Flags& f, T a, std::uint64_t n) { return RotateLeft(f, a, n); });
    case Opcode::kRor: return Shift<T>(e, i, [](Flags& f, T a, std::uint64_t n) { return RotateRight(f, a, n); });
    case Opcode::kRcl: return Shift<T>(e, i, [](Flags& f, T a, std::uint64_t n) { return RotateLeftThroughCarry(f, a, n); });
    case Opcode::kRcr: return Shift<T>(e, i, [](Flags& f, T a, std::uint64_t n) { return RotateRightThroughCarry(f, a, n); });
    case Opcode::kShld:
    case Opcode::kShrd: return DoubleShift<T>(e, i);
    case Opcode::kImul: return Imul<T>(e, i);
    case Opcode::kImulWide: return MultiplyWide<T>(e, i, true);
    case Opcode::kMulWide: return MultiplyWide<T>(e, i, false);
    case Opcode::kDiv: return Divide<T>(e, i, false);
    case Opcode::kIdiv: return Divide<T>(e, i, true);
    case Opcode::kByteSwap: return Unary<T>(e, i, [](Flags&, T a) { return ByteSwapped(a); });
    case Opcode::kMovBigEndian: return MoveBigEndian<T>(e, i);
    case Opcode::kBitTest:
    case Opcode::kBitSet:
    case Opcode::kBitReset:
    case Opcode::kBitComplement: return BitTest<T>(e, i);
    case Opcode::kBsf:
    case Opcode::kBsr:
    case Opcode::kTzcnt:
    case Opcode::kLzcnt:
    case Opcode::kPopcnt: return ScanBits<T>(e, i);
    case Opcode::kXadd: return ExchangeAdd<T>(e, i);
    case Opcode::kCmpxchg: return CompareExchange<T>(e, i);
    case Opcode::kAddCarryOnly: return AddKeepingOthers<T>(e, i, &Flags::carry);
    case Opcode::kAddOverflowOnly: return AddKeepingOthers<T>(e, i, &Flags::overflow);
    default:
      if constexpr (sizeof(T) >= 4) return BitManipulation<T>(e, i);
      else return e.Stop(StopReason::kUnknownInstruction);
  }
}

}  // namespace

bool ExecuteInteger(Execution& e, const Instruction& i) noexcept {
  switch (i.opcode) {
    case Opcode::kNop: return true;
    case Opcode::kMov: return Move(e, i);
    case Opcode::kMovZeroExtend: return Extend(e, i, false);
    case Opcode::kMovSignExtend: return Extend(e, i, true);
    case Opcode::kLea: return LoadAddress(e, i);
    case Opcode::kPush: return Push(e, i);
    case Opcode::kPop: return Pop(e, i);
    case Opcode::kLeave: return Leave(e);
    case Opcode::kXchg: return Exchange(e, i);
    case Opcode::kCmov: return ConditionalMove(e, i);
    case Opcode::kSet: return e.Write<std::uint8_t>(i, i.operands[0], e.cpu.flags.Holds(i.condition) ? 1 : 0);
    case Opcode::kSignExtendAccumulator: return SignExtendAccumulator(e, i.lane);
    case Opcode::kSignExtendIntoD: return SignExtendIntoD(e, i.lane);
    case Opcode::kClearCarry: e.cpu.flags.carry = false; return true;
    case Opcode::kSetCarry: e.cpu.flags.carry = true; return true;
    case Opcode::kComplementCarry: e.cpu.flags.carry = !e.cpu.flags.carry; return true;
    case Opcode::kStos:
    case Opcode::kMovs:
    case Opcode::kLods:
    case Opcode::kScas:
    case Opcode::kCmps:
      return WithWidth(e, i.lane, [&](auto width) { return String<decltype(width)>(e, i); });
    case Opcode::kAnd:
    case Opcode::kOr:
    case Opcode::kXor:
      if (StoredWithoutOldValue(e, i)) return true;
      if (i.opcode == Opcode::kAnd && i.operands[0].size == 8) return AndKeepingProvenance(e, i);
      break;
    default: break;
  }
  return WithWidth(e, i.operands[0].size, [&](auto width) { return Sized<decltype(width)>(e, i); });
}

}  // namespace pygc::machine
