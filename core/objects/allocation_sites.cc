#include "core/objects/allocation_sites.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "core/cpython/interpreter_site.h"
#include "core/objects/values.h"

namespace pygc::objects {

namespace {

using cpython::Field;
using cpython::Struct;

constexpr std::uint64_t kWord = 8;
constexpr std::uint64_t kProgressStep = 1u << 16;
constexpr std::size_t kMaxFileName = 4096;

}  // namespace

// Reads the tables once. CPython: _Py_hashtable_t: an array of buckets, each a list of entries. Keys and values lie behind an entry [<= 3.8] or are pointers
// in it [3.9+].
class SiteReader {
 public:
  explicit SiteReader(const ObjectReader& reader)
      : reader_(reader), memory_(reader.process().memory), layout_(reader.runtime().layout), offsets_(layout_), values_(memory_, offsets_, reader.runtime().lookdict) {
    for (const target::Segment& s : memory_.segments()) room_ += s.range.size() / (2 * kWord);  // an entry is larger
  }

  Result<AllocationSites> Run(ProgressSink& progress) {
    if (!layout_.Has(Field::tracemalloc_traceback_frames) || !layout_.Has(Field::Py_hashtable_buckets) || !layout_.Has(Field::tracemalloc_frame_filename)) {
      out_.state_ = AllocationSites::State::kAbsent;
      return std::move(out_);
    }
    if (!ReadTable(FindTable(Field::PyRuntimeState_tracemalloc_traces, "tracemalloc_traces", &SiteReader::HoldsTraces), 0, progress) || !ReadDomains(progress)) return Fail(ErrorCode::kCancelled, "interrupted while reading the tables of tracemalloc");
    if (!out_.blocks_.empty()) out_.state_ = AllocationSites::State::kOn;
    std::sort(out_.blocks_.begin(), out_.blocks_.end(), [](const auto& a, const auto& b) { return std::pair(a.domain, a.begin) < std::pair(b.domain, b.begin); });
    const auto foreign = std::partition_point(out_.blocks_.begin(), out_.blocks_.end(), [](const AllocationSites::Block& b) { return b.domain == 0; });
    out_.own_count_ = static_cast<std::size_t>(foreign - out_.blocks_.begin());
    return std::move(out_);
  }

  [[nodiscard]] std::optional<SiteFrame> FrameAt(Address traceback, std::uint64_t index) const {
    const Address frame = traceback + layout_.Offset(Field::tracemalloc_traceback_frames) + index * layout_.Size(Struct::tracemalloc_frame);
    const std::optional<std::uint64_t> name = Get(frame, Field::tracemalloc_frame_filename), line = Get(frame, Field::tracemalloc_frame_lineno);
    if (!name || !line) return std::nullopt;
    if (layout_.Has(cpython::Constant::TRACEMALLOC_C_FILE_NAMES)) {
      Result<std::string> text = memory_.ReadCString(*name, kMaxFileName);
      if (!text) return std::nullopt;
      return SiteFrame{std::move(*text), static_cast<std::uint32_t>(*line)};
    }
    std::optional<std::string> file = values_.Text(*name, kMaxFileName);
    if (!file) return std::nullopt;
    return SiteFrame{std::move(*file), static_cast<std::uint32_t>(*line)};
  }
  [[nodiscard]] std::uint64_t FrameCount(Address traceback) const { return Get(traceback, Field::tracemalloc_traceback_nframe).value_or(0); }

 private:
  struct Table {
    Address buckets = 0;
    std::uint64_t bucket_count = 0, entry_count = 0;
    std::uint64_t key_bytes = kWord;  // of a key that lies behind its entry
  };

  // Members of packed structures are not aligned; widths are those of the layout.
  [[nodiscard]] std::optional<std::uint64_t> Get(Address structure, Field f) const {
    const std::uint32_t width = layout_.Width(f);
    const std::byte* const p = layout_.Has(f) ? memory_.At(structure + layout_.Offset(f), width) : nullptr;
    if (p == nullptr) return std::nullopt;
    return width == 8   ? LoadUnchecked<std::uint64_t>(p)
           : width == 4 ? LoadUnchecked<std::uint32_t>(p)
           : width == 2 ? LoadUnchecked<std::uint16_t>(p)
                        : static_cast<std::uint64_t>(LoadUnchecked<std::uint8_t>(p));
  }
  [[nodiscard]] bool InEntries() const { return layout_.Has(Field::Py_hashtable_entry_value); }

  [[nodiscard]] std::optional<Table> TableAt(Address table) const {
    const auto entries = Get(table, Field::Py_hashtable_nentries), count = Get(table, Field::Py_hashtable_nbuckets), buckets = Get(table, Field::Py_hashtable_buckets);
    if (!entries || !count || !buckets || *count == 0 || (*count & (*count - 1)) != 0 || *buckets % kWord != 0) return std::nullopt;
    if (*entries > room_ || *count > room_ || values_.ReadableWords(*buckets, *count) != *count) return std::nullopt;
    Table out{*buckets, *count, *entries};
    if (!InEntries()) {
      const auto key = Get(table, Field::Py_hashtable_key_size);
      if (!key || *key < 4 || *key > 2 * kWord) return std::nullopt;
      out.key_bytes = *key;
    }
    return out;
  }

  // Calls visit(address of the key, key, address of the value) for each entry until it says false; returns whether the table could be read to its end.
  template <typename Visit>
  bool ForEachEntry(const Table& table, Visit visit) const {
    std::uint64_t left = table.entry_count;
    for (std::uint64_t i = 0; i < table.bucket_count && left > 0; ++i) {
      for (Address entry = values_.Pointer(table.buckets + i * kWord); entry != 0; entry = values_.Pointer(entry)) {
        if (left == 0 || memory_.At(entry, layout_.Size(Struct::Py_hashtable_entry)) == nullptr) return false;
        --left;
        const Address behind = entry + layout_.Size(Struct::Py_hashtable_entry);
        const bool in_entry = InEntries();
        const Address key = in_entry ? entry + layout_.Offset(Field::Py_hashtable_entry_key) : behind;
        const Address value = in_entry ? Get(entry, Field::Py_hashtable_entry_value).value_or(0) : behind + table.key_bytes;
        if (!visit(key, value)) return true;
      }
    }
    return left == 0;
  }

  bool ReadTable(Address at, std::uint32_t domain, ProgressSink& progress) {
    if (at == 0) return true;
    const std::optional<Table> table = TableAt(at);
    if (!table) {
      out_.complete_ = false;
      return true;
    }
    std::uint64_t done = 0;
    bool go_on = true;
    const bool whole = ForEachEntry(*table, [&](Address key, Address value) {
      if (++done % kProgressStep == 0) go_on = progress.Update("reading the tables of tracemalloc", done, table->entry_count);
      const std::optional<std::uint64_t> bytes = Get(value, Field::tracemalloc_trace_size), traceback = Get(value, Field::tracemalloc_trace_traceback);
      if (!bytes || !traceback) {
        out_.complete_ = false;
        return go_on;
      }
      // A key with a domain behind the address [3.6-3.8, where a domain was ever used].
      const bool with_domain = !InEntries() && table->key_bytes > kWord;
      const std::uint32_t own = with_domain ? memory_.ReadValue<std::uint32_t>(key + kWord).value_or(0) : domain;
      out_.blocks_.push_back({values_.Pointer(key), *bytes, TracebackAt(*traceback), own});
      return go_on;
    });
    out_.complete_ = out_.complete_ && whole;
    return go_on;
  }

  // Tables of other domains: what extension modules trace themselves (numpy's data).
  bool ReadDomains(ProgressSink& progress) {
    const std::optional<Table> domains = TableAt(FindTable(Field::PyRuntimeState_tracemalloc_domains, "tracemalloc_domains", &SiteReader::HoldsTables));
    if (!domains) return true;
    std::vector<std::pair<std::uint32_t, Address>> found;
    out_.complete_ = ForEachEntry(*domains, [&](Address key, Address value) {
      // The value is the table itself, or, behind an entry, a pointer to it.
      found.emplace_back(memory_.ReadValue<std::uint32_t>(key).value_or(0), InEntries() ? value : values_.Pointer(value));
      return true;
    }) && out_.complete_;
    return std::all_of(found.begin(), found.end(), [&](const auto& d) { return ReadTable(d.second, d.first, progress); });
  }

  std::uint32_t TracebackAt(Address a) {
    const auto [found, fresh] = number_of_.try_emplace(a, static_cast<std::uint32_t>(out_.tracebacks_.size()));
    if (!fresh) return found->second;
    out_.tracebacks_.push_back(a);
    std::uint32_t site = AllocationSites::kNone;
    const Address frame = a + layout_.Offset(Field::tracemalloc_traceback_frames);
    const auto name = Get(frame, Field::tracemalloc_frame_filename), line = Get(frame, Field::tracemalloc_frame_lineno);
    if (FrameCount(a) > 0 && name && line) {
      const auto [place, is_new] = site_at_.try_emplace({*name, *line}, AllocationSites::kNone);
      if (is_new) place->second = NewSite(a);
      site = place->second;
    }
    out_.site_of_.push_back(site);
    return found->second;
  }
  // One site a text: two strings may name one file.
  std::uint32_t NewSite(Address traceback) {
    const std::optional<SiteFrame> frame = FrameAt(traceback, 0);
    if (!frame) return AllocationSites::kNone;
    const auto [found, fresh] = site_named_.try_emplace(fmt::format("{}:{}", frame->file, frame->line), static_cast<std::uint32_t>(out_.sites_.size()));
    if (fresh) out_.sites_.push_back(found->first);
    return found->second;
  }

  // A table of the runtime's state [3.12+], or a static of _tracemalloc.c; 0 where there is none.
  [[nodiscard]] Address Static(Field field, std::string_view symbol) const {
    const cpython::Runtime& runtime = reader_.runtime();
    if (layout_.Has(field)) return runtime.runtime_address == 0 ? 0 : Get(runtime.runtime_address, field).value_or(0);
    if (runtime.module_index >= reader_.process().modules.size()) return 0;
    const target::Module& module = reader_.process().modules[runtime.module_index];
    if (!module.file) return 0;
    for (const elf::Symbol& s : module.file->symbols()) {  // link-time optimisation appends ".lto_priv.0"
      if (!s.is_undefined && s.is_object && s.name.substr(0, s.name.find('.')) == symbol) return values_.Pointer(s.address + static_cast<std::uint64_t>(module.load_bias));
    }
    return 0;
  }

  [[nodiscard]] Address FindTable(Field field, std::string_view symbol, bool (SiteReader::*is_it)(Address) const) const {
    const Address known = Static(field, symbol);
    const cpython::Runtime& runtime = reader_.runtime();
    if (known != 0 || layout_.Has(field) || runtime.module_index >= reader_.process().modules.size()) return known;
    // HEURISTIC: a stripped interpreter. The one word in its data that leads to a table of which everything looked at is a trace: blocks, and tracebacks whose
    // file names are str objects; or to a table of such tables. A wrong no hides where objects come from; a wrong yes would need a table that is made the same
    // way, and CPython has none.
    for (const AddressRange& range : cpython::WritableData(reader_.process(), reader_.process().modules[runtime.module_index])) {
      for (Address a = range.begin; a + kWord <= range.end; a += kWord) {
        const Address at = values_.Pointer(a);
        if (at != 0 && at % kWord == 0 && (this->*is_it)(at)) return at;
      }
    }
    return 0;
  }
  [[nodiscard]] bool HoldsTraces(Address at) const {
    constexpr std::uint64_t kLookedAt = 64;
    const std::optional<Table> table = TableAt(at);
    if (!table || table->entry_count == 0 || table->entry_count > table->bucket_count) return false;
    std::uint64_t seen = 0;
    bool all = true;
    ForEachEntry(*table, [&](Address, Address value) {
      const std::optional<std::uint64_t> traceback = Get(value, Field::tracemalloc_trace_traceback);
      all = traceback && *traceback != 0 && FrameCount(*traceback) > 0 && FrameAt(*traceback, 0);
      return all && ++seen < kLookedAt;
    });
    return all && seen > 0;
  }

  [[nodiscard]] bool HoldsTables(Address at) const {
    const std::optional<Table> table = TableAt(at);
    if (!table || table->entry_count == 0 || table->entry_count > table->bucket_count) return false;
    bool all = true;
    return ForEachEntry(*table, [&](Address, Address value) { return all = HoldsTraces(InEntries() ? value : values_.Pointer(value)); }) && all;
  }

  const ObjectReader& reader_;
  const target::MemoryImage& memory_;
  const cpython::Layout& layout_;
  Offsets offsets_;
  Values values_;
  std::uint64_t room_ = 0;
  AllocationSites out_;
  std::unordered_map<Address, std::uint32_t> number_of_;
  std::map<std::pair<Address, std::uint64_t>, std::uint32_t> site_at_;
  std::map<std::string, std::uint32_t> site_named_;
};

Result<AllocationSites> AllocationSites::Read(const ObjectReader& reader, ProgressSink& progress) { return SiteReader(reader).Run(progress); }

std::optional<std::size_t> AllocationSites::BlockOf(Address object) const noexcept {
  const auto end = blocks_.begin() + static_cast<std::ptrdiff_t>(own_count_);
  const auto after = std::upper_bound(blocks_.begin(), end, object, [](Address a, const Block& b) { return a < b.begin; });
  if (after == blocks_.begin()) return std::nullopt;
  const auto block = std::prev(after);
  return object - block->begin < block->bytes ? std::optional(static_cast<std::size_t>(block - blocks_.begin())) : std::nullopt;
}

std::uint32_t AllocationSites::TracebackOf(Address object) const noexcept {
  const std::optional<std::size_t> block = BlockOf(object);
  return block ? blocks_[*block].traceback : kNone;
}

std::vector<SiteFrame> AllocationSites::FramesOf(std::uint32_t traceback, const ObjectReader& reader) const {
  std::vector<SiteFrame> out;
  if (traceback >= tracebacks_.size()) return out;
  const SiteReader frames(reader);
  const std::uint64_t count = frames.FrameCount(tracebacks_[traceback]);
  for (std::uint64_t i = 0; i < count; ++i) {
    std::optional<SiteFrame> frame = frames.FrameAt(tracebacks_[traceback], i);
    if (!frame) break;
    out.push_back(std::move(*frame));
  }
  return out;
}

}  // namespace pygc::objects
