// See layout_resolver.h. CPython: Include/internal/pycore_debug_offsets.h [3.14+], pycore_runtime.h [3.13].
#include "core/cpython/layout_resolver.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <mutex>

#include "core/base/small_file.h"
#include "core/cpython/builtin_layouts.h"

namespace pygc::cpython {
namespace {

constexpr std::uint64_t kCookie = 0x7970677562656478ull;  // "xdebugpy"
constexpr std::size_t kHeadBytes = 24;                    // cookie, version, free_threaded
constexpr std::size_t kIntroductionBytes = 4096;          // of a layout's text: what stands before the first structure, build-ids among it
constexpr std::uint64_t kMaxOffset = 8u << 20;            // sizeof(PyInterpreterState) of 3.12 is 383,552

// What is left out (tp_repr, statuses, ...) nobody reads.
using F = Field;
using S = Struct;
constexpr DebugOffsetsRow kRows[] = {
    {F::DebugOffsets_runtime_state_size, F::kCount, S::PyRuntimeState},
    {F::DebugOffsets_runtime_state_interpreters_head, F::PyRuntimeState_interpreters_head},
    {F::DebugOffsets_interpreter_state_size, F::kCount, S::PyInterpreterState},
    {F::DebugOffsets_interpreter_state_id, F::PyInterpreterState_id},
    {F::DebugOffsets_interpreter_state_next, F::PyInterpreterState_next},
    {F::DebugOffsets_interpreter_state_threads_head, F::PyInterpreterState_threads_head},
    {F::DebugOffsets_interpreter_state_threads_main, F::PyInterpreterState_threads_main},
    {F::DebugOffsets_interpreter_state_gc, F::PyInterpreterState_gc},
    {F::DebugOffsets_interpreter_state_imports_modules, F::PyInterpreterState_modules},
    {F::DebugOffsets_interpreter_state_sysdict, F::PyInterpreterState_sysdict},
    {F::DebugOffsets_interpreter_state_builtins, F::PyInterpreterState_builtins},
    {F::DebugOffsets_thread_state_size, F::kCount, S::PyThreadState},
    {F::DebugOffsets_thread_state_prev, F::PyThreadState_prev},
    {F::DebugOffsets_thread_state_next, F::PyThreadState_next},
    {F::DebugOffsets_thread_state_interp, F::PyThreadState_interp},
    {F::DebugOffsets_thread_state_current_frame, F::PyThreadState_current_frame},
    {F::DebugOffsets_thread_state_thread_id, F::PyThreadState_thread_id},
    {F::DebugOffsets_thread_state_native_thread_id, F::PyThreadState_native_thread_id},
    {F::DebugOffsets_thread_state_datastack_chunk, F::PyThreadState_datastack_chunk},
    {F::DebugOffsets_thread_state_status, F::PyThreadState_status},
    {F::DebugOffsets_interpreter_frame_size, F::kCount, S::PyInterpreterFrame},
    {F::DebugOffsets_interpreter_frame_previous, F::PyInterpreterFrame_previous},
    {F::DebugOffsets_interpreter_frame_executable, F::PyInterpreterFrame_f_executable},
    {F::DebugOffsets_interpreter_frame_instr_ptr, F::PyInterpreterFrame_instr_ptr},
    {F::DebugOffsets_interpreter_frame_localsplus, F::PyInterpreterFrame_localsplus},
    {F::DebugOffsets_interpreter_frame_owner, F::PyInterpreterFrame_owner},
    {F::DebugOffsets_interpreter_frame_stackpointer, F::PyInterpreterFrame_stackpointer},
    {F::DebugOffsets_code_object_size, F::kCount, S::PyCodeObject},
    {F::DebugOffsets_code_object_filename, F::PyCodeObject_co_filename},
    {F::DebugOffsets_code_object_name, F::PyCodeObject_co_name},
    {F::DebugOffsets_code_object_qualname, F::PyCodeObject_co_qualname},
    {F::DebugOffsets_code_object_linetable, F::PyCodeObject_co_linetable},
    {F::DebugOffsets_code_object_firstlineno, F::PyCodeObject_co_firstlineno},
    {F::DebugOffsets_code_object_argcount, F::PyCodeObject_co_argcount},
    {F::DebugOffsets_code_object_localsplusnames, F::PyCodeObject_co_localsplusnames},
    {F::DebugOffsets_code_object_localspluskinds, F::PyCodeObject_co_localspluskinds},
    {F::DebugOffsets_code_object_co_code_adaptive, F::PyCodeObject_co_code_adaptive},
    {F::DebugOffsets_pyobject_size, F::kCount, S::PyObject},
    {F::DebugOffsets_pyobject_ob_type, F::PyObject_ob_type},
    {F::DebugOffsets_type_object_size, F::kCount, S::PyTypeObject},
    {F::DebugOffsets_type_object_tp_name, F::PyTypeObject_tp_name},
    {F::DebugOffsets_type_object_tp_flags, F::PyTypeObject_tp_flags},
    {F::DebugOffsets_tuple_object_size, F::kCount, S::PyTupleObject},
    {F::DebugOffsets_tuple_object_ob_item, F::PyTupleObject_ob_item},
    {F::DebugOffsets_tuple_object_ob_size, F::PyVarObject_ob_size},
    {F::DebugOffsets_list_object_size, F::kCount, S::PyListObject},
    {F::DebugOffsets_list_object_ob_item, F::PyListObject_ob_item},
    {F::DebugOffsets_list_object_ob_size, F::PyVarObject_ob_size},
    {F::DebugOffsets_set_object_size, F::kCount, S::PySetObject},
    {F::DebugOffsets_set_object_used, F::PySetObject_used},
    {F::DebugOffsets_set_object_table, F::PySetObject_table},
    {F::DebugOffsets_set_object_mask, F::PySetObject_mask},
    {F::DebugOffsets_dict_object_size, F::kCount, S::PyDictObject},
    {F::DebugOffsets_dict_object_ma_keys, F::PyDictObject_ma_keys},
    {F::DebugOffsets_dict_object_ma_values, F::PyDictObject_ma_values},
    {F::DebugOffsets_float_object_size, F::kCount, S::PyFloatObject},
    {F::DebugOffsets_float_object_ob_fval, F::PyFloatObject_ob_fval},
    {F::DebugOffsets_long_object_size, F::kCount, S::PyLongObject},
    {F::DebugOffsets_long_object_lv_tag, F::PyLongObject_lv_tag},
    {F::DebugOffsets_long_object_ob_digit, F::PyLongObject_ob_digit},
    {F::DebugOffsets_bytes_object_size, F::kCount, S::PyBytesObject},
    {F::DebugOffsets_bytes_object_ob_size, F::PyVarObject_ob_size},
    {F::DebugOffsets_bytes_object_ob_sval, F::PyBytesObject_ob_sval},
    {F::DebugOffsets_unicode_object_size, F::kCount, S::PyUnicodeObject},
    {F::DebugOffsets_unicode_object_state, F::PyASCIIObject_state},
    {F::DebugOffsets_unicode_object_length, F::PyASCIIObject_length},
    {F::DebugOffsets_unicode_object_asciiobject_size, F::kCount, S::PyASCIIObject},
    {F::DebugOffsets_gc_size, F::kCount, S::gc_runtime_state},
    {F::DebugOffsets_gc_collecting, F::gc_runtime_state_collecting},
    {F::DebugOffsets_gen_object_size, F::kCount, S::PyGenObject},
    {F::DebugOffsets_gen_object_gi_name, F::PyGenObject_gi_name},
    {F::DebugOffsets_gen_object_gi_iframe, F::PyGenObject_gi_iframe},
    {F::DebugOffsets_gen_object_gi_frame_state, F::PyGenObject_gi_frame_state},
};

struct Candidate {
  Layout layout;
  bool by_build_id = false, same_version = false, same_flavor = false;
  std::uint32_t distance = 0;  // in patch releases; higher releases after all lower ones
};

// "version 0x..." and "flavor ..." stand in the first lines: enough to tell whether a text is worth parsing.
bool SameSeries(std::string_view text, const BuildIdentity& build) {
  const std::string wanted = fmt::format("version 0x{:02x}{:02x}", build.version.major, build.version.minor);
  const std::string_view head = text.substr(0, 600);
  return head.find(wanted) != std::string_view::npos &&
         (head.find("\nflavor free-threaded") != std::string_view::npos) == build.flavor.free_threaded;
}

// The built-in layout of that number, read when it is first asked for: a process asks for the few of one series, again at every place that may be its runtime.
// nullptr: its text does not hold together.
const Layout* BuiltinLayout(std::size_t number) {
  struct Memo {
    std::once_flag once;
    std::optional<Layout> layout;
  };
  static std::vector<Memo>& memos = *new std::vector<Memo>(BuiltinLayoutTexts().size());
  Memo& memo = memos[number];
  std::call_once(memo.once, [&] {
    const LayoutText& t = BuiltinLayoutTexts()[number];
    if (Result<Layout> parsed = ParseLayout(t.text, t.name)) memo.layout.emplace(std::move(*parsed));
  });
  return memo.layout ? &*memo.layout : nullptr;
}

std::vector<Candidate> Candidates(const BuildIdentity& build) {
  std::vector<Candidate> all;
  for (std::size_t i = 0; i < BuiltinLayoutTexts().size(); ++i) {
    if (!SameSeries(BuiltinLayoutTexts()[i].text, build)) continue;
    const Layout* parsed = BuiltinLayout(i);
    if (parsed == nullptr || parsed->flavor.trace_refs != build.flavor.trace_refs) continue;
    Candidate c;
    c.layout = *parsed;
    const auto& ids = c.layout.build_ids;
    c.by_build_id = !build.build_id.empty() && std::find(ids.begin(), ids.end(), build.build_id) != ids.end();
    c.same_version = c.layout.version == build.version;
    c.same_flavor = c.layout.flavor == build.flavor;
    const int patches = static_cast<int>(build.version.micro) - static_cast<int>(c.layout.version.micro);
    c.distance = patches >= 0 ? static_cast<std::uint32_t>(patches) : 1000u + static_cast<std::uint32_t>(-patches);
    all.push_back(std::move(c));
  }
  std::stable_sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) {
    if (a.by_build_id != b.by_build_id) return a.by_build_id;
    if (a.distance != b.distance) return a.distance < b.distance;
    if (a.same_flavor != b.same_flavor) return a.same_flavor;
    return a.layout.variant < b.layout.variant;  // upstream first
  });
  return all;
}

void MarkNearest(Layout& layout) {
  for (std::size_t i = 0; i < static_cast<std::size_t>(Field::kCount); ++i) {
    FieldPlace place = layout.Place(static_cast<Field>(i));
    if (place.provenance == Provenance::kNone) continue;
    place.provenance = Provenance::kTableNearest;
    layout.Set(static_cast<Field>(i), place);
  }
}

std::string FlavorText(const BuildFlavor& flavor) {
  return fmt::format("{}{}{}", flavor.free_threaded ? "free-threaded" : "default", flavor.debug ? " debug" : "", flavor.trace_refs ? " trace-refs" : "");
}

// Facts of the user's file win over everything else.
Result<void> ApplyUserFile(const std::string& path, const BuildIdentity& build, LayoutChoice& choice) {
  constexpr std::size_t kMaxLayoutFile = 4u << 20;  // ours are 25 KiB
  const Result<std::string> text = ReadSmallFile(path, kMaxLayoutFile);
  if (!text) return Fail(text.error().code, "the layout file {} {}", path, text.error().message);
  const Result<Layout> user = ParseLayout(*text, path, Provenance::kUserFile);
  if (!user) return tl::unexpected(user.error());
  if (user->flavor.free_threaded != build.flavor.free_threaded) {
    return Fail(ErrorCode::kUsage, "the layout file {} is of a {} build, the process runs a {} one", path, FlavorText(user->flavor), FlavorText(build.flavor));
  }
  if (user->version != build.version) {
    choice.warnings.push_back(fmt::format("the layout file {} is of CPython {}, the process runs {}: taken as it is", path, user->version.text(), build.version.text()));
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(Field::kCount); ++i) {
    const auto f = static_cast<Field>(i);
    if (!user->Has(f)) continue;
    if (choice.layout.Has(f) && choice.layout.Offset(f) != user->Offset(f)) {
      choice.warnings.push_back(fmt::format("{}: {} says {}, {} says {}; taken: {}", FieldName(f), choice.layout.name, choice.layout.Offset(f), path,
                                            user->Offset(f), user->Offset(f)));
    }
    choice.layout.Set(f, user->Place(f));
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(Struct::kCount); ++i) {
    const auto s = static_cast<Struct>(i);
    if (user->Has(s)) choice.layout.SetSize(s, user->Size(s), Provenance::kUserFile);
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(Constant::kCount); ++i) {
    const auto c = static_cast<Constant>(i);
    if (user->Has(c)) choice.layout.Set(c, user->Value(c));
  }
  choice.explanation.push_back(fmt::format("layout file {} (given by --layout) wins over all other sources", path));
  return {};
}

}  // namespace

std::span<const DebugOffsetsRow> DebugOffsetsRows() noexcept { return kRows; }

std::optional<DebugOffsetsHead> ReadDebugOffsetsHead(const target::MemoryImage& memory, Address address) {
  std::array<std::byte, kHeadBytes> bytes{};
  const auto read = memory.Read(address, bytes);
  return read && *read == bytes.size() ? ReadDebugOffsetsHead(bytes) : std::nullopt;
}

std::optional<DebugOffsetsHead> ReadDebugOffsetsHead(std::span<const std::byte> bytes) {
  if (bytes.size() < kHeadBytes) return std::nullopt;
  const auto cookie = LoadUnchecked<std::uint64_t>(bytes.data()), version = LoadUnchecked<std::uint64_t>(bytes.data() + 8),
             threaded = LoadUnchecked<std::uint64_t>(bytes.data() + 16);
  if (cookie != kCookie || version >> 32 || threaded > 1) return std::nullopt;
  const DebugOffsetsHead head{PythonVersion::FromHex(static_cast<std::uint32_t>(version)), threaded == 1};
  if (head.version.major != 3 || head.version.minor < 13) return std::nullopt;
  return head;
}

std::optional<KnownBuild> BuildOfId(std::string_view build_id) {
  if (build_id.empty()) return std::nullopt;
  for (const LayoutText& t : BuiltinLayoutTexts()) {
    if (t.text.substr(0, kIntroductionBytes).find(build_id) == std::string_view::npos) continue;
    const Result<Layout> parsed = ParseLayout(t.text, t.name);
    if (!parsed || std::find(parsed->build_ids.begin(), parsed->build_ids.end(), build_id) == parsed->build_ids.end()) continue;
    return KnownBuild{parsed->version, parsed->flavor};
  }
  return std::nullopt;
}

bool ApplyDebugOffsets(const target::MemoryImage& memory, Address address, bool exact, Layout& layout, std::vector<std::string>& explanation,
                       std::vector<std::string>& warnings) {
  const auto head = ReadDebugOffsetsHead(memory, address);
  if (!head || !layout.Has(Struct::DebugOffsets)) return false;
  std::size_t agree = 0, changed = 0, refused = 0;
  for (const DebugOffsetsRow& row : kRows) {
    if (!layout.Has(row.member)) continue;
    const auto value = memory.ReadValue<std::uint64_t>(address + layout.Offset(row.member));
    if (!value || *value > kMaxOffset) {
      ++refused;
      warnings.push_back(fmt::format("_Py_DebugOffsets at {:#x}: {} is {}; ignored, the table's value is taken", address, FieldName(row.member),
                                     value ? fmt::format("{:#x}", *value) : "unreadable"));
      continue;
    }
    const auto number = static_cast<std::uint32_t>(*value);
    const bool is_field = row.field != Field::kCount;
    const bool known = is_field ? layout.Has(row.field) : layout.Has(row.size);
    const std::uint32_t before = is_field ? layout.Offset(row.field) : layout.Size(row.size);
    if (known && before == number) {
      ++agree;
    } else if (is_field || number != 0) {
      ++changed;
      if (exact && known) {
        warnings.push_back(fmt::format("{}: {} says {}, _Py_DebugOffsets of the process say {}; taken: {}",
                                       is_field ? FieldName(row.field) : StructName(row.size), layout.name, before, number, number));
      }
    }
    if (is_field) {
      FieldPlace place = layout.Place(row.field);
      place.offset = number;
      if (place.bytes == 0) place.bytes = 8;
      place.provenance = Provenance::kDebugOffsets;
      layout.Set(row.field, place);
    } else if (number != 0) {
      layout.SetSize(row.size, number, Provenance::kDebugOffsets);
    }
  }
  explanation.push_back(fmt::format("_Py_DebugOffsets at {:#x} ({}): {} numbers agree with the table, {} override it, {} are not plausible", address,
                                    head->version.text(), agree, changed, refused));
  return true;
}

Result<LayoutChoice> ResolveLayout(const BuildIdentity& build, const target::MemoryImage& memory, const LayoutTest& test,
                                   const std::string& user_layout_file) {
  LayoutChoice best;
  bool have_best = false;
  for (Candidate& c : Candidates(build)) {
    LayoutChoice choice;
    const bool exact = c.by_build_id || c.same_version;
    const std::string of = c.layout.variant.empty() ? "" : fmt::format(" with {}'s patches", c.layout.variant);
    if (c.by_build_id) {
      choice.explanation.push_back(fmt::format("layout {}: derived from this very build (build-id {})", c.layout.name, build.build_id));
    } else if (c.same_version) {
      choice.explanation.push_back(fmt::format("layout {}: table of CPython {}{}", c.layout.name, build.version.text(), of));
    } else {
      choice.explanation.push_back(fmt::format("layout {}: no table of CPython {}; the nearest {} release's is taken", c.layout.name, build.version.text(),
                                               c.distance < 1000 ? "lower" : "higher"));
    }
    if (!c.same_flavor && !c.by_build_id) {
      choice.explanation.push_back(fmt::format("no layout of a {} build; that of a {} one is taken", FlavorText(build.flavor), FlavorText(c.layout.flavor)));
    }
    if (!exact) MarkNearest(c.layout);
    choice.layout = std::move(c.layout);
    // gc.size tells the collectors of one series apart (3.14.0 - 3.14.4 against 3.14.5+), so it is compared before it is overridden.
    const std::uint32_t gc_size = choice.layout.Size(Struct::gc_runtime_state);
    if (build.debug_offsets != 0) {
      ApplyDebugOffsets(memory, build.debug_offsets, exact && c.same_flavor, choice.layout, choice.explanation, choice.warnings);
    }
    choice.fits = gc_size == choice.layout.Size(Struct::gc_runtime_state) && test(choice.layout);
    choice.certain = c.by_build_id;
    if (choice.fits || !have_best) {
      const bool done = choice.fits || choice.certain;
      best = std::move(choice);
      have_best = true;
      if (done) break;
    }
  }
  if (!have_best && user_layout_file.empty()) {
    return Fail(ErrorCode::kUnsupported,
                "CPython {} ({} build) is not one that pygc has a layout of; derive one from a build with debug information "
                "(scripts/gen_layout.py write --python PATH) and give it with --layout FILE",
                build.version.text(), FlavorText(build.flavor));
  }
  if (!user_layout_file.empty()) {
    if (!have_best) best.layout.name = user_layout_file;
    if (const Result<void> applied = ApplyUserFile(user_layout_file, build, best); !applied) return tl::unexpected(applied.error());
    best.fits = test(best.layout);
  }
  best.layout.version = build.version;
  best.layout.flavor = build.flavor;
  return best;
}

}  // namespace pygc::cpython
