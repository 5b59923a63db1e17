#include "core/cpython/file_by_objects.h"

#include <algorithm>
#include <unordered_set>

#include "core/base/byte_reader.h"
#include "core/cpython/interpreter_site.h"

namespace pygc::cpython {
namespace {

constexpr std::uint64_t kWord = 8;
constexpr std::uint64_t kMaxCount = 1ull << 33;    // of an ob_refcnt that is worth a look; immortal ones are below it
constexpr std::uint64_t kMinTypeBytes = 200, kMaxTypeBytes = 1024;  // sizeof(PyTypeObject): 2.7 to 3.15, debug builds too
constexpr std::uint64_t kEnoughWords = 256;
constexpr std::size_t kEnoughTypes = 8;

/// Words that look like the ob_type of an object: they lead into the module's data, and a count stands before them.
struct TypeWords {
  std::uint64_t at_type = 0, elsewhere = 0;
  std::unordered_set<Address> types;

  [[nodiscard]] bool IsConvincing() const { return at_type >= kEnoughWords && types.size() >= kEnoughTypes && at_type > elsewhere; }
};

class TypeSymbols {
 public:
  TypeSymbols(const elf::ElfFile& file, std::uint64_t bias) {
    for (const elf::Symbol& s : file.symbols()) {
      if (!s.is_object || s.is_undefined || s.is_tls) continue;
      if (s.size > kMaxTypeBytes) others_.push_back({s.address + bias, s.address + bias + s.size});
      if (s.size >= kMinTypeBytes && s.size <= kMaxTypeBytes && s.name.ends_with("_Type")) starts_.push_back(s.address + bias);
    }
    std::sort(starts_.begin(), starts_.end());
    std::sort(others_.begin(), others_.end(), [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
  }
  [[nodiscard]] bool IsStart(Address a) const { return std::binary_search(starts_.begin(), starts_.end(), a); }
  /// Inside something larger than a type, _PyRuntime with its static objects above all: says nothing.
  [[nodiscard]] bool IsInside(Address a) const {
    const auto after = std::upper_bound(others_.begin(), others_.end(), a, [](Address x, const AddressRange& r) { return x < r.begin; });
    return after != others_.begin() && std::prev(after)->Contains(a);
  }

 private:
  std::vector<Address> starts_;
  std::vector<AddressRange> others_;
};

TypeWords CountTypeWords(const target::Process& process, const std::vector<AddressRange>& data, const TypeSymbols& symbols) {
  TypeWords out;
  Address lowest = ~Address{0}, highest = 0;
  for (const AddressRange& r : data) {
    lowest = std::min(lowest, r.begin);
    highest = std::max(highest, r.end);
  }
  for (const target::Segment& s : process.memory.segments()) {
    if (!s.writable || !s.readable || s.module < process.modules.size()) continue;
    std::uint64_t before = kMaxCount;
    for (std::uint64_t at = (kWord - s.range.begin % kWord) % kWord; at + kWord <= s.range.size(); at += kWord) {
      const auto word = LoadUnchecked<std::uint64_t>(s.bytes + at);
      const bool counted = before < kMaxCount;
      before = word;
      if (!counted || word < lowest || word >= highest || word % kWord != 0) continue;
      if (std::none_of(data.begin(), data.end(), [&](const AddressRange& r) { return r.Contains(word); })) continue;
      if (symbols.IsStart(word)) {
        ++out.at_type;
        out.types.insert(word);
      } else {
        out.elsewhere += !symbols.IsInside(word);
      }
    }
  }
  return out;
}

}  // namespace

std::optional<VerifiedFile> VerifyFileByObjects(const target::Process& process, const Limits& limits) {
  for (std::size_t i = 0; i < process.modules.size(); ++i) {
    const target::Module& module = process.modules[i];
    if (module.match != target::ModuleMatch::kUnverifiable || module.file || module.file_path.empty() || module.path.find("python") == std::string::npos) continue;
    const auto file = elf::ElfFile::Open(module.file_path, limits);
    if (!file) continue;
    target::Module with_file = module;
    with_file.file = *file;
    if (!SymbolAddress(with_file, "_PyRuntime") && !SymbolAddress(with_file, "_PyGC_generation0") && !SymbolAddress(with_file, "PyInterpreterState_Head")) continue;
    const TypeSymbols symbols(**file, static_cast<std::uint64_t>(module.load_bias));
    const TypeWords words = CountTypeWords(process, WritableData(process, with_file), symbols);
    if (!words.IsConvincing()) continue;
    return VerifiedFile{i, *file,
                        fmt::format("its build-id is not in memory; {} objects have their types, {} in all, just where {} has types (build-id {})", words.at_type,
                                    words.types.size(), module.file_path, (*file)->build_id().empty() ? "none" : (*file)->build_id())};
  }
  return std::nullopt;
}

}  // namespace pygc::cpython
