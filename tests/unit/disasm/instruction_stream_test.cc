#include "core/disasm/instruction_stream.h"

#include <doctest/doctest.h>

#include <initializer_list>
#include <random>
#include <vector>

namespace pygc::disasm {
namespace {

std::vector<std::byte> Bytes(std::initializer_list<int> values) {
  std::vector<std::byte> out;
  for (const int v : values) out.push_back(static_cast<std::byte>(v));
  return out;
}

Instruction Decoded(std::initializer_list<int> bytes, Address at = 0x1000) {
  const auto stream = MakeInstructionStream(Architecture::kX86_64);
  REQUIRE(stream != nullptr);
  Instruction i;
  const std::vector<std::byte> b = Bytes(bytes);
  CHECK(stream->Decode(b, at, i));
  CHECK(i.length == b.size());
  return i;
}

bool Refused(std::initializer_list<int> bytes) {
  const auto stream = MakeInstructionStream(Architecture::kX86_64);
  Instruction i;
  return !stream->Decode(Bytes(bytes), 0x1000, i);
}

}  // namespace

TEST_CASE("operands come with register, size and address") {
  const Instruction load = Decoded({0x4a, 0x8b, 0x7c, 0xe3, 0x18});  // mov rdi,[rbx+r12*8+0x18]
  CHECK(load.opcode == Opcode::kMov);
  CHECK(load.operands[0].kind == OperandKind::kRegister);
  CHECK(load.operands[0].reg == 7);
  CHECK(load.operands[1].kind == OperandKind::kMemory);
  CHECK(load.operands[1].size == 8);
  CHECK(load.base == 3);
  CHECK(load.index == 12);
  CHECK(load.scale_shift == 3);
  CHECK(load.displacement == 0x18);
  CHECK(Decoded({0x88, 0xe1}).operands[1].kind == OperandKind::kHighByte);  // mov cl, ah
  CHECK(Decoded({0x48, 0x83, 0xe4, 0xf0}).immediate == -16);                // and rsp,-16
}

TEST_CASE("rip-relative addresses and branch targets are absolute") {
  const Instruction load = Decoded({0x48, 0x8b, 0x05, 0x10, 0, 0, 0}, 0x400000);
  CHECK(load.base == kNoRegister);
  CHECK(load.displacement == 0x400017);
  const Instruction call = Decoded({0xe8, 0xfb, 0xff, 0xff, 0xff}, 0x400000);
  CHECK(call.opcode == Opcode::kCall);
  CHECK(call.immediate == 0x400000);
  CHECK(call.EndsBlock());
}

TEST_CASE("conditions follow the encoding") {
  for (int cc = 0; cc < 16; ++cc) {
    CHECK(Decoded({0x70 + cc, 0x00}).condition == static_cast<Condition>(cc));
    CHECK(Decoded({0x0f, 0x40 + cc, 0xc1}).condition == static_cast<Condition>(cc));
    CHECK(Decoded({0x0f, 0x90 + cc, 0xc1}).condition == static_cast<Condition>(cc));
  }
}

TEST_CASE("what linkers and compilers pad with is decoded") {
  CHECK(Decoded({0xf3, 0x0f, 0x1e, 0xfa}).opcode == Opcode::kNop);                                              // endbr64
  CHECK(Decoded({0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0}).opcode == Opcode::kNop);
  CHECK(Decoded({0xf3, 0xc3}).opcode == Opcode::kRet);                                                          // rep ret
  CHECK(Decoded({0xf2, 0xff, 0x25, 0, 0, 0, 0}).opcode == Opcode::kJmp);                                        // bnd jmp [rip]
  CHECK(Decoded({0x3e, 0xff, 0xe0}).opcode == Opcode::kJmp);                                                    // notrack jmp rax
  CHECK(Decoded({0x66, 0x66, 0x48, 0xe8, 0, 0, 0, 0}).opcode == Opcode::kCall);                                 // call __tls_get_addr
  CHECK(Decoded({0x67, 0xe8, 0, 0, 0, 0}).opcode == Opcode::kCall);                                             // addr32 call: a relaxed call [GOT]
  CHECK(Decoded({0x66, 0x48, 0x8d, 0x3d, 0, 0, 0, 0}).opcode == Opcode::kLea);                                  // data16 lea rdi
}

TEST_CASE("encodings that mean something else here and on a processor are refused") {
  CHECK(Refused({}));
  CHECK(Refused({0x48}));                                // cut short
  CHECK(Refused({0x48, 0x8b}));
  CHECK(Refused({0x65, 0x48, 0x8b, 0x00}));              // gs
  CHECK(Refused({0x66, 0xe8, 0, 0, 0, 0}));              // 16-bit branch on one vendor, 64-bit on the other
  CHECK(Refused({0x66, 0xc3}));
  CHECK(Refused({0x66, 0x50}));                          // push ax
  CHECK(Refused({0xf0, 0x89, 0xc8}));                    // lock on a register
  CHECK(Refused({0xf0, 0x8b, 0x00}));                    // lock on a load
  CHECK(Refused({0xf2, 0xf3, 0xa4}));
  CHECK(Refused({0xf2, 0x89, 0x08}));                    // xacquire
  CHECK(Refused({0x48, 0x66, 0x89, 0xc8}));              // a REX that is not last
  CHECK(Refused({0x66, 0xf3, 0x0f, 0x6f, 0x00}));        // two mandatory prefixes
  CHECK(Refused({0x67, 0xf3, 0xaa}));                    // string operation on edi
  CHECK(Refused({0x64, 0xa4}));                          // movsb from fs
  CHECK(Refused({0x64, 0x2e, 0x8b, 0x00}));
}

TEST_CASE("floating point, x87, MMX and privileged instructions are refused") {
  CHECK(Refused({0xf2, 0x0f, 0x58, 0xc1}));        // addsd
  CHECK(Refused({0xf2, 0x0f, 0xc2, 0xc1, 0}));     // cmpsd: shares its name with a string operation
  CHECK(Refused({0xf3, 0x0f, 0x2a, 0xc0}));        // cvtsi2ss
  CHECK(Refused({0xd9, 0xe8}));                    // fld1
  CHECK(Refused({0x0f, 0x6f, 0x00}));              // movq mm0
  CHECK(Refused({0x0f, 0x05}));                    // syscall
  CHECK(Refused({0xcd, 0x80}));
  CHECK(Refused({0x0f, 0xa2}));                    // cpuid
  CHECK(Refused({0x9c}));                          // pushf
  CHECK(Refused({0x62, 0xf1, 0x7e, 0x49, 0x6f, 0x00}));  // masked vmovdqu32
  CHECK(Refused({0xc4, 0xe2, 0x7d, 0x92, 0x04, 0x08}));  // gather
}

TEST_CASE("any bytes give an instruction of sane length or a refusal") {
  const auto stream = MakeInstructionStream(Architecture::kX86_64);
  std::mt19937_64 random(7);
  std::size_t decoded = 0;
  for (int k = 0; k < 300'000; ++k) {
    std::array<std::byte, kMaxInstructionBytes> bytes;
    for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    const std::size_t size = random() % (bytes.size() + 1);
    Instruction i;
    if (!stream->Decode(std::span(bytes).first(size), random(), i)) continue;
    ++decoded;
    CHECK_MESSAGE((i.length >= 1 && i.length <= size && i.opcode != Opcode::kInvalid && i.operand_count <= 4), "length " << int{i.length} << " of " << size);
    CHECK((i.base <= kNoRegister && i.index <= kNoRegister && i.scale_shift <= 3));
    for (const Operand& o : i.operands) CHECK(((o.kind == OperandKind::kVector && o.reg < 32) || o.reg < 16));
  }
  CHECK(decoded > 50'000);
}

TEST_CASE("register use: what is read and what is wholly overwritten") {
  const auto use = [](std::initializer_list<int> bytes) { return UseOf(Decoded(bytes)); };
  CHECK(use({0x48, 0x89, 0xc8}).reads == 2);        // mov rax,rcx
  CHECK(use({0x48, 0x89, 0xc8}).writes == 1);
  CHECK(use({0x31, 0xc0}).reads == 0);              // xor eax,eax
  CHECK(use({0x31, 0xc0}).writes == 1);
  CHECK(use({0x30, 0xc0}).reads == 1);              // xor al,al keeps the rest
  CHECK(use({0x48, 0x01, 0xc8}).reads == 3);        // add rax,rcx
  CHECK(use({0x48, 0x8b, 0x04, 0xcb}).reads == 0xa);  // mov rax,[rbx+rcx*8]
  CHECK((use({0x48, 0xf7, 0xf1}).reads & 7) == 7);  // div rcx
}

}  // namespace pygc::disasm
