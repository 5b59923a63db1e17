#include "core/engine/saved_index.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <type_traits>

#include "core/base/mapped_file.h"
#include "core/report/output_file.h"

namespace pygc::engine {

using heap::NodeId;

namespace {

static_assert(std::endian::native == std::endian::little, "columns are kept as the machine has them");

constexpr std::string_view kMagic = "pygcidx\n";
constexpr std::uint32_t kFormat = 10;
constexpr std::uint64_t kAlignment = 64;
constexpr std::uint64_t kMostHeadBytes = 1u << 20;
constexpr std::uint64_t kMostStringBytes = 1u << 20;
constexpr std::uint64_t kSampleBytes = 4096, kSamples = 64;
constexpr std::uint64_t kMostObjects = 0xFFFFFFF0u;

// Sections of a snapshot; the second snapshot's have kEverything added.
enum SectionId : std::uint32_t { kSmall = 1, kRefcounts, kTypes, kFlags, kInterpreters, kSizes, kStates, kPages, kOffsets, kEdges, kLargeSizes, kOwnsBeside };
constexpr std::uint32_t kEverything = 100;

struct FixedHead {
  char magic[8];
  std::uint32_t format, head_bytes;
  std::uint64_t file_bytes, head_checksum;
};
static_assert(sizeof(FixedHead) == 32 && std::is_trivially_copyable_v<FixedHead>);

// Tells damage. Four lanes, so that it goes at the speed of memory; not against intent.
class Checksum {
 public:
  void Add(std::span<const std::byte> bytes) {
    bytes_ += bytes.size();
    while (bytes.size() >= sizeof lanes_ && filled_ == 0) {
      std::uint64_t words[4];
      std::memcpy(words, bytes.data(), sizeof words);
      for (std::size_t i = 0; i < 4; ++i) lanes_[i] = std::rotl(lanes_[i] ^ (words[i] * kFirst), 29) * kSecond;
      bytes = bytes.subspan(sizeof words);
    }
    while (!bytes.empty()) {
      const std::size_t n = std::min(bytes.size(), sizeof rest_ - filled_);
      std::memcpy(rest_ + filled_, bytes.data(), n);
      filled_ += n;
      bytes = bytes.subspan(n);
      if (filled_ < sizeof rest_) break;
      filled_ = 0;
      Add4();
      if (bytes.size() >= sizeof lanes_) {
        bytes_ -= bytes.size();
        Add(bytes);
        return;
      }
    }
  }
  [[nodiscard]] std::uint64_t Value() {
    if (filled_ > 0) {
      std::memset(rest_ + filled_, 0, sizeof rest_ - filled_);
      Add4();
      filled_ = 0;
    }
    std::uint64_t h = bytes_;
    for (const std::uint64_t lane : lanes_) h = std::rotl(h ^ lane, 31) * kFirst;
    return h ^ (h >> 32);
  }

 private:
  static constexpr std::uint64_t kFirst = 0x9E3779B97F4A7C15u, kSecond = 0xC2B2AE3D27D4EB4Fu;
  void Add4() {
    std::uint64_t words[4];
    std::memcpy(words, rest_, sizeof words);
    for (std::size_t i = 0; i < 4; ++i) lanes_[i] = std::rotl(lanes_[i] ^ (words[i] * kFirst), 29) * kSecond;
  }
  std::uint64_t lanes_[4] = {1, 2, 3, 4};
  std::uint64_t bytes_ = 0;
  std::byte rest_[32] = {};
  std::size_t filled_ = 0;
};

std::uint64_t ChecksumOf(std::span<const std::byte> bytes) {
  Checksum sum;
  sum.Add(bytes);
  return sum.Value();
}

// ---- small values, one after the other

class Packer {
 public:
  template <typename T>
    requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  Packer& Put(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Packer& Put(const std::string& text) {
    Put(static_cast<std::uint64_t>(text.size()));
    out_ += text;
    return *this;
  }
  template <typename T>
  Packer& PutAll(const std::vector<T>& values) {
    Put(static_cast<std::uint64_t>(values.size()));
    for (const T& v : values) Put(v);
    return *this;
  }
  [[nodiscard]] const std::string& text() const noexcept { return out_; }

 private:
  std::string out_;
};

// The other way. What is not there reads as 0 and makes the whole bad; no count is believed that the bytes left could not hold.
class Unpacker {
 public:
  explicit Unpacker(std::string_view bytes) : left_(bytes) {}

  template <typename T>
    requires std::is_arithmetic_v<T>
  T Get() {
    T value{};
    if (left_.size() < sizeof value) {
      good_ = false;
      return value;
    }
    std::memcpy(&value, left_.data(), sizeof value);
    left_.remove_prefix(sizeof value);
    return value;
  }
  bool Flag() { return Get<std::uint8_t>() != 0; }
  std::string Text() {
    const auto size = Get<std::uint64_t>();
    if (size > kMostStringBytes || size > left_.size()) {
      good_ = false;
      return {};
    }
    std::string text(left_.substr(0, size));
    left_.remove_prefix(size);
    return text;
  }
  /// A count of things of which each takes at least `least_bytes`.
  std::uint64_t Count(std::uint64_t least_bytes) {
    const auto count = Get<std::uint64_t>();
    if (count > left_.size() / least_bytes) good_ = false;
    return good_ ? count : 0;
  }
  std::vector<std::string> Texts() {
    std::vector<std::string> texts(Count(8));
    for (std::string& t : texts) t = Text();
    return texts;
  }
  void Expect(bool condition) { good_ = good_ && condition; }
  [[nodiscard]] bool good() const noexcept { return good_; }
  [[nodiscard]] bool at_end() const noexcept { return good_ && left_.empty(); }

 private:
  std::string_view left_;
  bool good_ = true;
};

// Room for `count` values. Large columns are filled at once and whole: large pages halve what the system takes for that.
template <typename T>
void MakeRoom(std::vector<T>& column, std::uint64_t count) {
  constexpr std::uintptr_t kLargePage = 2u << 20;
  column.reserve(count);
  const auto begin = (reinterpret_cast<std::uintptr_t>(column.data()) + kLargePage - 1) / kLargePage * kLargePage;
  const auto end = (reinterpret_cast<std::uintptr_t>(column.data()) + count * sizeof(T)) / kLargePage * kLargePage;
  if (begin < end) (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  column.resize(count);
}

// ---- which core

// What tells a core from another one, from cheap to dear.
struct CoreIdentity {
  std::uint64_t size = 0;                              // bytes
  std::uint64_t samples = 0;                           // checksum of kSamples blocks
  std::int64_t modified_ns = 0, changed_ns = 0;        // st_mtim, st_ctim: where both are as they were, nobody wrote to the file
  std::uint64_t whole = 0;                             // checksum of all blocks that are not zero, with their places
};

// An open core file.
class CoreOnDisk {
 public:
  explicit CoreOnDisk(const std::string& path) : path_(path), file_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)) {}

  /// All but CoreIdentity::whole. Reads kSamples blocks.
  Result<CoreIdentity> Look() {
    struct stat s {};
    if (!file_.valid() || fstat(file_.get(), &s) != 0) return Fail(ErrorCode::kNotAnalysable, "{}: {}", path_, std::strerror(errno));
    if (!S_ISREG(s.st_mode)) return Fail(ErrorCode::kNotAnalysable, "{} is no file", path_);
    const auto nanoseconds = [](const timespec& t) { return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec; };
    CoreIdentity id;
    id.size = static_cast<std::uint64_t>(s.st_size);
    id.modified_ns = nanoseconds(s.st_mtim);
    id.changed_ns = nanoseconds(s.st_ctim);
    Checksum sum;
    std::array<std::byte, kSampleBytes> block{};
    for (std::uint64_t i = 0; i < kSamples; ++i) {
      const std::uint64_t at = id.size <= kSampleBytes ? 0 : (id.size - kSampleBytes) / (kSamples - 1) * i;
      const ssize_t n = pread(file_.get(), block.data(), block.size(), static_cast<off_t>(at));
      if (n < 0) return Fail(ErrorCode::kNotAnalysable, "{}: {}", path_, std::strerror(errno));
      sum.Add(std::span(block).first(static_cast<std::size_t>(n)));
    }
    id.samples = sum.Value();
    return id;
  }

  /// CoreIdentity::whole: reads the file from its start to its end, but no holes. Errors: kNotAnalysable, kCancelled.
  Result<std::uint64_t> SumOfAll(ProgressSink& progress) {
    std::vector<std::byte> chunk(kChunkBytes);
    struct stat s {};
    if (fstat(file_.get(), &s) != 0) return Fail(ErrorCode::kNotAnalysable, "{}: {}", path_, std::strerror(errno));
    const auto size = static_cast<std::uint64_t>(s.st_size);
    Checksum sum;
    for (std::uint64_t at = 0; at < size;) {
      const off_t data = lseek(file_.get(), static_cast<off_t>(at), SEEK_DATA);
      if (data < 0 && errno == ENXIO) break;  // a hole to the end
      if (data > 0) at = static_cast<std::uint64_t>(data) / kSampleBytes * kSampleBytes;
      if (!progress.Update("reading the core for its checksum", at, size)) return Fail(ErrorCode::kCancelled, "interrupted while the core was read for its checksum");
      std::size_t filled = 0;
      while (filled < chunk.size()) {
        const ssize_t n = pread(file_.get(), chunk.data() + filled, chunk.size() - filled, static_cast<off_t>(at + filled));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return Fail(ErrorCode::kNotAnalysable, "{}: {}", path_, std::strerror(errno));
        if (n == 0) break;
        filled += static_cast<std::size_t>(n);
      }
      if (filled == 0) break;
      AddBlocks(std::span(chunk).first(filled), at, sum);
      at += filled;
    }
    return sum.Value();
  }

 private:
  static constexpr std::size_t kChunkBytes = std::size_t{4} << 20;
  // Zeros are left out, because a copy has them where the original has a hole.
  static void AddBlocks(std::span<const std::byte> bytes, std::uint64_t at, Checksum& sum) {
    static constexpr std::array<std::byte, kSampleBytes> kZeros{};
    for (std::size_t i = 0; i < bytes.size(); i += kSampleBytes) {
      const std::span<const std::byte> block = bytes.subspan(i, std::min<std::size_t>(kSampleBytes, bytes.size() - i));
      if (std::memcmp(block.data(), kZeros.data(), block.size()) == 0) continue;
      std::array<std::uint64_t, 4> place{at + i, 0, 0, 0};  // as long as Checksum takes at once
      sum.Add(std::as_bytes(std::span(place)));
      sum.Add(block);
    }
  }

  const std::string path_;
  Descriptor file_;
};

Result<CoreIdentity> IdentityOf(const std::string& path, ProgressSink& progress) {
  CoreOnDisk core(path);
  Result<CoreIdentity> id = core.Look();
  if (!id) return id;
  const Result<std::uint64_t> whole = core.SumOfAll(progress);
  if (!whole) return tl::unexpected(whole.error());
  id->whole = *whole;
  return id;
}

// Whether the core at `path` is the one that `known` was taken of. A core that was written to behind the index has another time; so has one that was copied or
// moved, which is read whole then.
Result<bool> IsCoreOf(const CoreIdentity& known, const std::string& path, ProgressSink& progress) {
  CoreOnDisk core(path);
  const Result<CoreIdentity> there = core.Look();
  if (!there) return tl::unexpected(there.error());
  if (there->size != known.size || there->samples != known.samples) return false;
  if (there->modified_ns == known.modified_ns && there->changed_ns == known.changed_ns) return true;
  const Result<std::uint64_t> whole = core.SumOfAll(progress);
  if (!whole) return tl::unexpected(whole.error());
  return *whole == known.whole;
}

std::string Absolute(const std::string& path) {
  char* const raw = realpath(path.c_str(), nullptr);
  if (raw == nullptr) return path;
  std::string text(raw);
  std::free(raw);  // NOLINT(cppcoreguidelines-no-malloc): realpath's
  return text;
}

std::string FolderOf(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}
std::string NameOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

void PutOptions(const IndexOptions& o, Packer& out) {
  out.Put(o.open.executable).Put(o.open.sysroot).PutAll(o.open.debug_directories).Put(static_cast<std::uint64_t>(o.open.module_files.size()));
  for (const auto& [name, file] : o.open.module_files) out.Put(name).Put(file);
  out.Put(o.open.trust_file).Put(o.layout_file).Put(o.trust_anonymous_code);
}

IndexOptions GetOptions(Unpacker& in) {
  IndexOptions o;
  o.open.executable = in.Text();
  o.open.sysroot = in.Text();
  o.open.debug_directories = in.Texts();
  o.open.module_files.resize(in.Count(16));
  for (auto& [name, file] : o.open.module_files) {
    name = in.Text();
    file = in.Text();
  }
  o.open.trust_file = in.Flag();
  o.layout_file = in.Text();
  o.trust_anonymous_code = in.Flag();
  return o;
}

}  // namespace

// ---- writing

class IndexWriter {
 public:
  explicit IndexWriter(ProgressSink& progress) : progress_(progress) {}

  void AddSnapshot(const IndexedSnapshotView& s, std::uint32_t base) {
    const heap::HeapSnapshot& h = s.heap;
    Keep(base + kSmall, Small(s));
    Column(base + kRefcounts, h.refcount);
    Column(base + kTypes, h.type);
    Column(base + kFlags, h.flags);
    Column(base + kInterpreters, h.interpreter);
    parts_.push_back(Part{base + kSizes, {std::as_bytes(h.size_bytes.words())}, {}});
    Packer large;
    for (const auto& [node, bytes] : h.size_bytes.large()) large.Put(node).Put(bytes);
    Keep(base + kLargeSizes, std::string(large.text()));
    Column(base + kStates, s.verdict.state);
    Column(base + kOwnsBeside, h.owns_beside);
    std::string pages;
    h.index.ForEachPage([&](std::uint64_t page, std::span<const std::uint64_t> words) {
      pages.append(reinterpret_cast<const char*>(&page), sizeof page);
      pages.append(reinterpret_cast<const char*>(words.data()), words.size_bytes());
    });
    Keep(base + kPages, std::move(pages));
    Part& offsets = parts_.emplace_back(Part{base + kOffsets, {}, {}});
    for (const graph::CsrGraph::Block& b : h.graph.blocks()) offsets.pieces.push_back(std::as_bytes(std::span(b.offsets)));
    Part& edges = parts_.emplace_back(Part{base + kEdges, {}, {}});
    for (const graph::CsrGraph::Block& b : h.graph.blocks()) edges.pieces.push_back(std::as_bytes(std::span(b.edges)));
  }

  Result<void> Write(const std::string& path, const std::string& core_path, const CoreIdentity& core, const IndexOptions& options) {
    Packer head;
    head.Put(std::string(PYGC_VERSION)).Put(Absolute(core_path));
    head.Put(core.size).Put(core.samples).Put(core.modified_ns).Put(core.changed_ns).Put(core.whole);
    PutOptions(options, head);
    head.Put(static_cast<std::uint64_t>(parts_.size()));
    const std::uint64_t head_bytes = head.text().size() + parts_.size() * (sizeof(std::uint32_t) + 3 * sizeof(std::uint64_t));
    std::uint64_t at = Aligned(sizeof(FixedHead) + head_bytes);
    for (const Part& part : parts_) {
      Checksum sum;
      for (const std::span<const std::byte> piece : part.pieces) sum.Add(piece);
      if (!progress_.Update("writing the index", part.id, 0)) return Fail(ErrorCode::kCancelled, "interrupted while the index was written");
      head.Put(part.id).Put(at).Put(part.Bytes()).Put(sum.Value());
      at = Aligned(at + part.Bytes());
    }
    if (head.text().size() > kMostHeadBytes) return Fail(ErrorCode::kUsage, "the options of this target take {} bytes, too many for an index", head.text().size());
    FixedHead fixed{};
    std::memcpy(fixed.magic, kMagic.data(), sizeof fixed.magic);
    fixed.format = kFormat;
    fixed.head_bytes = static_cast<std::uint32_t>(head.text().size());
    fixed.file_bytes = at;
    fixed.head_checksum = ChecksumOf(std::as_bytes(std::span(head.text())));

    Result<report::OutputFile> file = report::OutputFile::Create(path, false);
    if (!file) return tl::unexpected(file.error());
    std::uint64_t written = 0;
    const auto put = [&](std::string_view bytes) {
      written += bytes.size();
      return file->Write(bytes);
    };
    const auto pad = [&] { return put(std::string(Aligned(written) - written, '\0')); };
    if (Result<void> r = put({reinterpret_cast<const char*>(&fixed), sizeof fixed}); !r) return r;
    if (Result<void> r = put(head.text()); !r) return r;
    if (Result<void> r = pad(); !r) return r;
    for (const Part& part : parts_) {
      for (const std::span<const std::byte> piece : part.pieces) {
        if (!progress_.Update("writing the index", written, fixed.file_bytes)) return Fail(ErrorCode::kCancelled, "interrupted while the index was written");
        if (Result<void> r = put({reinterpret_cast<const char*>(piece.data()), piece.size()}); !r) return r;
      }
      if (Result<void> r = pad(); !r) return r;
    }
    return file->Commit();
  }

 private:
  struct Part {
    std::uint32_t id;
    std::vector<std::span<const std::byte>> pieces;
    std::unique_ptr<std::string> own;  // what the only piece lies in
    [[nodiscard]] std::uint64_t Bytes() const {
      std::uint64_t bytes = 0;
      for (const std::span<const std::byte> piece : pieces) bytes += piece.size();
      return bytes;
    }
  };
  static std::uint64_t Aligned(std::uint64_t at) { return (at + kAlignment - 1) / kAlignment * kAlignment; }

  void Keep(std::uint32_t id, std::string text) {
    Part& part = parts_.emplace_back(Part{id, {}, std::make_unique<std::string>(std::move(text))});
    part.pieces.push_back(std::as_bytes(std::span(*part.own)));
  }
  template <typename T>
  void Column(std::uint32_t id, const std::vector<T>& column) {
    parts_.push_back(Part{id, {std::as_bytes(std::span(column))}, {}});
  }

  static void PutNodes(Packer& out, const graph::NodeSet& set) { out.PutAll(set.Nodes()); }
  static void PutNodes(Packer& out, const std::vector<bool>& marks) {
    std::vector<NodeId> nodes;
    for (std::size_t n = 0; n < marks.size(); ++n) {
      if (marks[n]) nodes.push_back(static_cast<NodeId>(n));
    }
    out.Put(static_cast<std::uint8_t>(!marks.empty())).PutAll(nodes);
  }

  static std::string Small(const IndexedSnapshotView& s) {
    const heap::HeapSnapshot& h = s.heap;
    Packer out;
    out.Put(h.with_leaves).Put(h.deficit_stays_zero);
    out.Put(static_cast<std::uint64_t>(h.index.ranges().size()));
    for (const heap::ObjectIndex::Range& r : h.index.ranges()) out.Put(r.range.begin).Put(r.range.end).Put(r.shift);
    out.Put(static_cast<std::uint64_t>(h.graph.blocks().size()));
    for (const graph::CsrGraph::Block& b : h.graph.blocks()) out.Put(static_cast<std::uint64_t>(b.offsets.size())).Put(static_cast<std::uint64_t>(b.edges.size()));
    out.Put(static_cast<std::uint64_t>(h.types.size()));
    for (const heap::TypeRecord& t : h.types) {
      out.Put(t.address).Put(t.name).Put(t.module_file).Put(t.finalizer).Put(t.legacy_finalizer).Put(t.may_have_legacy_finalizer).Put(t.approximate_code).Put(t.approximate_reason);
    }
    out.Put(static_cast<std::uint64_t>(h.interpreters.size()));
    for (const heap::InterpreterRecord& i : h.interpreters) {
      out.Put(i.id).Put(i.address).Put(i.garbage_list).PutAll(i.garbage).PutAll(i.garbage_addresses);
      for (const std::uint64_t count : i.generation_counts) out.Put(count);
      out.Put(i.collecting).Put(i.phase).Put(i.debug).Put(i.garbage_list_node).PutAll(i.roots);
    }
    const heap::Coverage& c = h.coverage;
    out.Put(c.objects).Put(c.approximate_objects).Put(c.unreadable_objects).Put(c.dangling_references).Put(c.dangling_objects).Put(c.lists_complete).Put(c.lists_lead_out).Put(c.detached_lists).Put(c.type_errors);
    out.Put(c.damaged_objects).Put(c.left_out_objects).PutAll(c.unread_garbage).PutAll(c.notes).PutAll(c.in_flight);
    out.Put(static_cast<std::uint64_t>(h.borrowed.size()));
    for (const auto& [from, to] : h.borrowed) out.Put(from).Put(to);
    out.Put(static_cast<std::uint64_t>(h.quality.size()));
    for (const auto& [node, quality] : h.quality) out.Put(node).Put(quality);
    out.PutAll(h.not_gc).PutAll(h.incomplete).PutAll(h.condemned).PutAll(h.held_by_dying).PutAll(h.dying);

    const analysis::Verdict& v = s.verdict;
    PutNodes(out, v.in_garbage);
    PutNodes(out, v.frozen);
    for (const graph::NodeSet* set : {&v.unreachable_set, &v.held_by_garbage, &v.held_by_frozen, &v.freed_with_cycles, &v.not_known}) {
      out.Put(set->node_count());
      PutNodes(out, *set);
    }
    for (const std::uint64_t n : {v.unreachable, v.collectable, v.uncollectable, v.kept_by_finalizer, v.garbage_count, v.frozen_count, v.unreachable_upper, v.negative_counts}) out.Put(n);
    out.Put(v.certainty).Put(static_cast<std::uint64_t>(v.interpreters.size()));
    for (const analysis::InterpreterTotals& t : v.interpreters) out.Put(t.unreachable).Put(t.collectable).Put(t.uncollectable).Put(t.in_garbage).Put(t.frozen);

    out.PutAll(s.roots.places).PutAll(s.roots.notes).Put(static_cast<std::uint64_t>(s.roots.roots.size()));
    for (const heap::Root& r : s.roots.roots) out.Put(r.object).Put(r.kind).Put(r.place).Put(r.name).Put(r.expression).Put(r.shape);
    return out.text();
  }

  ProgressSink& progress_;
  std::vector<Part> parts_;
};

Result<void> WriteIndex(const std::string& path, const std::string& core_path, const IndexOptions& options, const IndexedSnapshotView& tracked,
                        const IndexedSnapshotView& everything, ProgressSink& progress) {
  const Result<CoreIdentity> identity = IdentityOf(core_path, progress);
  if (!identity) return tl::unexpected(identity.error());
  IndexWriter writer(progress);
  writer.AddSnapshot(tracked, 0);
  writer.AddSnapshot(everything, kEverything);
  return writer.Write(path, core_path, *identity, options);
}

// ---- reading

class IndexReader {
 public:
  IndexReader(const SavedIndex& index, const target::Process& process, std::size_t interpreters, std::uint32_t base, ProgressSink& progress)
      : index_(index), process_(process), interpreters_(interpreters), base_(base), progress_(progress), file_(open(index.path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}

  Result<IndexedSnapshot> Run() {
    if (!file_.valid()) return Fail(ErrorCode::kUsage, "cannot open {}: {}", index_.path_, std::strerror(errno));
    heap::HeapSnapshot& h = out_.heap;
    if (!Column(kRefcounts, h.refcount) || !Column(kTypes, h.type) || !Column(kFlags, h.flags) || !Column(kInterpreters, h.interpreter) || !Column(kStates, out_.verdict.state) ||
        !TakeSizes()) {
      return Failure();
    }
    std::string small;
    if (!Bytes(kSmall, small)) return Failure();
    Unpacker in(small);
    TakeSmall(in);
    if (!in.at_end()) return Bad("its tables of types, interpreters or roots");
    if (!ColumnsFit()) return Bad("a column of objects");
    if (!TakePages() || h.index.size() != h.size()) return failed_ ? Failure() : Bad("the addresses of its objects");
    if (!TakeGraph()) return failed_ ? Failure() : Bad("its references");
    return std::move(out_);
  }

 private:
  tl::unexpected<Error> Bad(std::string_view what) const {
    return Fail(ErrorCode::kNotAnalysable, "the index {} is damaged in {}: save it anew from its core ({})", index_.path_, what, index_.core_path_);
  }
  tl::unexpected<Error> Failure() const { return failed_ ? tl::unexpected(*failed_) : Bad("its sections"); }

  const SavedIndex::Section* Find(std::uint32_t id) {
    for (const SavedIndex::Section& s : index_.sections_) {
      if (s.id == base_ + id) return &s;
    }
    failed_ = Bad(fmt::format("section {}, which is not there,", base_ + id)).value();
    return nullptr;
  }
  bool Fill(const SavedIndex::Section& s, std::byte* out) {
    constexpr std::uint64_t kStep = 4u << 20;
    Checksum sum;
    for (std::uint64_t done = 0; done < s.bytes;) {
      const ssize_t n = pread(file_.get(), out + done, std::min(kStep, s.bytes - done), static_cast<off_t>(s.offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        failed_ = Fail(ErrorCode::kNotAnalysable, "the index {} cannot be read beyond byte {}: {}", index_.path_, s.offset + done, n == 0 ? "it has become shorter" : std::strerror(errno)).value();
        return false;
      }
      sum.Add({out + done, static_cast<std::size_t>(n)});
      done += static_cast<std::uint64_t>(n);
      if (!progress_.Update("reading the index", s.offset + done, index_.file_bytes_)) {
        failed_ = Error{ErrorCode::kCancelled, "interrupted while the index was read", std::nullopt};
        return false;
      }
    }
    if (sum.Value() != s.checksum) failed_ = Bad(fmt::format("section {}, whose checksum differs,", s.id)).value();
    return !failed_;
  }
  template <typename T>
  bool Column(std::uint32_t id, std::vector<T>& column) {
    static_assert(std::is_trivially_copyable_v<T>);
    const SavedIndex::Section* const s = Find(id);
    if (s == nullptr || s->bytes % sizeof(T) != 0 || s->bytes / sizeof(T) > kMostObjects) return false;
    MakeRoom(column, s->bytes / sizeof(T));
    return Fill(*s, reinterpret_cast<std::byte*>(column.data()));
  }
  bool Bytes(std::uint32_t id, std::string& text) {
    const SavedIndex::Section* const s = Find(id);
    if (s == nullptr) return false;
    text.resize(s->bytes);
    return Fill(*s, reinterpret_cast<std::byte*>(text.data()));
  }

  [[nodiscard]] bool IsNode(NodeId n) const { return n < out_.heap.size(); }
  [[nodiscard]] bool IsNodeOrNone(NodeId n) const { return n == heap::kNoNode || IsNode(n); }
  std::vector<NodeId> Nodes(Unpacker& in, bool rising) {
    std::vector<NodeId> nodes(in.Count(sizeof(NodeId)));
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      nodes[i] = in.Get<NodeId>();
      in.Expect(IsNode(nodes[i]) && (!rising || i == 0 || nodes[i - 1] <= nodes[i]));
    }
    if (!in.good()) nodes.clear();
    return nodes;
  }
  void Marks(Unpacker& in, std::vector<bool>& marks) {
    const bool there = in.Flag();
    if (there) marks.assign(out_.heap.size(), false);
    for (const NodeId n : Nodes(in, true)) {
      in.Expect(there);
      if (there) marks[n] = true;
    }
  }
  void Set(Unpacker& in, graph::NodeSet& set) {
    const auto count = in.Get<NodeId>();
    in.Expect(count == 0 || count == out_.heap.size());
    if (!in.good()) return;
    set = graph::NodeSet(count);
    for (const NodeId n : Nodes(in, true)) {
      in.Expect(count != 0);
      if (count != 0) set.Insert(n);
    }
  }
  template <typename Enum>
  Enum OneOf(Unpacker& in, Enum last) {
    const auto value = in.Get<std::underlying_type_t<Enum>>();
    in.Expect(value <= static_cast<std::underlying_type_t<Enum>>(last));
    return in.good() ? static_cast<Enum>(value) : Enum{};
  }

  void TakeSmall(Unpacker& in) {
    heap::HeapSnapshot& h = out_.heap;
    h.with_leaves = in.Flag();
    h.deficit_stays_zero = in.Flag();
    in.Expect(h.with_leaves == (base_ == kEverything));
    TakeRanges(in);
    block_sizes_.resize(in.Count(16));
    for (auto& [offsets, edges] : block_sizes_) {
      offsets = in.Get<std::uint64_t>();
      edges = in.Get<std::uint64_t>();
    }
    h.types.resize(in.Count(8 * 5 + 3));
    for (heap::TypeRecord& t : h.types) {
      t.address = in.Get<Address>();
      t.name = in.Text();
      t.module_file = in.Text();
      t.finalizer = OneOf(in, heap::TypeRecord::Finalizer::kTpDel);
      t.legacy_finalizer = in.Flag();
      t.may_have_legacy_finalizer = in.Flag();
      t.approximate_code = in.Text();
      t.approximate_reason = in.Text();
    }
    TakeInterpreters(in);
    heap::Coverage& c = h.coverage;
    for (std::uint64_t* n : {&c.objects, &c.approximate_objects, &c.unreadable_objects, &c.dangling_references, &c.dangling_objects}) *n = in.Get<std::uint64_t>();
    c.lists_complete = in.Flag();
    c.lists_lead_out = in.Flag();
    for (std::uint64_t* n : {&c.detached_lists, &c.type_errors, &c.damaged_objects, &c.left_out_objects}) *n = in.Get<std::uint64_t>();
    for (std::vector<std::string>* texts : {&c.unread_garbage, &c.notes, &c.in_flight}) *texts = in.Texts();
    h.borrowed.resize(in.Count(8));
    for (std::size_t i = 0; i < h.borrowed.size(); ++i) {
      h.borrowed[i].first = in.Get<NodeId>();
      h.borrowed[i].second = in.Get<NodeId>();
      in.Expect(IsNode(h.borrowed[i].first) && IsNode(h.borrowed[i].second) && (i == 0 || h.borrowed[i - 1].first <= h.borrowed[i].first));
    }
    h.quality.resize(in.Count(5));
    for (std::size_t i = 0; i < h.quality.size(); ++i) {
      h.quality[i].first = in.Get<NodeId>();
      h.quality[i].second = in.Get<std::uint8_t>();
      in.Expect(IsNode(h.quality[i].first) && h.quality[i].second <= kMostQuality && (i == 0 || h.quality[i - 1].first < h.quality[i].first));
    }
    h.not_gc = Nodes(in, true);
    h.incomplete = Nodes(in, true);
    h.condemned = Nodes(in, true);
    h.held_by_dying = Nodes(in, false);
    h.dying = Nodes(in, true);
    TakeVerdict(in);
    TakeRoots(in);
  }

  // A range is believed where it lies in the memory of the core, so that the index has no more places than that has.
  void TakeRanges(Unpacker& in) {
    std::vector<heap::ObjectIndex::Range> ranges(in.Count(17));
    std::uint64_t bytes = 0, memory = 0;
    for (const target::Segment& s : process_.memory.segments()) memory += s.range.size();
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      heap::ObjectIndex::Range& r = ranges[i];
      r.range.begin = in.Get<Address>();
      r.range.end = in.Get<Address>();
      r.shift = in.Get<std::uint8_t>();
      in.Expect(r.range.begin < r.range.end && r.shift >= 2 && r.shift <= 4 && (i == 0 || ranges[i - 1].range.end <= r.range.begin));
      if (!in.good()) return;
      bytes += r.range.size();
      in.Expect(bytes <= memory + kMostSlack);
      if (!in.good()) return;
    }
    out_.heap.index = heap::ObjectIndex(ranges);
  }

  void TakeInterpreters(Unpacker& in) {
    const std::uint64_t count = in.Count(100);
    in.Expect(count == interpreters_);
    if (!in.good()) return;
    out_.heap.interpreters.resize(count);
    for (heap::InterpreterRecord& i : out_.heap.interpreters) {
      i.id = in.Get<std::int64_t>();
      i.address = in.Get<Address>();
      i.garbage_list = in.Get<Address>();
      i.garbage.resize(in.Count(sizeof(NodeId)));
      for (NodeId& n : i.garbage) {
        n = in.Get<NodeId>();
        in.Expect(IsNodeOrNone(n));
      }
      i.garbage_addresses.resize(in.Count(sizeof(Address)));
      for (Address& a : i.garbage_addresses) a = in.Get<Address>();
      in.Expect(i.garbage.size() == i.garbage_addresses.size());
      for (std::uint64_t& n : i.generation_counts) n = in.Get<std::uint64_t>();
      i.collecting = in.Flag();
      i.phase = OneOf(in, heap::CollectionPhase::kBetween);
      i.debug = in.Get<std::int32_t>();
      i.garbage_list_node = in.Get<NodeId>();
      in.Expect(IsNodeOrNone(i.garbage_list_node));
      i.roots = Nodes(in, false);
    }
  }

  void TakeVerdict(Unpacker& in) {
    analysis::Verdict& v = out_.verdict;
    Marks(in, v.in_garbage);
    Marks(in, v.frozen);
    for (graph::NodeSet* set : {&v.unreachable_set, &v.held_by_garbage, &v.held_by_frozen, &v.freed_with_cycles, &v.not_known}) Set(in, *set);
    for (std::uint64_t* n : {&v.unreachable, &v.collectable, &v.uncollectable, &v.kept_by_finalizer, &v.garbage_count, &v.frozen_count, &v.unreachable_upper, &v.negative_counts})
      *n = in.Get<std::uint64_t>();
    v.certainty = OneOf(in, analysis::Certainty::kUnverifiable);
    v.interpreters.resize(in.Count(40));
    in.Expect(v.interpreters.size() >= interpreters_ && v.interpreters.size() <= interpreters_ + 1);
    for (analysis::InterpreterTotals& t : v.interpreters) {
      for (std::uint64_t* n : {&t.unreachable, &t.collectable, &t.uncollectable, &t.in_garbage, &t.frozen}) *n = in.Get<std::uint64_t>();
    }
  }

  void TakeRoots(Unpacker& in) {
    heap::RootSet& set = out_.roots;
    set.places = in.Texts();
    in.Expect(!set.places.empty());
    set.notes = in.Texts();
    set.roots.resize(in.Count(8 + 1 + 4 + 16 + 1));
    for (heap::Root& r : set.roots) {
      r.object = in.Get<Address>();
      r.kind = OneOf(in, heap::RootKind::kNative);
      r.place = in.Get<std::uint32_t>();
      r.name = in.Text();
      r.expression = in.Text();
      r.shape = OneOf(in, heap::Root::Shape::kFrameObject);
      in.Expect(r.place < set.places.size());
    }
  }

  bool TakeSizes() {
    std::vector<std::uint16_t> words;
    std::string text;
    if (!Column(kSizes, words) || !Bytes(kLargeSizes, text)) return false;
    Unpacker in(text);
    std::vector<heap::SizeColumn::Large> large(text.size() / (sizeof(NodeId) + sizeof(std::uint64_t)));
    for (heap::SizeColumn::Large& size : large) {
      size.first = in.Get<NodeId>();
      size.second = in.Get<std::uint64_t>();
    }
    out_.heap.size_bytes = heap::SizeColumn(std::move(words), std::move(large));
    return in.at_end();
  }

  // Every id and kind of a column names something that is there.
  bool ColumnsFit() {
    const heap::HeapSnapshot& h = out_.heap;
    const std::size_t n = h.refcount.size();
    const bool sizes = h.type.size() == n && h.flags.size() == n && (h.interpreter.empty() || h.interpreter.size() == n) &&
                       (h.with_leaves ? h.size_bytes.size() == n : h.size_bytes.empty()) && h.size_bytes.fits() && out_.verdict.state.size() == n;
    if (!sizes || n > kMostObjects) return false;
    std::uint32_t type = 0;
    for (const std::uint32_t t : h.type) type = std::max(type, t);
    if (n > 0 && type >= h.types.size()) return false;
    bool good = true;
    for (const std::uint8_t f : h.flags) good &= (f & heap::kTracked) == 0 || (f & heap::kGenerationMask) != heap::kUntracked;
    for (const std::uint8_t i : h.interpreter) good &= i < h.interpreters.size() || i == heap::kNoInterpreter;
    for (const analysis::State s : out_.verdict.state) good &= s <= analysis::State::kUncollectable;
    return good;
  }

  bool TakePages() {
    std::string pages;
    if (!Bytes(kPages, pages)) return false;
    constexpr std::size_t kPageBytes = sizeof(std::uint64_t) * (1 + heap::ObjectIndex::kWordsPerPage);
    if (pages.size() % kPageBytes != 0) return false;
    std::array<std::uint64_t, 1 + heap::ObjectIndex::kWordsPerPage> page{};
    std::uint64_t before = 0;
    for (std::size_t at = 0; at < pages.size(); at += kPageBytes) {
      std::memcpy(page.data(), pages.data() + at, kPageBytes);
      if ((at > 0 && page[0] <= before) || !out_.heap.index.MarkPage(page[0], std::span(page).subspan(1))) return false;
      before = page[0];
    }
    out_.heap.index.Seal();
    return true;
  }

  bool TakeGraph() {
    const NodeId count = out_.heap.size();
    const SavedIndex::Section *const offsets = Find(kOffsets), *const edges = Find(kEdges);
    if (offsets == nullptr || edges == nullptr) return false;
    // Blocks lie one after the other; each is a section of its own for the reader.
    std::vector<graph::CsrGraph::Block> blocks(block_sizes_.size());
    std::uint64_t nodes = 0, offset_words = 0, edge_words = 0;
    for (const auto& [o, e] : block_sizes_) {
      if (o < 1 || o > kMostObjects || e > std::numeric_limits<std::uint32_t>::max()) return false;
      nodes += o - 1;
      offset_words += o;
      edge_words += e;
    }
    if (nodes != count || offset_words * 4 != offsets->bytes || edge_words * 4 != edges->bytes) return false;
    if (!FillBlocks(*offsets, blocks, true) || !FillBlocks(*edges, blocks, false)) return false;
    NodeId largest = 0;
    for (const graph::CsrGraph::Block& b : blocks) {
      bool rising = b.offsets.front() == 0 && b.offsets.back() == b.edges.size();
      for (std::size_t i = 1; i < b.offsets.size(); ++i) rising &= b.offsets[i - 1] <= b.offsets[i];
      if (!rising) return false;
      for (const NodeId target : b.edges) largest = std::max(largest, target);
    }
    if (edge_words > 0 && largest >= count) return false;
    out_.heap.graph = graph::CsrGraph(std::move(blocks));
    return out_.heap.graph.node_count() == count && OwnedFit();
  }
  // Rising, and of no node more than it has.
  bool OwnedFit() {
    if (!Column(kOwnsBeside, out_.heap.owns_beside)) return false;
    NodeId least = 0;
    for (const heap::OwnedBeside& o : out_.heap.owns_beside) {
      if (o.node < least || !IsNode(o.node) || o.references > out_.heap.graph.Successors(o.node).size()) return false;
      least = o.node + 1;
    }
    return true;
  }
  bool FillBlocks(const SavedIndex::Section& whole, std::vector<graph::CsrGraph::Block>& blocks, bool offsets) {
    Checksum sum;
    std::uint64_t at = whole.offset;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      std::vector<std::uint32_t>& column = offsets ? blocks[i].offsets : blocks[i].edges;
      MakeRoom(column, offsets ? block_sizes_[i].first : block_sizes_[i].second);
      auto* const out = reinterpret_cast<std::byte*>(column.data());
      const std::uint64_t bytes = column.size() * sizeof(std::uint32_t);
      for (std::uint64_t done = 0; done < bytes;) {
        const ssize_t n = pread(file_.get(), out + done, bytes - done, static_cast<off_t>(at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
          failed_ = Fail(ErrorCode::kNotAnalysable, "the index {} cannot be read beyond byte {}", index_.path_, at + done).value();
          return false;
        }
        done += static_cast<std::uint64_t>(n);
      }
      sum.Add({out, static_cast<std::size_t>(bytes)});
      at += bytes;
      if (!progress_.Update("reading the index", at, index_.file_bytes_)) {
        failed_ = Error{ErrorCode::kCancelled, "interrupted while the index was read", std::nullopt};
        return false;
      }
    }
    if (sum.Value() != whole.checksum) failed_ = Bad(fmt::format("section {}, whose checksum differs,", whole.id)).value();
    return !failed_;
  }

  static constexpr std::uint8_t kMostQuality = 5;               // objects::ReferentQuality::kUnknown
  static constexpr std::uint64_t kMostSlack = 64u << 20;        // ranges are rounded, and static objects lie in module files

  const SavedIndex& index_;
  const target::Process& process_;
  const std::size_t interpreters_;
  const std::uint32_t base_;
  ProgressSink& progress_;
  Descriptor file_;
  IndexedSnapshot out_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> block_sizes_;  // offsets, edges
  std::optional<Error> failed_;
};

bool IsIndex(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  std::array<char, 8> start{};
  return file.valid() && pread(file.get(), start.data(), start.size(), 0) == static_cast<ssize_t>(start.size()) && std::string_view(start.data(), start.size()) == kMagic;
}

Result<std::shared_ptr<const SavedIndex>> SavedIndex::Open(const std::string& path, ProgressSink& progress) {
  const auto bad = [&](std::string_view what) { return Fail(ErrorCode::kNotAnalysable, "the index {} is damaged: {}", path, what); };
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat s {};
  if (!file.valid() || fstat(file.get(), &s) != 0) return Fail(ErrorCode::kUsage, "cannot open {}: {}", path, std::strerror(errno));
  if (!S_ISREG(s.st_mode)) return bad("it is no file");
  const auto size = static_cast<std::uint64_t>(s.st_size);
  FixedHead fixed{};
  if (pread(file.get(), &fixed, sizeof fixed, 0) != static_cast<ssize_t>(sizeof fixed)) return bad("it ends in its head");
  if (fixed.format != kFormat) return Fail(ErrorCode::kNotAnalysable, "the index {} has format {}, this pygc ({}) reads format {}: save it anew from its core", path, fixed.format, PYGC_VERSION, kFormat);
  if (fixed.head_bytes > kMostHeadBytes || sizeof fixed + fixed.head_bytes > size) return bad("it ends in its head");
  std::string head(fixed.head_bytes, '\0');
  if (pread(file.get(), head.data(), head.size(), sizeof fixed) != static_cast<ssize_t>(head.size())) return bad("it ends in its head");
  if (ChecksumOf(std::as_bytes(std::span(head))) != fixed.head_checksum) return bad("the checksum of its head differs");
  Unpacker in(head);
  const std::string written_by = in.Text(), core = in.Text();
  CoreIdentity known;
  for (std::uint64_t* const sum : {&known.size, &known.samples}) *sum = in.Get<std::uint64_t>();
  for (std::int64_t* const time : {&known.modified_ns, &known.changed_ns}) *time = in.Get<std::int64_t>();
  known.whole = in.Get<std::uint64_t>();
  if (in.good() && written_by != PYGC_VERSION) {
    return Fail(ErrorCode::kNotAnalysable, "the index {} was written by pygc {}, this is pygc {}: save it anew from its core ({})", path, written_by, PYGC_VERSION, core);
  }
  auto index = std::shared_ptr<SavedIndex>(new SavedIndex);
  index->path_ = path;
  index->file_bytes_ = size;
  index->options_ = GetOptions(in);
  index->sections_.resize(in.Count(28));
  for (Section& section : index->sections_) {
    section.id = in.Get<std::uint32_t>();
    section.offset = in.Get<std::uint64_t>();
    section.bytes = in.Get<std::uint64_t>();
    section.checksum = in.Get<std::uint64_t>();
    in.Expect(section.offset % kAlignment == 0 && section.offset <= size && section.bytes <= size - section.offset);
  }
  if (!in.at_end() || fixed.file_bytes != size) return bad(fixed.file_bytes > size ? "it is cut off" : "its table of sections");
  std::string found, why;
  for (const std::string& candidate : {core, FolderOf(path) + "/" + NameOf(core)}) {
    const Result<bool> same = IsCoreOf(known, candidate, progress);
    if (!same && same.error().code == ErrorCode::kCancelled) return tl::unexpected(same.error());
    if (same && *same) {
      index->core_path_ = candidate;
      return index;
    }
    if (why.empty() || same) why = same ? fmt::format("{} is another one than that the index was made of, or was changed since", candidate) : same.error().message;
  }
  return Fail(ErrorCode::kNotAnalysable, "the index {} needs its core, with the memory: {}; put it back, or beside the index", path, why);
}

Result<IndexedSnapshot> SavedIndex::Load(bool with_leaves, const target::Process& process, std::size_t interpreters, ProgressSink& progress) const {
  try {
    return IndexReader(*this, process, interpreters, with_leaves ? kEverything : 0, progress).Run();
  } catch (const std::bad_alloc&) {
    return Fail(ErrorCode::kLimit, "not enough memory for the index {}", path_);
  } catch (const std::length_error&) {
    return Fail(ErrorCode::kLimit, "not enough memory for the index {}", path_);
  }
}

}  // namespace pygc::engine
