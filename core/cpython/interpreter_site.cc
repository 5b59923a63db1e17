// See interpreter_site.h.
#include "core/cpython/interpreter_site.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

#include "core/cpython/accessor.h"
#include "core/cpython/layout_resolver.h"
#include "core/cpython/target_objects.h"

namespace pygc::cpython {
namespace {

constexpr std::uint32_t kLoad = 1, kDynamic = 2, kWritable = 2;  // PT_LOAD, PT_DYNAMIC, PF_W

std::string_view BaseName(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

bool NamedLikePython(std::string_view path) {
  const std::string_view base = BaseName(path);
  return base.find("python") != std::string_view::npos && base.find(".cpython-") == std::string_view::npos;
}

// "3.8" in libpython3.8.so.1.0, python3.13t, python2.7-dbg, _json.cpython-38-x86_64-linux-gnu.so: a hint only.
std::optional<std::pair<int, int>> SeriesOfName(std::string_view path) {
  const std::string_view base = BaseName(path);
  if (const std::size_t tag = base.find(".cpython-"); tag != std::string_view::npos) {
    const std::string_view digits = base.substr(tag + 9, 3);
    if (digits.size() < 2 || (digits[0] != '2' && digits[0] != '3') || std::isdigit(static_cast<unsigned char>(digits[1])) == 0) return std::nullopt;
    int minor = digits[1] - '0';
    if (digits.size() == 3 && std::isdigit(static_cast<unsigned char>(digits[2])) != 0) minor = minor * 10 + (digits[2] - '0');
    return std::pair(digits[0] - '0', minor);
  }
  const std::size_t at = base.find("python");
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view rest = base.substr(at + 6);
  if (rest.size() < 3 || (rest[0] != '2' && rest[0] != '3') || rest[1] != '.' || std::isdigit(static_cast<unsigned char>(rest[2])) == 0) return std::nullopt;
  int minor = 0;
  for (std::size_t i = 2; i < rest.size() && i < 4 && std::isdigit(static_cast<unsigned char>(rest[i])) != 0; ++i) minor = minor * 10 + (rest[i] - '0');
  return std::pair(rest[0] - '0', minor);
}

// Parses "3.8.18", "3.15.0rc2+" at the start of `text`; the number of bytes taken, or 0.
std::size_t ParseVersionText(std::string_view text, PythonVersion& version) {
  std::array<int, 3> parts{};
  std::size_t i = 0;
  for (std::size_t part = 0; part < 3; ++part) {
    const std::size_t begin = i;
    while (i < text.size() && i - begin < 3 && std::isdigit(static_cast<unsigned char>(text[i])) != 0) parts[part] = parts[part] * 10 + (text[i++] - '0');
    if (i == begin || parts[part] > 255) return 0;
    if (part < 2 && (i >= text.size() || text[i++] != '.')) return 0;
  }
  version = PythonVersion{static_cast<std::uint8_t>(parts[0]), static_cast<std::uint8_t>(parts[1]), static_cast<std::uint8_t>(parts[2]), 0xF, 0};
  const std::string_view rest = text.substr(i);
  const auto serial = [&](std::size_t skip, std::uint8_t level) {
    version.level = level;
    i += skip;
    while (i < text.size() && std::isdigit(static_cast<unsigned char>(text[i])) != 0) version.serial = static_cast<std::uint8_t>((version.serial * 10 + (text[i++] - '0')) & 0xF);
  };
  if (rest.starts_with("rc")) serial(2, 0xC);
  else if (rest.starts_with("a")) serial(1, 0xA);
  else if (rest.starts_with("b")) serial(1, 0xB);
  if (i < text.size() && text[i] == '+') ++i;
  return i;
}

// The static buffer of Py_GetVersion(): "3.8.18 (default, ...) \n[GCC ...]". CPython: Python/getversion.c.
std::optional<std::pair<PythonVersion, std::string>> ScanVersionBuffer(const target::Process& process, const target::Module& module) {
  constexpr std::size_t kLongest = 320;
  for (const AddressRange& range : WritableData(process, module)) {
    for (Address at = range.begin; at < range.end;) {
      const target::Segment* segment = process.memory.Find(at);
      if (segment == nullptr) {
        at = (at + 4096) & ~Address{4095};
        continue;
      }
      const Address end = std::min(range.end, segment->range.end);
      const char* bytes = reinterpret_cast<const char*>(segment->bytes + (at - segment->range.begin));
      const std::size_t size = end - at;
      std::string_view all(bytes, size);
      for (std::size_t dot = all.find('.'); dot != std::string_view::npos; dot = all.find('.', dot + 1)) {
        if (dot == 0 || (all[dot - 1] != '2' && all[dot - 1] != '3') || (dot >= 2 && all[dot - 2] != '\0')) continue;
        const std::string_view text = all.substr(dot - 1, kLongest);
        PythonVersion version;
        const std::size_t used = ParseVersionText(text, version);
        if (used == 0 || !text.substr(used).starts_with(" (")) continue;
        const std::size_t length = std::min(text.find('\0'), text.size());
        if (text.substr(0, length).find('[') == std::string_view::npos) continue;
        return std::pair(version, std::string(text.substr(0, length)));
      }
      at = end;
    }
  }
  return std::nullopt;
}

// .PyRuntime [3.11+]: GENERATE_DEBUG_SECTION in Python/pylifecycle.c, pycore_debug_offsets.h.
std::optional<Address> RuntimeSection(const target::Module& module) {
  if (!module.file) return std::nullopt;
  for (const elf::Section& s : module.file->sections()) {
    if (s.name == ".PyRuntime" && s.address != 0) return s.address + static_cast<std::uint64_t>(module.load_bias);
  }
  return std::nullopt;
}

std::optional<Address> ScanCookie(const target::Process& process, const target::Module& module) {
  for (const AddressRange& range : WritableData(process, module)) {
    for (Address at = (range.begin + 7) & ~Address{7}; at < range.end;) {
      const target::Segment* segment = process.memory.Find(at);
      if (segment == nullptr) {
        at = (at + 4096) & ~Address{4095};
        continue;
      }
      const Address end = std::min(range.end, segment->range.end);
      const std::string_view all(reinterpret_cast<const char*>(segment->bytes + (at - segment->range.begin)), end - at);
      for (std::size_t hit = all.find("xdebugpy"); hit != std::string_view::npos; hit = all.find("xdebugpy", hit + 8)) {
        if (ReadDebugOffsetsHead(process.memory, at + hit)) return at + hit;
      }
      at = end;
    }
  }
  return std::nullopt;
}

constexpr std::uint64_t kWideHeadEvidence = 56;

// tp_basicsize of `object` is sizeof(PyObject) and stands at sizeof(PyVarObject) + 8: 16 at 32; with 16 more bytes of head, 32 at 48.
bool HasWideHead(const target::MemoryImage& memory, Address base_object_type) {
  const auto wide = memory.ReadValue<std::uint64_t>(base_object_type + 48), plain = memory.ReadValue<std::uint64_t>(base_object_type + 32);
  return wide && plain && *wide == 32 && *plain != 16;
}

constexpr std::size_t kVersionTextBytes = 16;  // "3.12.10rc2" and its NULs

// PY_VERSION, a constant of its own in the file of 2.7 to 3.10: "\0" "3.8.18" "\0". HEURISTIC: one that fits the series in the file's name. A wrong yes would need
// the version of another release of that series among the constants; the layouts of one series differ little.
std::optional<PythonVersion> VersionInConstants(const target::Module& module) {
  const auto series = NamedLikePython(module.path) ? SeriesOfName(module.path) : std::nullopt;
  if (!module.file || !series) return std::nullopt;
  const std::string wanted = fmt::format("{}.{}.", series->first, series->second);
  for (const elf::ProgramHeader& p : module.file->program_headers()) {
    if (p.type != kLoad || (p.flags & kWritable) != 0) continue;
    const auto bytes = module.file->BytesAt(p.address);
    const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    for (std::size_t at = all.find(wanted); at != std::string_view::npos; at = all.find(wanted, at + 1)) {
      if (at == 0 || all[at - 1] != '\0') continue;
      PythonVersion version;
      const std::string_view text = all.substr(at, kVersionTextBytes);
      const std::size_t used = ParseVersionText(text, version);
      if (used != 0 && used < text.size() && text[used] == '\0') return version;
    }
  }
  return std::nullopt;
}

// What the module's file says where its data in memory are missing.
bool IdentifyByFile(InterpreterSite& site) {
  const target::Module& module = *site.module;
  if (!module.file) return false;
  const auto bias = static_cast<std::uint64_t>(module.load_bias);
  if (const auto known = BuildOfId(module.file->build_id())) {
    site.version = known->version;
    site.flavor = known->flavor;
    site.explanation.push_back(fmt::format("version {} by build-id {}", site.version.text(), module.file->build_id()));
    return true;
  }
  if (const auto head = site.runtime != 0 ? ReadDebugOffsetsHead(module.file->BytesAt(site.runtime - bias)) : std::nullopt) {
    site.version = head->version;
    site.flavor.free_threaded = head->free_threaded;
    site.explanation.push_back(fmt::format("version {} from _Py_DebugOffsets in the file {}", site.version.text(), module.file->path()));
    return true;
  }
  const auto symbol = module.file->FindSymbol("Py_Version");
  const auto bytes = symbol && !symbol->is_undefined ? module.file->BytesAt(symbol->address) : std::span<const std::byte>();
  if (const std::uint64_t hex = bytes.size() < 8 ? 0 : LoadUnchecked<std::uint64_t>(bytes.data()); hex >> 24 == 3) {
    site.version = PythonVersion::FromHex(static_cast<std::uint32_t>(hex));
    site.explanation.push_back(fmt::format("version {} from Py_Version in the file {}", site.version.text(), module.file->path()));
  } else if (const auto version = VersionInConstants(module)) {
    site.version = *version;
    site.explanation.push_back(fmt::format("version {} from a constant in the file {}", site.version.text(), module.file->path()));
  } else {
    return false;
  }
  return true;
}

// The flavour as PyBaseObject_Type in memory shows it; by the file's symbols where that is missing.
void FindFlavor(const target::Process& process, InterpreterSite& site) {
  const target::Module& module = *site.module;
  const PythonVersion first_threaded{3, 13, 0, 0, 0};
  const auto base_object = SymbolAddress(module, "PyBaseObject_Type");
  bool wide = base_object && HasWideHead(process.memory, *base_object);
  if (base_object && process.memory.At(*base_object, kWideHeadEvidence) == nullptr) {
    if (const auto known = BuildOfId(module.file->build_id())) {
      wide = known->flavor.free_threaded || known->flavor.trace_refs;
    } else {  // CPython: Objects/object.c, under Py_GIL_DISABLED [3.13+]; under Py_TRACE_REFS [2.7-3.12]
      wide = SymbolAddress(module, site.version >= first_threaded ? "_Py_MergeZeroLocalRefcount" : "_Py_AddToAllObjects").has_value();
    }
  }
  if (wide && site.version >= first_threaded) site.flavor.free_threaded = true;
  if (wide && site.version < first_threaded) site.flavor.trace_refs = true;
  if (!module.file) {
    site.explanation.push_back("release build assumed: the module's file is missing");
  } else if (SymbolAddress(module, "_Py_NegativeRefcount")) {  // Py_REF_DEBUG
    site.flavor.debug = true;
  }
}

// Version and flavour of a module that has the runtime's symbols. False: no version to be found anywhere.
bool Identify(const target::Process& process, InterpreterSite& site) {
  const target::Module& module = *site.module;
  bool known = false;
  if (site.runtime != 0) {
    if (const auto head = ReadDebugOffsetsHead(process.memory, site.runtime)) {
      site.debug_offsets = site.runtime;
      site.version = head->version;
      site.flavor.free_threaded = head->free_threaded;
      site.explanation.push_back(fmt::format("version {} from _Py_DebugOffsets at {:#x}", site.version.text(), site.runtime));
      known = true;
    }
  }
  if (!known) {
    if (const auto symbol = SymbolAddress(module, "Py_Version")) {  // 3.11+
      if (const auto hex = process.memory.ReadValue<std::uint64_t>(*symbol); hex && *hex >> 24 == 3 && *hex >> 32 == 0) {
        site.version = PythonVersion::FromHex(static_cast<std::uint32_t>(*hex));
        site.explanation.push_back(fmt::format("version {} from Py_Version at {:#x}", site.version.text(), *symbol));
        known = true;
      }
    }
  }
  if (const auto buffer = ScanVersionBuffer(process, module)) {
    site.build_text = buffer->second;
    if (!known) {
      site.version = buffer->first;
      site.explanation.push_back(fmt::format("version {} from the text of Py_GetVersion", site.version.text()));
      known = true;
    } else if (buffer->first != site.version) {
      site.explanation.push_back(fmt::format("the text of Py_GetVersion says {}: not taken", buffer->first.text()));
    }
  }
  if (!known && !IdentifyByFile(site)) return false;

  FindFlavor(process, site);
  return true;
}

std::optional<InterpreterSite> SiteOf(const target::Process& process, const target::Module& module) {
  InterpreterSite site;
  site.module = &module;
  if (const auto runtime = SymbolAddress(module, "_PyRuntime")) {
    site.runtime = *runtime;
    site.explanation.push_back(fmt::format("_PyRuntime at {:#x} by symbol of {}", *runtime, module.path));
  } else if (const auto generation0 = SymbolAddress(module, "_PyGC_generation0")) {
    site.generation0_variable = *generation0;
    if (const auto head = SymbolAddress(module, "interp_head")) {
      site.interpreters_variable = *head;
      site.explanation.push_back(fmt::format("interp_head at {:#x} by symbol of {}", *head, module.path));
    } else if (const auto found = Accessors(process, module).Returned("PyInterpreterState_Head", 8)) {
      site.interpreters_variable = *found;
      site.explanation.push_back(fmt::format("interp_head at {:#x} by running the accessor PyInterpreterState_Head of {} (no symbol)", *found, module.path));
    }
  } else if (const auto section = RuntimeSection(module)) {
    site.runtime = *section;
    site.explanation.push_back(fmt::format("_PyRuntime at {:#x} by section .PyRuntime of {}", *section, module.path));
  } else if (const bool exports = SymbolAddress(module, "PyInterpreterState_Head").has_value(); exports || !module.file || module.file->symbols().empty()) {
    if (const auto cookie = ScanCookie(process, module)) {
      site.runtime = *cookie;
      site.explanation.push_back(fmt::format("_PyRuntime at {:#x} by the cookie of _Py_DebugOffsets in {}", *cookie, module.path));
    } else if (!exports && module.path.find(".cpython-") != std::string::npos) {
      return std::nullopt;  // an extension module
    }  // else what its memory says: the text of Py_GetVersion, whatever the file is called
  } else {
    return std::nullopt;
  }
  if (!Identify(process, site)) return std::nullopt;
  return site;
}

// The executable first: its symbols win over those of libraries. Then what is called python. Apart from these the rest, which is looked into only
// where they have nothing: reading the symbols of every library costs most of the start-up time.
std::array<std::vector<const target::Module*>, 2> ModulesByLikelihood(const target::Process& process) {
  std::array<std::vector<const target::Module*>, 2> groups;
  for (const target::Module& m : process.modules) {
    if (!m.is_elf) continue;
    if (!process.executable.empty() && m.path == process.executable) groups[0].insert(groups[0].begin(), &m);
    else groups[NamedLikePython(m.path) ? 0 : 1].push_back(&m);
  }
  return groups;
}

// True where the file of `program` asks the dynamic linker for the library at `path`: the CPython that a program is linked with is its own; others were loaded.
bool Needs(const elf::ElfFile& program, std::string_view path) {
  constexpr std::uint64_t kNeeded = 1, kStrings = 5, kEntryBytes = 16;  // DT_NEEDED, DT_STRTAB
  constexpr std::size_t kLongestName = 256;
  for (const elf::ProgramHeader& p : program.program_headers()) {
    if (p.type != kDynamic) continue;
    const auto entries = program.BytesAt(p.address);
    const std::uint64_t size = std::min<std::uint64_t>(entries.size(), p.file_size);
    std::uint64_t strings = 0;
    for (const bool names : {false, true}) {
      for (std::uint64_t at = 0; at + kEntryBytes <= size; at += kEntryBytes) {
        const auto tag = LoadUnchecked<std::uint64_t>(entries.data() + at), value = LoadUnchecked<std::uint64_t>(entries.data() + at + 8);
        if (tag == 0) break;
        if (!names && tag == kStrings) strings = value;
        if (!names || tag != kNeeded || strings == 0) continue;
        const auto text = program.BytesAt(strings + value);
        const std::string_view name(reinterpret_cast<const char*>(text.data()), std::min(text.size(), kLongestName));
        if (name.substr(0, name.find('\0')) == BaseName(path)) return true;
      }
    }
  }
  return false;
}

// What belongs to the main program first: it itself, then what it is linked with.
void SortByProgram(const target::Process& process, std::vector<InterpreterSite>& sites) {
  const auto program = std::find_if(process.modules.begin(), process.modules.end(),
                                    [&](const target::Module& m) { return m.file && !process.executable.empty() && m.path == process.executable; });
  if (program == process.modules.end()) return;
  std::stable_partition(sites.begin(), sites.end(), [&](const InterpreterSite& s) { return s.module == &*program || Needs(*program->file, s.module->path); });
}

}  // namespace

std::optional<Address> SymbolAddress(const target::Module& module, std::string_view name) {
  if (!module.file) return std::nullopt;
  const auto symbol = module.file->FindSymbol(name);
  if (!symbol || symbol->is_undefined || symbol->is_tls) return std::nullopt;
  return symbol->address + static_cast<std::uint64_t>(module.load_bias);
}

std::vector<AddressRange> WritableData(const target::Process& process, const target::Module& module) {
  std::vector<AddressRange> ranges;
  if (module.file) {
    for (const elf::ProgramHeader& p : module.file->program_headers()) {
      if (p.type != kLoad || (p.flags & kWritable) == 0 || p.memory_size > (1ull << 32)) continue;
      const Address begin = p.address + static_cast<std::uint64_t>(module.load_bias);
      ranges.push_back({begin, begin + p.memory_size});
    }
    return ranges;
  }
  constexpr std::uint64_t kMaxBss = 16u << 20;
  for (const target::Segment& segment : process.memory.segments()) {
    if (!segment.writable) continue;
    const auto inside = std::find_if(module.ranges.begin(), module.ranges.end(), [&](const AddressRange& r) {
      return segment.range.begin < r.end && r.begin < segment.range.end;
    });
    if (inside == module.ranges.end()) continue;
    AddressRange data{std::max(segment.range.begin, inside->begin), segment.range.end};
    // .bss continues the last writable mapping as anonymous memory.
    if (const target::Segment* next = process.memory.Find(data.end); next != nullptr && next->writable && next->module >= process.modules.size()) {
      data.end = std::min(next->range.end, data.end + kMaxBss);
    }
    ranges.push_back(data);
  }
  return ranges;
}

namespace {

// True for memory of a module's .bss that no core has because the process never wrote to it: it was zero. The kernel leaves out what was never touched
// (vma_dump_size() in fs/coredump.c: no anon_vma); that coredump_filter did not shut such memory out shows by a stack, which is of the same kind, and that the
// module never ran by PyType_Type in its .data, which PyType_Ready() of Objects/typeobject.c marks first of all [2.7-3.15].
bool WasNeverTouched(const target::Process& process, const Layout& layout, const target::Module& module, Address a) {
  if (process.kind != target::TargetKind::kCore || process.core_bytes_present < process.core_bytes_expected || process.may_be_wrong || !module.file) return false;
  const auto type = SymbolAddress(module, "PyType_Type");
  const auto flags = type ? TargetObjects(process.memory, layout).Get(*type, Field::PyTypeObject_tp_flags) : std::nullopt;
  if (!flags || (*flags & static_cast<std::uint64_t>(layout.Value(Constant::TPFLAGS_READY))) != 0) return false;
  const auto in = std::find_if(process.missing_ranges.begin(), process.missing_ranges.end(), [a](const target::MissingRange& m) { return m.range.Contains(a); });
  if (in == process.missing_ranges.end() || in->reason != target::MissingReason::kNotDumped || in->use != target::MissingUse::kUnknown || !in->writable) return false;
  const auto has_stack = [&](const target::Thread& t) { return t.has_registers && process.memory.Find(t.stack_pointer()) != nullptr; };
  if (process.threads.empty() || !std::all_of(process.threads.begin(), process.threads.end(), has_stack)) return false;
  const std::vector<AddressRange> data = WritableData(process, module);
  return std::any_of(data.begin(), data.end(), [&](const AddressRange& r) { return r.Contains(a, 8); });
}

}  // namespace

std::string LostState(const target::Process& process, const Layout& layout, const InterpreterSite& site) {
  const target::MemoryImage& memory = process.memory;
  const std::string of = " of " + site.module->path;
  const bool located = site.runtime != 0 || site.interpreters_variable != 0;
  if (!located) {
    const std::vector<AddressRange> data = WritableData(process, *site.module);
    const bool whole = std::all_of(data.begin(), data.end(), [&](const AddressRange& r) {
      Address at = r.begin;
      for (const target::Segment* s = memory.Find(at); at < r.end && s != nullptr; s = memory.Find(at)) at = s->range.end;
      return at >= r.end;
    });
    return whole ? std::string() : "the data" + of;
  }
  if (site.runtime != 0 && !layout.Has(Field::PyRuntimeState_interpreters_head)) return {};
  const Address variable = site.runtime != 0 ? site.runtime + layout.Offset(Field::PyRuntimeState_interpreters_head) : site.interpreters_variable;
  const auto head = memory.ReadPointer(variable);
  if (!head && WasNeverTouched(process, layout, *site.module, variable)) return {};
  if (!head) return fmt::format("{} at {:#x}{}", site.runtime != 0 ? "_PyRuntime" : "interp_head", site.runtime != 0 ? site.runtime : variable, of);
  if (*head != 0 && !memory.ReadPointer(*head + layout.Offset(Field::PyInterpreterState_next))) return fmt::format("the interpreter's state at {:#x}", *head);
  return {};
}

std::vector<InterpreterSite> FindInterpreterSites(const target::Process& process) {
  std::vector<InterpreterSite> sites;
  for (const auto& group : ModulesByLikelihood(process)) {
    for (const target::Module* m : group) {
      if (auto site = SiteOf(process, *m)) sites.push_back(std::move(*site));
    }
    if (!sites.empty()) break;
  }
  if (sites.size() > 1) SortByProgram(process, sites);
  return sites;
}

bool LacksFiles(const target::Process& process) {
  return std::any_of(process.modules.begin(), process.modules.end(), [](const target::Module& m) { return m.is_elf && (!m.file || m.file_path.empty() || !m.damage.empty()); });
}

std::string DescribeProgram(const target::Process& process) {
  std::string name = process.executable.empty() ? std::string("the program") : process.executable;
  static constexpr struct {
    std::string_view part;  // of a file's name
    const char* what;
  } kOthers[] = {{"pypy", "PyPy"}, {"graalpy", "GraalPy"}, {"libpythonvm", "GraalPy"}, {"micropython", "MicroPython"}};
  for (const target::Module& m : process.modules) {
    const std::string_view base = BaseName(m.path);
    for (const auto& other : kOthers) {
      if (base.starts_with(other.part) || (other.part == "pypy" && base.find(other.part) != std::string_view::npos))
        return fmt::format("{} is {} by the name of {}; pygc does not read its objects", name, other.what, m.path == name ? "its file" : m.path);
    }
  }
  std::size_t absent = 0;
  std::string example;
  for (const target::Module& m : process.modules) {
    if (m.is_elf && !m.file) {
      ++absent;
      if (example.empty() || NamedLikePython(m.path)) example = m.path;
    }
  }
  if (process.modules.empty()) return fmt::format("{}: the dump names no files, and no _Py_DebugOffsets were found", name);
  std::string text = fmt::format("{} has no CPython in it that could be found: none of its {} files defines _PyRuntime or _PyGC_generation0", name, process.modules.size());
  if (example.empty()) example = "one without a name";
  if (absent != 0) text += fmt::format("; {} of them could not be looked into, {} among them: -e EXE, --sysroot DIR or --module NAME=FILE may help", absent, example);
  for (const target::Module& m : process.modules) {
    if (m.match == target::ModuleMatch::kUnverifiable && NamedLikePython(m.path) && !m.file) {
      return fmt::format("{} may hold the CPython, but too little is in memory to tell whether {} is its file: --trust-file takes it for that", m.path, m.file_path);
    }
  }
  for (const target::Module& m : process.modules) {
    if (const auto series = SeriesOfName(m.path)) {
      if (m.file && !m.file->symbols().empty() && NamedLikePython(m.path)) {
        return fmt::format("{} only bears the name of CPython {}.{}: {} is here, has symbols, and defines none of those of an interpreter", name, series->first, series->second, m.path);
      }
      return fmt::format("{} looks like CPython {}.{} by the name of {}, but its runtime was not found; its file is {}", name, series->first, series->second, m.path,
                         m.file ? "here but has no symbols" : "missing: give --sysroot or --module NAME=FILE");
    }
  }
  return text;
}

}  // namespace pygc::cpython
