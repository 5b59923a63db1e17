#include "tests/support/fake_process.h"

#include <fmt/format.h>

#include <cstring>
#include <sstream>
#include <stdexcept>

namespace pygc::test {
namespace {

class Bytes final : public target::Backing {
 public:
  explicit Bytes(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  [[nodiscard]] const std::byte* data() const { return bytes_.data(); }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace

FakeProcess& FakeProcess::Map(Address begin, std::uint64_t size, std::string_view access, std::uint32_t module, target::SegmentSource source) {
  const auto next = ranges_.lower_bound(begin);
  if (next != ranges_.end() && next->first < begin + size) throw std::logic_error(fmt::format("Map({:#x}) overlaps {:#x}", begin, next->first));
  if (next != ranges_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second.bytes.size() > begin) throw std::logic_error(fmt::format("Map({:#x}) overlaps {:#x}", begin, before->first));
  }
  const auto has = [&](char c) { return access.find(c) != std::string_view::npos; };
  ranges_.emplace(begin, Range{std::vector<std::byte>(size), has('r'), has('w'), has('x'), module, source});
  return *this;
}

FakeProcess& FakeProcess::Map(Address begin, const std::vector<std::uint8_t>& bytes, std::string_view access, std::uint32_t module) {
  Map(begin, bytes.size(), access, module);
  return WriteBytes(begin, std::as_bytes(std::span(bytes)));
}

std::byte* FakeProcess::Locate(Address a, std::uint64_t size) {
  auto after = ranges_.upper_bound(a);
  if (after != ranges_.begin()) {
    auto& [begin, range] = *std::prev(after);
    if (AddressRange{begin, begin + range.bytes.size()}.Contains(a, size)) return range.bytes.data() + (a - begin);
  }
  throw std::logic_error(fmt::format("test accesses {} bytes at {:#x}, which it did not map", size, a));
}

FakeProcess& FakeProcess::WriteBytes(Address a, std::span<const std::byte> bytes) {
  if (!bytes.empty()) std::memcpy(Locate(a, bytes.size()), bytes.data(), bytes.size());
  return *this;
}

void FakeProcess::ReadBytes(Address a, std::span<std::byte> out) const {
  std::memcpy(out.data(), const_cast<FakeProcess*>(this)->Locate(a, out.size()), out.size());
}

FakeProcess& FakeProcess::WriteWords(Address a, std::initializer_list<std::uint64_t> words) { return WriteWords(a, std::vector<std::uint64_t>(words)); }

FakeProcess& FakeProcess::WriteWords(Address a, const std::vector<std::uint64_t>& words) { return WriteBytes(a, std::as_bytes(std::span(words))); }

FakeProcess& FakeProcess::WriteString(Address a, std::string_view text) {
  WriteBytes(a, std::as_bytes(std::span(text.data(), text.size())));
  return Write<char>(a + text.size(), '\0');
}

FakeProcess& FakeProcess::Text(std::string_view lines) {
  std::istringstream in{std::string(lines)};
  std::string line;
  while (std::getline(in, line)) {
    if (const std::size_t quote = line.find('"'); quote != std::string::npos) {
      const std::size_t end = line.rfind('"');
      WriteString(std::stoull(line, nullptr, 16), std::string_view(line).substr(quote + 1, end - quote - 1));
      continue;
    }
    line = line.substr(0, line.find('#'));
    std::istringstream words(line);
    std::string word;
    if (!(words >> word)) continue;
    if (word == "map") {
      std::string begin, size, access;
      words >> begin >> size >> access;
      Map(std::stoull(begin, nullptr, 16), std::stoull(size, nullptr, 16), access.empty() ? "rw-" : access);
      continue;
    }
    Address at = std::stoull(word, nullptr, 16);
    unsigned width = 1;
    while (words >> word) {
      if (word == "q" || word == "d") {
        width = word == "q" ? 8 : 4;
        continue;
      }
      const std::uint64_t value = std::stoull(word, nullptr, 16);
      WriteBytes(at, std::as_bytes(std::span(&value, 1)).first(width));
      at += width;
    }
  }
  return *this;
}

std::uint32_t FakeProcess::AddModule(std::string path, std::vector<AddressRange> ranges, std::int64_t load_bias, std::shared_ptr<const elf::ElfFile> file) {
  target::Module m;
  m.path = std::move(path);
  m.ranges = std::move(ranges);
  m.load_bias = load_bias;
  m.is_elf = true;
  if (file != nullptr) {
    m.file_path = m.path;
    m.build_id = m.file_build_id = file->build_id();
    m.match = target::ModuleMatch::kVerified;
    m.file = std::move(file);
  }
  base.modules.push_back(std::move(m));
  return static_cast<std::uint32_t>(base.modules.size() - 1);
}

FakeProcess& FakeProcess::AddThread(std::int32_t tid, Address stack_pointer, Address instruction_pointer, Address fs_base) {
  target::Thread t;
  t.tid = tid;
  t.registers[19] = stack_pointer;
  t.registers[16] = instruction_pointer;
  t.registers[21] = fs_base;
  t.has_registers = true;
  base.threads.push_back(t);
  return *this;
}

FakeProcess& FakeProcess::AddMissing(AddressRange range, target::MissingReason reason) {
  const bool was_used = reason == target::MissingReason::kTruncated || reason == target::MissingReason::kNotCopied;
  base.missing_ranges.push_back({range, reason, 0xFFFFFFFFu, was_used ? target::MissingUse::kUsed : target::MissingUse::kUnknown});
  base.missing.push_back({fmt::format("{} bytes of memory", range.size()), "left out by the test", ""});
  return *this;
}

target::Process FakeProcess::Build() const {
  target::Process process = base;
  std::vector<target::Segment> segments;
  std::vector<std::shared_ptr<target::Backing>> backings;
  for (const auto& [begin, range] : ranges_) {
    auto copy = std::make_shared<Bytes>(range.bytes);
    target::Segment s;
    s.range = {begin, begin + range.bytes.size()};
    s.bytes = copy->data();
    s.readable = range.readable;
    s.writable = range.writable;
    s.executable = range.executable;
    s.source = range.source;
    s.module = range.module;
    segments.push_back(s);
    backings.push_back(std::move(copy));
  }
  process.memory = target::MemoryImage(std::move(segments), std::move(backings));
  return process;
}

}  // namespace pygc::test
