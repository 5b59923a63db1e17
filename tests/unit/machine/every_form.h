// Every form of instruction that the decoder accepts, found by asking it: all opcodes of all maps with all prefixes that change a form, register and memory
// operands. Not fs: what it adds to an address lies in this process's own thread block (the shapes and the fixtures have it). A form is an operation with the kinds and widths of its operands, not which registers or addresses they are.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/disasm/instruction_stream.h"

namespace pygc::machine::forms {

/// What two instructions of one form have in common.
inline std::string FormOf(const disasm::Instruction& i) {
  std::string form;
  const auto add = [&](auto value) { form.push_back(static_cast<char>(value)); };
  add(i.opcode), add(i.condition), add(i.lane), add(i.lane_to), add(i.operand_count);
  add(i.uses_fs), add(i.address_32), add(i.repeats), add(i.repeats_while_not_equal), add(i.is_locked), add(i.needs_alignment), add(i.clears_upper);
  for (const disasm::Operand& o : i.operands) add(o.kind), add(i.EndsBlock() && o.kind == disasm::OperandKind::kImmediate ? 0 : o.size);
  return form;
}

struct EncodedForm {
  std::vector<std::uint8_t> bytes;
  disasm::Instruction instruction;
  bool is_evex = false;
};

class EveryForm {
 public:
  EveryForm() {
    Legacy();
    Vex();
    Evex();
  }
  /// One encoding for each form, opcode byte and map; memory operands are [rbx + 0x40], of vectors also [rbx + 0x41].
  [[nodiscard]] const std::vector<EncodedForm>& encodings() const noexcept { return encodings_; }
  [[nodiscard]] const std::set<std::string>& forms() const noexcept { return forms_; }

 private:
  using Bytes = std::vector<std::uint8_t>;

  // What follows the opcode: each register field with a register, with memory, and what immediates there may be. Longer than any instruction.
  void Operands(const Bytes& start, const std::string& opcode, bool is_vector) {
    for (const std::uint8_t displacement : {0x40, 0x41}) {
      if (displacement == 0x41 && !is_vector) continue;
      for (unsigned reg = 0; reg < 8; ++reg) Try(start, opcode, {static_cast<std::uint8_t>(0x43 | reg << 3), displacement}, is_vector && displacement == 0x41);
    }
    for (unsigned reg = 0; reg < 8; ++reg) {
      Try(start, opcode, {static_cast<std::uint8_t>(0xc0 | reg << 3 | (reg + 1) % 8)}, false);  // another register
      Try(start, opcode, {static_cast<std::uint8_t>(0xc0 | reg << 3 | 3)}, false);
    }
  }

  void Try(const Bytes& start, const std::string& opcode, std::initializer_list<std::uint8_t> operands, bool is_misaligned) {
    for (const std::uint8_t immediate : {0x01, 0x93}) {
      Bytes bytes = start;
      bytes.insert(bytes.end(), operands);
      bytes.insert(bytes.end(), {immediate, 0x35, 0x12, 0x05, 0x02, 0x47, 0x21, 0x09});
      bytes.resize(std::min(bytes.size(), disasm::kMaxInstructionBytes));
      EncodedForm found;
      if (!stream_->Decode(std::as_bytes(std::span(bytes)), 0x400000, found.instruction) || ReadsElsewhere(found.instruction)) continue;
      const std::string form = FormOf(found.instruction);
      forms_.insert(form);
      const std::string key = form + opcode + (is_misaligned ? "m" : "") + (HasImmediate(found.instruction) ? std::string(1, static_cast<char>(immediate)) : "");
      if (!keys_.insert(key).second) continue;
      bytes.resize(found.instruction.length);
      found.bytes = std::move(bytes);
      found.is_evex = opcode[0] == 'E';
      encodings_.push_back(std::move(found));
    }
  }
  // What was taken for an opcode was one more prefix, or the address stands in the code, or a register says how far away the bit is: random registers must
  // not lead into this process's own memory. r9 holds a small number.
  static bool ReadsElsewhere(const disasm::Instruction& i) {
    constexpr std::uint8_t kRbx = 3, kR9 = 9;
    const bool is_bit = i.opcode >= disasm::Opcode::kBitTest && i.opcode <= disasm::Opcode::kBitComplement;
    if (i.operands[0].kind == disasm::OperandKind::kMemory && is_bit && i.operands[1].kind == disasm::OperandKind::kRegister && i.operands[1].reg != kR9) return true;
    for (const disasm::Operand& o : i.operands)
      if (o.kind == disasm::OperandKind::kMemory && (i.base != kRbx || i.index != disasm::kNoRegister || i.uses_fs)) return true;
    return false;
  }
  static bool HasImmediate(const disasm::Instruction& i) {
    for (const disasm::Operand& o : i.operands)
      if (o.kind == disasm::OperandKind::kImmediate) return true;
    return false;
  }

  void Legacy() {
    static constexpr std::array<std::array<std::uint8_t, 2>, 12> kPrefixes = {
        {{}, {0x66}, {0xf2}, {0xf3}, {0xf0}, {0x67}, {0x66, 0xf2}, {0x66, 0xf3}, {0xf2, 0x66}, {0xf3, 0x66}, {0x66, 0xf0}, {0x66, 0x67}}};
    static constexpr std::array<std::uint8_t, 5> kRex = {0, 0x40, 0x48, 0x44, 0x4c};
    const std::array<Bytes, 4> maps = {Bytes{}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}};
    for (const auto& prefixes : kPrefixes) {
      for (const std::uint8_t rex : kRex) {
        for (std::size_t map = 0; map < maps.size(); ++map) {
          for (unsigned opcode = 0; opcode < 256; ++opcode) {
            Bytes bytes;
            for (const std::uint8_t p : prefixes)
              if (p != 0) bytes.push_back(p);
            if (rex != 0) bytes.push_back(rex);
            bytes.insert(bytes.end(), maps[map].begin(), maps[map].end());
            bytes.push_back(static_cast<std::uint8_t>(opcode));
            Operands(bytes, {'L', static_cast<char>(map), static_cast<char>(opcode)}, map != 0);
          }
        }
      }
    }
  }
  void Vex() {
    for (unsigned map = 1; map <= 3; ++map)
      for (unsigned w = 0; w < 2; ++w)
        for (unsigned pp = 0; pp < 4; ++pp)
          for (unsigned l = 0; l < 2; ++l)
            for (const unsigned source : {0u, 9u})  // vvvv: none where it is not used
              for (unsigned opcode = 0; opcode < 256; ++opcode)
                Operands({0xc4, static_cast<std::uint8_t>(0xe0 | map), static_cast<std::uint8_t>(w << 7 | (~source & 15) << 3 | l << 2 | pp), static_cast<std::uint8_t>(opcode)},
                         {'V', static_cast<char>(map), static_cast<char>(w << 4 | pp), static_cast<char>(opcode)}, true);
  }
  void Evex() {
    for (unsigned map = 1; map <= 3; ++map)
      for (unsigned w = 0; w < 2; ++w)
        for (unsigned pp = 0; pp < 4; ++pp)
          for (unsigned length = 0; length < 3; ++length)
            for (const unsigned source : {0u, 9u})
              for (unsigned opcode = 0; opcode < 256; ++opcode)
                Operands({0x62, static_cast<std::uint8_t>(0xf0 | map), static_cast<std::uint8_t>(w << 7 | (~source & 15) << 3 | 4 | pp),
                          static_cast<std::uint8_t>(length << 5 | 8), static_cast<std::uint8_t>(opcode)},
                         {'E', static_cast<char>(map), static_cast<char>(w << 4 | pp), static_cast<char>(opcode)}, true);
  }

  std::unique_ptr<disasm::InstructionStream> stream_ = disasm::MakeInstructionStream(disasm::Architecture::kX86_64);
  std::set<std::string> forms_, keys_;
  std::vector<EncodedForm> encodings_;
};

}  // namespace pygc::machine::forms
