#include "plugin/worker/protocol.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "core/base/byte_reader.h"

namespace pygc::worker {
namespace {

static_assert(std::endian::native == std::endian::little, "both sides run on one little-endian machine");

constexpr std::string_view kMagic = "pygcwork";

class Writer {
 public:
  explicit Writer(MessageType type) { frame_.type = type; }

  template <typename T>
  Writer& Number(T value) {
    static_assert(std::is_integral_v<T>);
    return Raw(&value, sizeof value);
  }
  Writer& Raw(const void* bytes, std::size_t size) {
    const std::size_t old = frame_.payload.size();
    frame_.payload.resize(old + size);
    if (size > 0) std::memcpy(frame_.payload.data() + old, bytes, size);
    return *this;
  }
  Writer& Text(std::string_view s) { return Number(static_cast<std::uint32_t>(s.size())).Raw(s.data(), s.size()); }
  Frame Take() { return std::move(frame_); }

 private:
  Frame frame_;
};

// Reads fields in order; after the first one that is not there every later one is empty and ok() is false.
class Fields {
 public:
  explicit Fields(const Frame& frame) : reader_(frame.payload) {}

  template <typename T>
  T Number() {
    const auto v = ok_ ? reader_.Read<T>() : std::nullopt;
    if (!v) ok_ = false;
    return v.value_or(T{});
  }
  bool Flag() {
    const auto v = Number<std::uint8_t>();
    if (v > 1) ok_ = false;
    return v == 1;
  }
  std::span<const std::byte> Raw(std::size_t size) {
    const auto v = ok_ ? reader_.ReadBytes(size) : std::nullopt;
    if (!v) ok_ = false;
    return v.value_or(std::span<const std::byte>{});
  }
  std::string Text() {
    const auto bytes = Raw(Number<std::uint32_t>());
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  /// A count of elements that take `element_bytes` or more each: never larger than what the frame can hold.
  std::size_t Count(std::size_t bound, std::size_t element_bytes) {
    const std::size_t n = Number<std::uint32_t>();
    if (n > bound || n > reader_.remaining() / element_bytes) ok_ = false;
    return ok_ ? n : 0;
  }
  std::span<const std::byte> Rest() { return Raw(reader_.remaining()); }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool Finished() const { return ok_ && reader_.remaining() == 0; }

 private:
  ByteReader reader_;
  bool ok_ = true;
};

template <typename T>
Result<T> Finish(const Fields& in, T value, std::string_view name) {
  if (!in.Finished()) return Fail(ErrorCode::kCorrupt, "a {} message between pygc and its worker does not decode", name);
  return value;
}

bool IsType(const Frame& frame, MessageType type) { return frame.type == type; }

Error WrongType(std::string_view name, const Frame& frame) {
  return Error{ErrorCode::kCorrupt, fmt::format("expected a {} message between pygc and its worker, got type {}", name, static_cast<std::uint32_t>(frame.type)),
               std::nullopt};
}

}  // namespace

std::string_view BuildVersion() { return PYGC_VERSION; }

Frame Encode(const Hello& m) { return Writer(MessageType::kHello).Raw(kMagic.data(), kMagic.size()).Number(m.protocol).Text(m.version).Take(); }

Result<Hello> DecodeHello(const Frame& frame) {
  if (!IsType(frame, MessageType::kHello)) return tl::unexpected(WrongType("greeting", frame));
  Fields in(frame);
  const auto magic = in.Raw(kMagic.size());
  Hello m;
  m.protocol = in.Number<std::uint32_t>();
  m.version = in.Text();
  // Later protocols may append to the greeting; only what stands here is looked at.
  if (!in.ok() || std::memcmp(magic.data(), kMagic.data(), kMagic.size()) != 0 || m.version.size() > 64)
    return Fail(ErrorCode::kCorrupt, "the other side of the socket is not a pygc worker");
  return m;
}

Frame Encode(const CommandRequest& m) {
  Writer out(MessageType::kRequest);
  out.Number(static_cast<std::uint32_t>(m.words.size()));
  for (const std::string& w : m.words) out.Text(w);
  out.Number(static_cast<std::uint8_t>(m.standalone)).Text(m.host).Text(m.working_directory).Number(m.columns).Number(m.rows);
  out.Number(static_cast<std::uint8_t>(m.colour_terminal));
  const TargetDescription& t = m.target;
  out.Number(static_cast<std::uint8_t>(t.route)).Text(t.path).Number(t.pid).Number(static_cast<std::uint8_t>(t.can_serve)).Number(t.generation).Text(t.why_none).Text(t.executable);
  out.Number(static_cast<std::uint32_t>(t.module_files.size()));
  for (const auto& [name, file] : t.module_files) out.Text(name).Text(file);
  return out.Take();
}

Result<CommandRequest> DecodeRequest(const Frame& frame) {
  if (!IsType(frame, MessageType::kRequest)) return tl::unexpected(WrongType("request", frame));
  Fields in(frame);
  CommandRequest m;
  m.words.resize(in.Count(kMaxWords, 4));
  for (std::string& w : m.words) w = in.Text();
  m.standalone = in.Flag();
  m.host = in.Text();
  m.working_directory = in.Text();
  m.columns = in.Number<std::uint32_t>();
  m.rows = in.Number<std::uint32_t>();
  m.colour_terminal = in.Flag();
  TargetDescription& t = m.target;
  const auto route = in.Number<std::uint8_t>();
  if (route > static_cast<std::uint8_t>(TargetRoute::kCopy)) return Fail(ErrorCode::kCorrupt, "a request message between pygc and its worker names target route {}", route);
  t.route = static_cast<TargetRoute>(route);
  t.path = in.Text();
  t.pid = in.Number<std::int32_t>();
  t.can_serve = in.Flag();
  t.generation = in.Number<std::uint64_t>();
  t.why_none = in.Text();
  t.executable = in.Text();
  t.module_files.resize(in.Count(kMaxModuleFiles, 8));
  for (auto& [name, file] : t.module_files) {
    name = in.Text();
    file = in.Text();
  }
  return Finish(in, std::move(m), "request");
}

Frame Encode(const Progress& m) { return Writer(MessageType::kProgress).Text(m.stage).Number(m.done).Number(m.total).Take(); }

Result<Progress> DecodeProgress(const Frame& frame) {
  if (!IsType(frame, MessageType::kProgress)) return tl::unexpected(WrongType("progress", frame));
  Fields in(frame);
  Progress m;
  m.stage = in.Text();
  m.done = in.Number<std::uint64_t>();
  m.total = in.Number<std::uint64_t>();
  return Finish(in, std::move(m), "progress");
}

Frame Encode(const ServedDescription& m) {
  Writer out(MessageType::kRegions);
  out.Number(static_cast<std::uint8_t>(m.last)).Number(static_cast<std::uint8_t>(m.is_core)).Text(m.path).Number(m.pid).Text(m.error);
  out.Number(static_cast<std::uint32_t>(m.regions.size()));
  for (const ServedRegion& r : m.regions) {
    const unsigned flags = (r.readable ? 1u : 0u) | (r.writable ? 2u : 0u) | (r.executable ? 4u : 0u);
    out.Number(r.range.begin).Number(r.range.end).Number(static_cast<std::uint8_t>(flags)).Text(r.file).Number(r.file_offset);
  }
  out.Number(static_cast<std::uint32_t>(m.threads.size()));
  for (const ServedThread& t : m.threads) {
    out.Number(t.tid).Number(t.signal).Number(static_cast<std::uint8_t>(t.has_registers));
    for (const std::uint64_t r : t.registers) out.Number(r);
  }
  return out.Take();
}

Result<ServedDescription> DecodeDescription(const Frame& frame) {
  if (!IsType(frame, MessageType::kRegions)) return tl::unexpected(WrongType("description", frame));
  constexpr std::size_t kRegionBytes = 8 + 8 + 1 + 4 + 8, kThreadBytes = 4 + 4 + 1 + 27 * 8;
  Fields in(frame);
  ServedDescription m;
  m.last = in.Flag();
  m.is_core = in.Flag();
  m.path = in.Text();
  m.pid = in.Number<std::int32_t>();
  m.error = in.Text();
  m.regions.resize(in.Count(kMaxRegions, kRegionBytes));
  for (ServedRegion& r : m.regions) {
    r.range.begin = in.Number<std::uint64_t>();
    r.range.end = in.Number<std::uint64_t>();
    const auto flags = in.Number<std::uint8_t>();
    r.readable = (flags & 1) != 0;
    r.writable = (flags & 2) != 0;
    r.executable = (flags & 4) != 0;
    r.file = in.Text();
    r.file_offset = in.Number<std::uint64_t>();
  }
  m.threads.resize(in.Count(kMaxThreads, kThreadBytes));
  for (ServedThread& t : m.threads) {
    t.tid = in.Number<std::int32_t>();
    t.signal = in.Number<std::int32_t>();
    t.has_registers = in.Flag();
    for (std::uint64_t& r : t.registers) r = in.Number<std::uint64_t>();
  }
  return Finish(in, std::move(m), "description");
}

std::vector<Frame> EncodeInParts(const ServedDescription& whole) {
  constexpr std::size_t kPartBytes = kMaxFrameBytes / 2;  // the last region added may be longer than the others
  std::vector<Frame> frames;
  ServedDescription part = whole;
  part.regions.clear();
  part.threads.clear();
  std::size_t bytes = 0;
  const auto flush = [&](bool last) {
    part.last = last;
    frames.push_back(Encode(part));
    part.regions.clear();
    part.threads.clear();
    bytes = 0;
  };
  for (const ServedRegion& r : whole.regions) {
    if (bytes > kPartBytes) flush(false);
    part.regions.push_back(r);
    part.regions.back().file.resize(std::min<std::size_t>(r.file.size(), 4096));  // PATH_MAX
    bytes += 64 + r.file.size();
  }
  for (const ServedThread& t : whole.threads) {
    if (bytes > kPartBytes) flush(false);
    part.threads.push_back(t);
    bytes += 256;
  }
  flush(true);
  return frames;
}

Frame Encode(const ReadRequest& m) { return Writer(MessageType::kRead).Number(m.id).Number(m.address).Number(m.size).Take(); }

Result<ReadRequest> DecodeRead(const Frame& frame) {
  if (!IsType(frame, MessageType::kRead)) return tl::unexpected(WrongType("read", frame));
  Fields in(frame);
  ReadRequest m;
  m.id = in.Number<std::uint64_t>();
  m.address = in.Number<std::uint64_t>();
  m.size = in.Number<std::uint32_t>();
  if (m.size > kMaxReadBytes) return Fail(ErrorCode::kCorrupt, "the worker asked for {} bytes at once, more than {}", m.size, kMaxReadBytes);
  return Finish(in, m, "read");
}

Frame Encode(const MemoryReply& m) { return Writer(MessageType::kMemory).Number(m.id).Raw(m.bytes.data(), m.bytes.size()).Take(); }

Result<MemoryReply> DecodeMemory(const Frame& frame) {
  if (!IsType(frame, MessageType::kMemory)) return tl::unexpected(WrongType("memory", frame));
  Fields in(frame);
  MemoryReply m;
  m.id = in.Number<std::uint64_t>();
  const auto bytes = in.Rest();
  m.bytes.assign(bytes.begin(), bytes.end());
  return Finish(in, std::move(m), "memory");
}

Frame EncodeDone(std::int32_t exit_status) { return Writer(MessageType::kDone).Number(exit_status).Take(); }

Result<std::int32_t> DecodeDone(const Frame& frame) {
  if (!IsType(frame, MessageType::kDone)) return tl::unexpected(WrongType("done", frame));
  Fields in(frame);
  const auto status = in.Number<std::int32_t>();
  return Finish(in, status, "done");
}

Frame EncodeCopied(std::uint64_t microseconds) { return Writer(MessageType::kCopied).Number(microseconds).Take(); }

Result<std::uint64_t> DecodeCopied(const Frame& frame) {
  if (!IsType(frame, MessageType::kCopied)) return tl::unexpected(WrongType("copied", frame));
  Fields in(frame);
  const auto microseconds = in.Number<std::uint64_t>();
  return Finish(in, microseconds, "copied");
}

Frame EncodeBytes(MessageType type, std::string_view bytes) { return Writer(type).Raw(bytes.data(), bytes.size()).Take(); }
Frame EncodeEmpty(MessageType type) { return Frame{type, {}}; }

std::string_view TextOf(const Frame& frame) { return {reinterpret_cast<const char*>(frame.payload.data()), frame.payload.size()}; }

}  // namespace pygc::worker
