#include "core/cpython/known_counts.h"

namespace pygc::cpython {

namespace {

struct Entry {
  std::uint16_t from, to;  // (major << 8 | minor), both included
  KnownSurplus surplus;
};

// Traced in CPython's sources, and Cython's (Utility code of extension types; __Pyx_InitCachedConstants).
constexpr std::uint16_t V(unsigned major, unsigned minor) { return static_cast<std::uint16_t>(major << 8 | minor); }

constexpr Entry kEntries[] = {
    {V(3, 6), V(3, 6), {"str", "", "__init__", 1, "Python/import.c, _PyImport_Init(): the name is kept in a static variable that nothing reads, so that the compiler drops its place"}},
    {V(3, 6), V(3, 8), {"module", "_warnings", "", 1, "Python/pylifecycle.c: the module that _PyWarnings_Init() returns is never released"}},
    {V(3, 6), V(3, 8), {"module", "builtins", "", 1, "Python/pylifecycle.c: the module that _PyBuiltin_Init() returns is never released (3.8: in pycore_init_builtins())"}},
    {V(3, 6), V(3, 8), {"module", "sys", "", 1, "Python/pylifecycle.c: the module that _PySys_Init() (3.8: _PySys_Create()) gives out is never released"}},
    {V(3, 7), V(3, 8), {"str", "", "__main__", kAnyNumber, "Python/_warnings.c, create_filter(): the module's name is put into the filter and not released, once for each interpreter that is made"}},
    {V(3, 6), V(3, 8), {"str", "", "importlib", 1, "Python/_warnings.c, is_internal_frame(): a fresh static string gets a second reference that nobody releases"}},
    {V(3, 6), V(3, 8), {"str", "", "_bootstrap", 1, "Python/_warnings.c, is_internal_frame(): a fresh static string gets a second reference that nobody releases"}},
    {V(2, 7), V(2, 7), {"long", "['SEM_VALUE_MAX']", "", 1, "Modules/_multiprocessing/multiprocessing.c, init_multiprocessing(): the value is put into a dict and not released"}},
    {V(2, 7), V(3, 9), {"int", "['SEM_VALUE_MAX']", "", 1, "Modules/_multiprocessing/multiprocessing.c, PyInit__multiprocessing(): the value is put into a dict and not released"}},
    {V(2, 7), V(2, 7), {"module", "['__builtin__']", "", 1, "Modules/cPickle.c, init_stuff(): the imported module is put into a dict and not released"}},
    {V(2, 7), V(2, 7), {"dict", "", "", 1, "Modules/_elementtree.c, init_elementtree(): the globals of its Python part are never released", KnownSurplus::Shape::kAny, "['PIProxy']"}},
    {V(3, 8), V(3, 12), {"type", "_testcapi.HeapCType", "", 1, "Modules/_testcapi, heaptype.c: the class is put into a tuple of bases and not released"}},
    {V(3, 12), V(3, 12), {"type", "_testcapi.LimitedVectorCallClass", "", 1, "Modules/_testcapi, vectorcall_limited.c: PyModule_AddType() makes a reference of its own"}},
    {V(3, 11), V(3, 11), {"decimal.Context", "['ExtendedContext']", "", 1, "Modules/_decimal/_decimal.c, PyInit__decimal(): Py_INCREF() and PyModule_AddObjectRef() each make a reference for one place"}},
    {V(3, 9), V(3, 9), {"type", "select.poll", "", 1, "Modules/selectmodule.c, PyInit_select(): the reference that PyType_FromSpec() gave goes into the module's state, with a second one"}},
    {V(3, 9), V(3, 11), {"", "", "", kAnyNumber, "Modules/gcmodule.c, gc_fini_untrack(): an interpreter that ends gives each object that its collector still tracks one reference more, so that it lives for ever (gh-92036)",
                         KnownSurplus::Shape::kLeftUntracked}},
    {V(3, 7), V(3, 12), {"", "", "", kAnyNumber, "Python/import.c, _PyImport_FindExtensionObject(), after PyInterpreterState_ClearModules() dropped m_copy: a module without m_slots is initialised again in the next "
                         "interpreter, its static variables get other objects, and those of the interpreter that ended are not released", KnownSurplus::Shape::kReplacedStatic}},
};

}  // namespace

std::vector<KnownSurplus> KnownSurpluses(const PythonVersion& version) {
  std::vector<KnownSurplus> result;
  const std::uint16_t v = V(version.major, version.minor);
  for (const Entry& e : kEntries) {
    if (v >= e.from && v <= e.to) result.push_back(e.surplus);
  }
  // Of every release: what Cython puts into the modules that it makes.
  result.push_back({"wrapper_descriptor", "", "", 1, "Cython: the slot wrapper that it looks up at import, to give it another docstring, is not released", KnownSurplus::Shape::kForeignWrapper});
  result.push_back({"method_descriptor", "", "", 1, "Cython, ModuleNode.py, generate_type_ready_code(): the descriptor of a special method that has a docstring is looked up at import and not released",
                    KnownSurplus::Shape::kForeignSpecial});
  result.push_back({"", "", "", 1, "Cython, ExprNodes.py, PyCFunctionNode.generate_cyfunction_code(): a method that uses super() or __class__ is kept once more for PyList_Append(), which keeps it itself",
                    KnownSurplus::Shape::kCythonMethod});
  result.push_back({"code", "", "", 1, "Cython: the code object of a function is made at import and kept for ever, for tracebacks", KnownSurplus::Shape::kCythonCode});
  result.push_back({"tuple", "", "", 1, "Cython: the names of a function's variables, made at import for its code object, and constants that nothing reads, are kept for ever", KnownSurplus::Shape::kCythonNames});
  for (const char* type : {"int", "slice"}) {
    result.push_back({type, "", "", 1, "Cython, __Pyx_InitCachedConstants(), __Pyx_InitConstants(): a constant is made at import for a static variable; where nothing else reads that, the C compiler drops its place",
                      std::string_view(type) == "int" ? KnownSurplus::Shape::kCythonNumber : KnownSurplus::Shape::kCythonSlice});
  }
  result.push_back({"tuple", "", "", 1, "NumPy, dispatching.c, install_logical_ufunc_promoter(), PyUFunc_AddPromoter(), PyUFunc_AddLoopFromSpec(): the entry that is appended to the ufunc's loops is not released",
                    KnownSurplus::Shape::kNumpyPromoter});
  result.push_back({"numpy._DTypeMeta", "", "", 1, "NumPy, convert_datatype.c, PyArray_InitializeNumericCasts(): the DType of each number that is cast from is not released"});
  for (const char* place : {"['equal']", "['not_equal']", "['less']", "['less_equal']", "['greater']", "['greater_equal']"}) {
    result.push_back({"numpy.ufunc", place, "", 1, "NumPy, special_integer_comparisons.cpp, add_dtype_loops(): returns before the ufunc that it looked up is released", KnownSurplus::Shape::kAny, {}, "/_multiarray_umath."});
  }
  result.push_back({"float", "", "", kAnyNumber, "NumPy, legacy_array_method.c, PyArray_NewLegacyWrappingArrayMethod(): the ufunc's identity is asked for with each loop, and not released",
                    KnownSurplus::Shape::kUfuncIdentity});
  result.push_back({"module", "pandas", "", 2, "pandas, pd_datetime.c, pandas_datetime_exec(), and pd_parser.c, pandas_parser_exec(): the imported module is not released", KnownSurplus::Shape::kAny, {}, "/pandas/_libs/pandas_"});
  for (const char* type : {"numpy.ufunc", "tuple", "dict"}) {
    result.push_back({type, "", "", 1, "SciPy, _special_ufuncs.cpp and _gufuncs.cpp: what is made for the module is given to PyModule_AddObjectRef(), and not released",
                      std::string_view(type) == "numpy.ufunc" ? KnownSurplus::Shape::kAny : KnownSurplus::Shape::kOfUfuncs, {}, "/scipy/special/_special_ufuncs."});
  }
  result.push_back({"numpy.ufunc", "", "", 1, "Shapely, ufuncs.c, the macros DEFINE_...: each ufunc is put into the module's dict and not released", KnownSurplus::Shape::kAny, {}, "/shapely/lib."});
  result.push_back({"type", "_fitpack.error", "", 1, "SciPy, __fitpack.cc, PyInit__fitpack(): the class is put into the module's dict and not released", KnownSurplus::Shape::kAny, {}, "/scipy/interpolate/_fitpack."});
  result.push_back({"weakref.ReferenceType", "", "", 1, "pybind11, detail/type_caster_base.h, all_type_info_get_cache(): the weak reference that tells of the end of a class is let go of, to release itself then",
                    KnownSurplus::Shape::kPybindWeakref});
  result.push_back({"type", "", "", kAnyNumber, "PyO3, pycell/impl_.rs, tp_dealloc() (its issue 6223): the reference that each instance has to its class is not released with it", KnownSurplus::Shape::kPyo3Type});
  result.push_back({"", "", "", 1, "PyO3, impl_/pyclass/lazy_type_object.rs, initialize_tp_dict(): each attribute of a class is given to PyObject_SetAttrString(), and not released", KnownSurplus::Shape::kPyo3Attribute});
  result.push_back({"", "", "", 1, "PyGObject, pygenum.c, pyg_enum_add(): each value is put into __enum_values__ and not released", KnownSurplus::Shape::kGEnumValue});
  result.push_back({"gi._gi.GPropsDescr", "['props']", "", 1, "PyGObject, pygobject-object.c, pygobject_object_register_types(): the descriptor is put into GObject's dict and not released"});
  result.push_back({"gi.types.GObjectMeta", "", "", kAnyNumber,
                    "PyGObject, pygobject-object.c, pygobject_new_full(): takes a reference to the class of each wrapper that it makes, as PyObject_GC_New() does from 3.8 on"});
  result.push_back({"gi.types.StructMeta", "gi.repository.GLib.VariantType", "", kAnyNumber,
                    "PyGObject, gimodule.c, _wrap_pyg_variant_type_from_string(): the class that it looks up is not released, once for each dict that GLib.Variant() is given", KnownSurplus::Shape::kAny, {}, "/gi/_gi."});
  result.push_back({"builtin_function_or_method", "", "", 4,
                    "Cython, __Pyx_InitCachedBuiltins(): a module looks its builtins up at import for static data; where nothing reads that, the C compiler drops the place and keeps the reference",
                    KnownSurplus::Shape::kCythonBuiltin});
  result.push_back({"str", "", "first", 13, "Cython (its issue 4412), pandas' hashtable.pyx, duplicated(keep='first'): the default of each specialization is assigned twice, and its first reference not released",
                    KnownSurplus::Shape::kAny, {}, "/pandas/_libs/hashtable."});
  result.push_back({"float", "['nan']", "", 1, "Cython (its issue 4412), pandas' lib.pyx, cpdef ensure_string_array(na_value=np.nan): the default is assigned twice, and its first reference not released",
                    KnownSurplus::Shape::kAny, {}, "/pandas/_libs/lib."});
  result.push_back({"bytes", "", "strict", 1, "pandas, parsers.pyx, TextReader.__cinit__(): takes a reference to encoding_errors for its char*, which nothing releases: one for each read_csv()",
                    KnownSurplus::Shape::kLost, {}, "/pandas/_libs/parsers."});
  for (const char* text : {"__name__", "__module__"}) {
    result.push_back({"str", "", text, 1, "zope.interface, _zope_interface_coptimizations.c: makes names at import that it never uses", KnownSurplus::Shape::kLost});
  }
  result.push_back({"module", "['_io']", "", 1, "cffi, file_emulator.h, init_file_emulator(): the imported module _io is not released", KnownSurplus::Shape::kAny, {}, "/_cffi_backend."});
  result.push_back({"_cffi_backend.FFI", "['ffi']", "", 1, "cffi, cffi1_module.c, b_init_cffi_1_0_external_module(): the FFI of each module that cffi made gets a second reference, to live for ever"});
  for (const char* text : {"_cffi_backend", "<cdata>"}) {
    result.push_back({"str", "", text, 1, "cffi, _cffi_backend.c, init: the text is put into the dict of CData and not released"});
  }
  result.push_back({"str", "", "", 1, "f2py, fortranobject.c, PyFortranObject_NewAsAttr(): the name is put into the dict of the routine and not released", KnownSurplus::Shape::kF2pyName});
  for (const char* place : {"['jpeglib_version']", "['jp2klib_version']", "['libjpeg_turbo_version']", "['imagequant_version']", "['zlib_version']", "['libtiff_version']", "['PILLOW_VERSION']"}) {
    result.push_back({"str", place, "", 1, "Pillow, _imaging.c, setup_module(): the text is put into the module's dict and not released", KnownSurplus::Shape::kAny, {}, "/PIL/_imaging."});
  }
  for (const char* place : {"['freetype2_version']", "['raqm_version']", "['fribidi_version']", "['harfbuzz_version']"}) {
    result.push_back({"str", place, "", 1, "Pillow, _imagingft.c, setup_module(): the text is put into the module's dict and not released", KnownSurplus::Shape::kAny, {}, "/PIL/_imagingft."});
  }
  result.push_back({"str", "['littlecms_version']", "", 1, "Pillow, _imagingcms.c, setup_module(): the text is put into the module's dict and not released", KnownSurplus::Shape::kAny, {}, "/PIL/_imagingcms."});
  for (const char* name : {"MySQLdb._exceptions.Warning", "MySQLdb._exceptions.Error", "MySQLdb._exceptions.MySQLError", "MySQLdb._exceptions.DatabaseError"}) {
    result.push_back({"type", name, "", 1, "MySQLdb, _mysql.c, _mysql_NewException(): takes a reference for a static variable; of one that nothing reads the compiler drops the place",
                      KnownSurplus::Shape::kAny, {}, "/MySQLdb/_mysql."});
  }
  result.push_back({"tuple", "['version_info']", "", 1, "MySQLdb, _mysql.c, PyInit__mysql(): the value is put into the module's dict and not released", KnownSurplus::Shape::kAny, {}, "/MySQLdb/_mysql."});
  result.push_back({"str", "['__version__']", "", 1, "MySQLdb, _mysql.c, PyInit__mysql(): the value is put into the module's dict and not released", KnownSurplus::Shape::kAny, {}, "/MySQLdb/_mysql."});
  for (const char* name : {"ldap.NO_OBJECT_CLASS_MODS", "ldap.AUTH_METHOD_NOT_SUPPORTED"}) {
    result.push_back({"type", name, "", 1, "python-ldap, constants.c, add_err(): a class whose number in errobjects[] is given to another one as well keeps its reference", KnownSurplus::Shape::kAny, {}, "/_ldap."});
  }
  result.push_back({"module", "cvxopt.base", "", kAnyNumber, "CVXOPT, cvxopt.h, import_cvxopt(): the imported module is not released, once for each extension that uses it", KnownSurplus::Shape::kAny, {}, "/cvxopt/base."});
  for (const char* name : {"io", "collections"}) {
    result.push_back({"module", name, "", 1, "PycURL, module.c, PyInit_pycurl(): the imported module is not released", KnownSurplus::Shape::kAny, {}, "/pycurl."});
  }
  result.push_back({"function", "namedtuple", "", 1, "PycURL, module.c, PyInit_pycurl(): collections.namedtuple is looked up and not released", KnownSurplus::Shape::kAny, {}, "/pycurl."});
  result.push_back({"module", "multidict._multidict_base", "", 1, "multidict, _multidict.c, PyInit__multidict(): the module that _mdrepr was taken from is not released", KnownSurplus::Shape::kAny, {}, "/multidict/_multidict."});
  result.push_back({"function", "_itemsview_isdisjoint", "", 1, "multidict, _multilib/views.h, multidict_views_init(): itemsview_repr_func is assigned twice, and its first reference not released",
                    KnownSurplus::Shape::kAny, {}, "/multidict/_multidict."});
  result.push_back({"module", "copyreg", "", 1, "persistent, cPersistence.c, PyInit_cPersistence(): the imported module is released only where the import fails", KnownSurplus::Shape::kAny, {}, "/persistent/cPersistence."});
  result.push_back({"builtin_function_or_method", "simple_new", "", 1, "persistent, cPersistence.c, PyInit_cPersistence(): py_simple_new is looked up for a static variable that nothing reads, so that the compiler drops its place",
                    KnownSurplus::Shape::kAny, {}, "/persistent/cPersistence."});
  for (const char* text : {"numpy.core.multiarray failed to import", "numpy.core.umath failed to import", "numpy._core.multiarray failed to import", "numpy._core.umath failed to import"}) {
    result.push_back({"tuple", "", text, 1, "Cython: the argument of the ImportError in numpy's __init__.pxd is made at import of each module that uses numpy, and kept for ever"});
  }
  result.push_back({"module", "", "", kAnyNumber, "SIP, siplib.c, sip_api_export_module(): each module that one of its modules imports is not released", KnownSurplus::Shape::kSipModule});
  result.push_back({"module", "", "", kAnyNumber, "mypyc: the code of an import assigns the module to a static variable that other modules of the same extension share, and does not release what it had",
                    KnownSurplus::Shape::kMypycImport});
  result.push_back({"type", "", "", kAnyNumber, "mypyc, emitclass.py, generate_dealloc_for_class(): the reference that each instance has to its class is not released with it (3.8 and newer)", KnownSurplus::Shape::kFreedByModule, {}, "__mypyc."});
  result.push_back({"type", "", "", kAnyNumber, "python-zstandard, Decompressor_dealloc() and its like: PyObject_Del() does not release the reference that each instance has to its class",
                    KnownSurplus::Shape::kFreedByModule, {}, "/zstandard/backend_c."});
  result.push_back({"type", "swigvarlink", "", 1, "SWIG, pyinit.swg, SWIG_Python_newvarlink(): the type that swig_varlink_type() made is not released once its one instance has it"});
  for (const char* type : {"icu.ConstVariableDescriptor", "_icu.ConstVariableDescriptor", "_icu_.ConstVariableDescriptor"}) {
    result.push_back({type, "", "", 1, "PyICU, macros.h, INSTALL_ENUM(), INSTALL_STATIC_INT() and their like: the descriptor is put into the dict of the class and not released"});
  }
  for (const char* type : {"int", "str"}) {
    result.push_back({type, "", "cups", 1, "pycups, cupsmodule.c, INT_CONSTANT() and STR_CONSTANT(): the value is put into the module's dict and not released", KnownSurplus::Shape::kConstant, {}, "/cups."});
  }
  result.push_back({"builtin_function_or_method", "", "", 1, "SWIG, pyinit.swg, SWIG_PyInstanceMethod_New(): the function that it makes for its other docstring is given to PyInstanceMethod_New(), and not released",
                    KnownSurplus::Shape::kSwigFunction});
  result.push_back({"PyCapsule", "['type_pointer_capsule']", "", kAnyNumber, "SWIG, pyrun.swg, SwigPyObject_New(): an object that owns what it leads to takes a reference to the capsule, and has no place for it"});
  for (const char* name : {"kerberos.KrbError", "kerberos.BasicAuthError", "kerberos.PwdChangeError", "kerberos.GSSError"}) {
    result.push_back({"type", name, "", 1, "pykerberos, kerberos.c, PyInit_kerberos(): the class is put into the module's dict, and gets a second reference for its static variable", KnownSurplus::Shape::kAny, {}, "/kerberos."});
  }
  for (const char* place : {"['GSS_MECH_OID_KRB5']", "['GSS_MECH_OID_SPNEGO']"}) {
    result.push_back({"PyCapsule", place, "", 1, "pykerberos, kerberos.c, PyInit_kerberos(): the value is put into the module's dict and not released", KnownSurplus::Shape::kAny, {}, "/kerberos."});
  }
  for (const char* place : {"['INV_READ']", "['INV_WRITE']"}) {
    result.push_back({"int", place, "", 1, "PyGreSQL, pgmodule.c, PyInit__pg(): the number is put into the module's dict and not released", KnownSurplus::Shape::kAny, {}, "/_pg."});
  }
  for (const char* name : {"pg.Warning", "pg.InterfaceError"}) {
    result.push_back({"type", name, "", 1, "PyGreSQL, pgmodule.c, PyInit__pg(): the class is kept in a static variable that nothing reads, so that the compiler drops its place", KnownSurplus::Shape::kAny, {}, "/_pg."});
  }
  result.push_back({"str", "['__doc__']", "", 1, "pycups, cupsmodule.c, PyInit_cups(): the docstring of each class of errors is put into a dict and not released", KnownSurplus::Shape::kLiteral, {}, "/cups."});
  for (const char* place : {"['Port']", "['Platform']", "['wxWidgets_version']", "['_LONG_MIN']", "['_LONG_MAX']", "['_LLONG_MIN']", "['_LLONG_MAX']", "['PlatformInfo']"}) {
    const std::string_view name = place;
    result.push_back({name == "['PlatformInfo']" ? "tuple" : name.starts_with("['_") ? "int" : "str", name, "", 1, "wxPython, core_ex.cpp, wxPyCoreModuleInject(): the value is put into the module's dict and not released",
                      KnownSurplus::Shape::kAny, {}, "/wx/_core."});
  }
  for (const char* place : {"['VSCROLL']", "['WINDOW_STYLE_MASK']", "['CANCEL_DEFAULT']"}) {
    result.push_back({"int", place, "", 1, "wxPython, sip_corecmodule.cpp, PyInit__core(): PyDict_SetItemString() is given a new number, which is not released", KnownSurplus::Shape::kAny, {}, "/wx/_core."});
  }
  result.push_back({"str", "", "_p_changed", 2, "persistent, cPersistence.c, init_strings(), and cPickleCache.c, PyInit_cPickleCache(): the interned name is kept in a static variable that nothing reads, so that the compiler drops its place",
                    KnownSurplus::Shape::kAny, {}, "/persistent/cPersistence."});
  result.push_back({"str", "", "", 1, "persistent, cPersistence.c, init_strings(): the interned name is kept in a static variable that nothing reads, so that the compiler drops its place",
                    KnownSurplus::Shape::kLiteral, {}, "/persistent/cPersistence."});
  result.push_back({"str", "", "", 1, "netifaces, netifaces.c, PyInit_netifaces(): each name is put into the dict address_families and not released", KnownSurplus::Shape::kLiteral, {}, "/netifaces."});
  result.push_back({"str", "", "", 1, "tinyarray, array.cc, PyInit_tinyarray(): each name is appended to __all__ and not released", KnownSurplus::Shape::kLiteral, {}, "/tinyarray."});
  result.push_back({"str", "", "", 1, "yara-python, yara-python.c, PyInit_yara(): the name of each of YARA's modules is appended to yara.modules and not released", KnownSurplus::Shape::kLiteral, {}, "yara"});
  result.push_back({"str", "", "", 1, "Shiboken, signature_globals.cpp, init_phase_1(): each piece of an archive is appended to zipstring_sequence and not released", KnownSurplus::Shape::kLiteral, {}, "/libshiboken"});
  result.push_back({"function", "bootstrap", "", 1, "Shiboken, signature_globals.cpp, init_phase_2(): what it looks up in its module is not released", KnownSurplus::Shape::kAny, {}, "/libshiboken"});
  result.push_back({"module", "shibokensupport.signature.loader", "", 1, "Shiboken, signature_globals.cpp, init_phase_2(): the module that bootstrap() returns is not released", KnownSurplus::Shape::kAny, {}, "/libshiboken"});
  result.push_back({"zbar.EnumItem", "", "", 1, "zbar, enum.c, zbarEnum_Add(), and zbarmodule.c, PyInit_zbar(): a new item is put into the dicts of its enumeration and not released", KnownSurplus::Shape::kAny, {}, "/zbar."});
  result.push_back({"type", "Shiboken.EnumMeta", "", kAnyNumber, "Shiboken 5, sbkenum.cpp, newTypeWithName(): the type of a new class is replaced without a reference to the new one", KnownSurplus::Shape::kAny, {}, "/shiboken2", true});
  result.push_back({"", "", "", 1, "Shiboken 5, sbkenum.cpp, createGlobalEnumItem(): PyModule_AddObject() takes the reference that is then released", KnownSurplus::Shape::kShibokenItem, {}, "/shiboken2", true});
  result.push_back({"type", "zbar.Exception", "", 1, "zbar, zbarmodule.c, PyInit_zbar(): PyModule_AddObject() takes the reference of the module's state, which visits it all the same", KnownSurplus::Shape::kAny, {}, "/zbar.", true});
  for (const char* type : {"Shiboken.ObjectType", "type"}) {
    result.push_back({type, std::string_view(type) == "type" ? "Shiboken.ObjectType" : "", "", kAnyNumber,
                      "Shiboken, basewrapper.cpp, SbkObjectTpNew(): takes a reference to the class of each instance, as PyObject_GC_New() does from 3.8 on; both are released with the instance",
                      KnownSurplus::Shape::kTwiceOfInstances, {}, "/libshiboken"});
  }
  for (const char* name : {"PyQt5.QtCore.pyqtBoundSignal", "PyQt5.QtCore.pyqtSignal", "PyQt5.QtCore.pyqtProperty"}) {
    result.push_back({"type", name, "", kAnyNumber, "PyQt5, qpycore_pyqtboundsignal.cpp, qpycore_pyqtsignal.cpp, qpycore_pyqtproperty.cpp, the tp_dealloc: the reference that each instance has to its class is not released with it",
                      KnownSurplus::Shape::kFreedByModule, {}, "/PyQt5/QtCore."});
  }
  result.push_back({"dict", "", "", 1, "pyodbc, pyodbcmodule.cpp, CreateExceptions(): the dict that each class of errors is made of is not released", KnownSurplus::Shape::kLost, "['__doc__']", "/pyodbc."});
  result.push_back({"module", "datetime", "", 1, "pyodbc, pyodbcmodule.cpp, import_types(): the imported module is not released", KnownSurplus::Shape::kAny, {}, "/pyodbc."});
  result.push_back({"str", "", "", 1, "python-rapidjson, rapidjson.cpp, the module's start: the name is kept in a static variable that nothing reads, so that the compiler drops its place",
                    KnownSurplus::Shape::kLiteral, {}, "/rapidjson."});
  // Last, because any cause that names the object itself is the better one.
  result.push_back({"", "", "", kAnyNumber, "Python/pystate.c, _PyThreadState_DeleteExcept(), from 3.13 on _PyThreadState_DeleteList(), after fork(): threads of the parent are not in this process, and what their C functions, "
                    "their frames and (up to 3.8) on_delete_data held is not released", KnownSurplus::Shape::kLeftByThreads});
  return result;
}

}  // namespace pygc::cpython
