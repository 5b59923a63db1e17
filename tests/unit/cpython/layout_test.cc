// Layout files: the parser, and the sanity of every built-in one. That they say what the builds say is held by `scripts/gen_layout.py check`.
#include "core/cpython/layout.h"

#include <doctest/doctest.h>

#include <string>

#include "core/cpython/builtin_layouts.h"

namespace pygc::cpython {
namespace {

using F = Field;
using S = Struct;
using C = Constant;

constexpr std::string_view kHead = "version 0x030c01f0\nflavor default\n";

std::string ErrorOf(const std::string& text) {
  const auto parsed = ParseLayout(text, "test");
  return parsed ? std::string("parsed") : parsed.error().message;
}

// Structures that begin with an object head: nothing of theirs may lie in it.
constexpr S kObjects[] = {S::PyListObject,     S::PyTupleObject,  S::PyDictObject,          S::PySetObject,        S::PyFunctionObject,  S::PyMethodObject,
                          S::PyCFunctionObject, S::PyCellObject,  S::PyModuleObject,        S::PyWeakReference,    S::PyFrameObject,     S::PyCodeObject,
                          S::PyGenObject,      S::PyTypeObject,   S::PyBaseExceptionObject, S::PyTracebackObject,  S::propertyobject,    S::classmethod,
                          S::staticmethod,     S::PyDescrObject,  S::dequeobject,           S::partialobject,      S::PySliceObject,     S::defdictobject,
                          S::PyODictObject,    S::PyLongObject,   S::PyFloatObject,         S::PyBytesObject,      S::PyMemoryViewObject};

}  // namespace

TEST_CASE("a layout file gives sizes, fields and constants") {
  const auto layout = ParseLayout(std::string(kHead) + "# comment\nPyListObject 40\nPyListObject.ob_item  24 8  # where\n\nFRAME_CLEARED = 4\nGC_REFS_UNTRACKED = -2\n", "x");
  REQUIRE(layout);
  CHECK(layout->version.text() == "3.12.1");
  CHECK_FALSE(layout->flavor.free_threaded);
  CHECK(layout->Size(S::PyListObject) == 40);
  CHECK(layout->Offset(F::PyListObject_ob_item) == 24);
  CHECK(layout->Width(F::PyListObject_ob_item) == 8);
  CHECK(layout->Place(F::PyListObject_ob_item).provenance == Provenance::kTableExact);
  CHECK(layout->Value(C::FRAME_CLEARED) == 4);
  CHECK(layout->Value(C::GC_REFS_UNTRACKED) == -2);
  CHECK_FALSE(layout->Has(F::PyListObject_allocated));
  CHECK_FALSE(layout->Has(C::FRAME_CREATED));
  CHECK(layout->Value(C::FRAME_CREATED, 9) == 9);
}

TEST_CASE("flavours are told apart") {
  const auto layout = ParseLayout("version 0x020712f0\nflavor default debug trace-refs\nvariant debian\nbuild-id ab12\ntried no\n", "x");
  REQUIRE(layout);
  CHECK(layout->flavor == BuildFlavor{false, true, true});
  CHECK(layout->variant == "debian");
  CHECK(layout->build_ids == std::vector<std::string>{"ab12"});
  CHECK_FALSE(layout->tried);
}

TEST_CASE("a wrong line is named with its number") {
  const std::string head(kHead);
  CHECK(ErrorOf(head + "PyListObject.no_such 1 2\n") == "layout test, line 3: no such field in layout_schema.def: 'PyListObject.no_such 1 2'");
  CHECK(ErrorOf(head + "NoSuch 1\n").find("line 3: no such structure") != std::string::npos);
  CHECK(ErrorOf(head + "NO_SUCH = 1\n").find("line 3: no such constant") != std::string::npos);
  CHECK(ErrorOf(head + "PyListObject.ob_item 24\n").find("an offset and a width") != std::string::npos);
  CHECK(ErrorOf(head + "PyListObject.ob_item -8 8\n").find("an offset and a width") != std::string::npos);
  CHECK(ErrorOf(head + "PyListObject.ob_item 24 8 9\n").find("an offset and a width") != std::string::npos);
  CHECK(ErrorOf(head + "PyListObject.ob_item 99999999 8\n").find("beyond 64 MiB") != std::string::npos);
  CHECK(ErrorOf(head + "PyListObject.ob_item 24 44444444\n").find("wider than 1 MiB") != std::string::npos);
  CHECK(ErrorOf(head + "PyListObject.ob_item 99999999999999999999 8\n").find("an offset and a width") != std::string::npos);
  CHECK(ErrorOf(head + "FRAME_CLEARED = four\n").find("a number is wanted") != std::string::npos);
  CHECK(ErrorOf("version 3.12\nflavor default\n").find("PY_VERSION_HEX") != std::string::npos);
  CHECK(ErrorOf("version 0x1\nflavor strange\n").find("flavor is") != std::string::npos);
  CHECK(ErrorOf("flavor default\n").find("no line 'version") != std::string::npos);
  CHECK(ErrorOf("version 0x030c01f0\n").find("no line 'flavor") != std::string::npos);
  CHECK(ErrorOf("").find("no line 'version") != std::string::npos);
}

TEST_CASE("no text makes the parser fail in another way than an error") {
  std::string text(BuiltinLayoutTexts().front().text.substr(0, 400));
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (const char c : {'\0', '\n', '.', '=', '9', '\xff'}) {
      std::string changed = text;
      changed[i] = c;
      (void)ParseLayout(changed, "mutated");
      (void)ParseLayout(std::string_view(changed).substr(0, i), "cut");
    }
  }
}

TEST_CASE("versions as text") {
  CHECK(PythonVersion::FromHex(0x030f00c2).text() == "3.15.0rc2");
  CHECK(PythonVersion::FromHex(0x030d00a6).text() == "3.13.0a6");
  CHECK(PythonVersion::FromHex(0x020712f0).text() == "2.7.18");
  CHECK(PythonVersion::FromHex(0x030e0af0).hex() == 0x030e0af0);
  CHECK(PythonVersion::FromHex(0x030e0af0) > PythonVersion::FromHex(0x030e08f0));
}

TEST_CASE("every built-in layout parses") {
  REQUIRE(BuiltinLayoutTexts().size() >= 38);
  for (const LayoutText& t : BuiltinLayoutTexts()) {
    const auto layout = ParseLayout(t.text, t.name);
    CHECK_MESSAGE(layout, std::string(t.name), layout ? "" : layout.error().message);
  }
  CHECK(BuiltinLayouts().size() == BuiltinLayoutTexts().size());
}

TEST_CASE("every built-in layout has what readers cannot do without") {
  constexpr F kAlways[] = {F::PyObject_ob_type,          F::PyVarObject_ob_size,     F::PyTypeObject_tp_name,      F::PyTypeObject_tp_basicsize,
                           F::PyTypeObject_tp_itemsize,  F::PyTypeObject_tp_flags,   F::PyTypeObject_tp_traverse,  F::PyTypeObject_tp_is_gc,
                           F::PyTypeObject_tp_base,      F::PyTypeObject_tp_dict,    F::PyTypeObject_tp_dictoffset, F::PyTypeObject_tp_weaklistoffset,
                           F::PyTypeObject_tp_bases,     F::PyTypeObject_tp_mro,     F::PyTypeObject_tp_cache,     F::PyTypeObject_tp_del,
                           F::PyHeapTypeObject_ht_name,  F::PyHeapTypeObject_ht_slots, F::PyMemberDef_type,        F::PyMemberDef_offset,
                           F::PyMemberDef_name,          F::PyMethodDef_ml_flags,    F::PyMethodDef_ml_meth,       F::PyListObject_ob_item,
                           F::PyTupleObject_ob_item,     F::PySetObject_mask,        F::PySetObject_table,         F::setentry_key,
                           F::PyFunctionObject_func_code, F::PyFunctionObject_func_globals, F::PyFunctionObject_func_closure, F::PyMethodObject_im_func,
                           F::PyMethodObject_im_self,    F::PyCFunctionObject_m_ml,  F::PyCFunctionObject_m_self,  F::PyCFunctionObject_m_module,
                           F::PyCellObject_ob_ref,       F::propertyobject_prop_get, F::classmethod_cm_callable,   F::staticmethod_sm_callable,
                           F::PyDescrObject_d_type,      F::partialobject_fn,        F::PyModuleObject_md_dict,    F::PyWeakReference_wr_object,
                           F::PyWeakReference_wr_callback, F::PySliceObject_start,   F::PyFrameObject_f_back,      F::PyFrameObject_f_trace,
                           F::PyCodeObject_co_name,      F::PyCodeObject_co_filename, F::PyCodeObject_co_linetable, F::PyCodeObject_co_consts,
                           F::PyTracebackObject_tb_next, F::PyTracebackObject_tb_frame, F::PyBaseExceptionObject_args, F::dequeobject_leftblock,
                           F::dequeblock_data,           F::dequeblock_rightlink,    F::defdictobject_default_factory, F::PyInterpreterState_next,
                           F::PyInterpreterState_threads_head, F::PyInterpreterState_modules, F::PyInterpreterState_sysdict, F::PyInterpreterState_builtins,
                           F::PyThreadState_next,        F::PyThreadState_interp,    F::PyThreadState_thread_id,   F::arena_object_address,
                           F::pool_header_ref_count,     F::PyLongObject_ob_digit,   F::PyFloatObject_ob_fval,     F::PyBytesObject_ob_sval,
                           F::mappingproxyobject_mapping, F::superobject_obj,        F::wrapperobject_descr};
  for (const Layout& layout : BuiltinLayouts()) {
    INFO(layout.name);
    const PythonVersion v = layout.version;
    const auto since = [&](std::uint8_t minor) { return v.major == 3 && v.minor >= minor; };
    for (const F f : kAlways) CHECK_MESSAGE(layout.Has(f), layout.name, ": ", std::string(FieldName(f)));
    CHECK(layout.Has(S::PyGC_Head) != layout.flavor.free_threaded);
    CHECK(layout.Has(F::PyObject_ob_gc_bits) == layout.flavor.free_threaded);
    CHECK(layout.Has(F::PyObject_ob_refcnt) != layout.flavor.free_threaded);
    CHECK(layout.Has(F::PyTypeObject_tp_finalize) == (v.major == 3));
    CHECK(layout.Has(F::PyInstanceObject_in_dict) == (v.major == 2));
    CHECK(layout.Has(F::PyDictObject_ma_table) == (v.major == 2));
    CHECK(layout.Has(F::PyDictObject_ma_keys) == (v.major == 3));
    CHECK(layout.Has(F::PyRuntimeState_interpreters_head) == since(7));
    CHECK(layout.Has(F::PyInterpreterState_gc) == since(9));
    CHECK(layout.Has(F::gc_runtime_state_collecting) == since(7));
    CHECK(layout.Has(F::PyInterpreterFrame_localsplus) == since(11));
    CHECK(layout.Has(F::PyGenObject_gi_iframe) == since(11));
    CHECK(layout.Has(C::FRAME_CLEARED) == since(10));
    CHECK(layout.Has(F::PyDictKeysObject_dk_kind) == since(11));
    CHECK(layout.Has(F::PyDictValues_embedded) == since(13));
    CHECK(layout.Has(C::RULE_INLINE_VALUES_AT) == since(13));
    CHECK(layout.Has(C::MANAGED_DICT_OFFSET) == since(11));
    CHECK(layout.Has(F::DebugOffsets_gc_collecting) == since(13));
    CHECK(layout.Has(F::PyTupleObject_ob_hash) == since(14));
    CHECK(layout.Has(C::STACKREF_TAGGED) == since(14));
    CHECK(layout.Has(F::PyModuleObject_md_def) == (v.major == 3 && !since(15)));
    CHECK(layout.Has(F::PyModuleObject_md_state_traverse) == since(15));
    CHECK(layout.Value(C::REFCOUNT_FORMAT) == (layout.flavor.free_threaded ? 3 : since(14) ? 2 : since(12) ? 1 : 0));
    // The two rules for split tables exclude each other.
    CHECK(!(layout.Has(C::RULE_DICT_SKIPS_EMBEDDED_VALUES) && layout.Has(C::RULE_MANAGED_DICT_PREFERS_DICT)));
    CHECK((layout.Has(C::RULE_DICT_SKIPS_EMBEDDED_VALUES) || layout.Has(C::RULE_MANAGED_DICT_PREFERS_DICT)) == since(13));
    CHECK((layout.Value(C::GC_COLLECTOR) == 1) == (!layout.flavor.free_threaded && since(14) && v.minor == 14 && v.micro <= 4));
  }
}

TEST_CASE("every built-in layout adds up") {
  for (const Layout& layout : BuiltinLayouts()) {
    INFO(layout.name);
    CHECK(layout.name.find(layout.version.text()) != std::string::npos);
    const std::uint32_t head = layout.flavor.free_threaded || layout.flavor.trace_refs ? 32 : 16;
    CHECK(layout.Size(S::PyObject) == head);
    CHECK(layout.Size(S::PyVarObject) == head + 8);
    CHECK(layout.Offset(F::PyObject_ob_type) == head - 8);
    CHECK(layout.Offset(F::PyVarObject_ob_size) == head);
    if (layout.Has(S::PyGC_Head)) CHECK(layout.Size(S::PyGC_Head) == (layout.version >= PythonVersion::FromHex(0x03080000) ? 16u : 32u));
    for (std::size_t i = 0; i < static_cast<std::size_t>(F::kCount); ++i) {
      const auto f = static_cast<F>(i);
      if (!layout.Has(f)) continue;
      INFO(std::string(FieldName(f)));
      const std::uint32_t size = layout.Size(StructOf(f));
      CHECK(layout.Has(StructOf(f)));
      if (size != 0) CHECK(layout.Offset(f) + layout.Width(f) <= size);
      if (KindOf(f) == FieldKind::kPointer) CHECK(layout.Width(f) == 8);
      if (KindOf(f) == FieldKind::kUnsigned) CHECK((layout.Width(f) == 1 || layout.Width(f) == 2 || layout.Width(f) == 4 || layout.Width(f) == 8));
    }
    for (const S s : kObjects) {
      for (std::size_t i = 0; i < static_cast<std::size_t>(F::kCount); ++i) {
        const auto f = static_cast<F>(i);
        if (StructOf(f) == s && layout.Has(f)) CHECK_MESSAGE(layout.Offset(f) >= head, layout.name, ": ", std::string(FieldName(f)));
      }
    }
  }
}

TEST_CASE("free-threaded objects are the default ones, 16 bytes further") {
  // Known exceptions are structures that gained members; these did not. CPython: PyObject_HEAD is 32 bytes there.
  constexpr F kShifted[] = {F::PyListObject_ob_item, F::PyDictObject_ma_values, F::PySetObject_table, F::PyCellObject_ob_ref, F::PyMethodObject_im_self,
                            F::PyBaseExceptionObject_cause, F::dequeobject_leftblock, F::PyODictObject_od_inst_dict, F::partialobject_kw,
                            F::PyTypeObject_tp_dict, F::PyGenObject_gi_name, F::PyTracebackObject_tb_frame, F::classmethod_cm_dict};
  int pairs = 0;
  for (const Layout& t : BuiltinLayouts()) {
    if (!t.flavor.free_threaded) continue;
    for (const Layout& d : BuiltinLayouts()) {
      if (d.flavor.free_threaded || d.flavor.debug || d.version != t.version || !d.variant.empty()) continue;
      ++pairs;
      for (const F f : kShifted) CHECK_MESSAGE(t.Offset(f) == d.Offset(f) + 16, t.name, ": ", std::string(FieldName(f)));
    }
  }
  CHECK(pairs >= 8);
}

TEST_CASE("facts that were verified on running processes stand in the files") {
  const auto find = [](std::string_view name) -> const Layout& {
    for (const Layout& l : BuiltinLayouts()) {
      if (l.name == name) return l;
    }
    throw std::logic_error(std::string(name));
  };
  CHECK(find("cpython-3.13.5-debian-default-lp64").Offset(F::gc_runtime_state_generations) == 20);
  CHECK(find("cpython-3.13.5-default-lp64").Offset(F::gc_runtime_state_generations) == 24);
  CHECK(find("cpython-3.15.2-default-lp64").Offset(F::gc_runtime_state_generations) == 8);
  CHECK(find("cpython-3.15.2-default-lp64").Value(C::FRAME_CLEARED) == 5);
  CHECK(find("cpython-3.10.13-default-lp64").Offset(F::PyFunctionObject_func_code) == 48);
  CHECK(find("cpython-2.7.18-default-lp64").Offset(F::setentry_key) == 8);
  CHECK(find("cpython-2.7.18-default-debug-trace-refs-lp64").Offset(F::PyObject_ob_refcnt) == 16);
  CHECK(find("cpython-3.14.0-default-lp64").Size(S::gc_runtime_state) == 240);
  CHECK(find("cpython-3.14.5-default-lp64").Size(S::gc_runtime_state) == 264);
  CHECK(find("cpython-3.13.5-free-threaded-lp64").Offset(F::PyThreadStateImpl_mimalloc) == 344);
  CHECK(find("cpython-3.14.10-free-threaded-lp64").Size(S::mi_heap) == 3088);
  CHECK(find("cpython-3.14.8-free-threaded-lp64").Size(S::mi_heap) == 3064);
  CHECK(find("cpython-3.14.4-free-threaded-lp64").Offset(F::PyHeapTypeObject_unique_id) == 952);
}

}  // namespace pygc::cpython
