#include "core/objects/known_types.h"

#include <array>

namespace pygc::objects {

namespace {

using cpython::Field;
using F = KnownField;

constexpr Field kAnyLayout = Field::PyObject_ob_type;
constexpr Presence kUntilCleared = Presence::kUntilCleared;
constexpr Presence kAlways = Presence::kAlways;
constexpr Naming kInC = Naming::kInC;

// Field lists in the order of the traverse functions. CPython: the *_traverse functions of Objects/ and Modules/ [2.7, 3.6-3.15].

constexpr F kFunction[] = {{Field::PyFunctionObject_func_code, "__code__", kUntilCleared},
                           {Field::PyFunctionObject_func_globals, "__globals__", kUntilCleared},
                           {Field::PyFunctionObject_func_builtins, "__builtins__"},
                           {Field::PyFunctionObject_func_module, "__module__"},
                           {Field::PyFunctionObject_func_defaults, "__defaults__"},
                           {Field::PyFunctionObject_func_kwdefaults, "__kwdefaults__"},
                           {Field::PyFunctionObject_func_doc, "__doc__"},
                           {Field::PyFunctionObject_func_name, "__name__", kUntilCleared},
                           {Field::PyFunctionObject_func_dict, "__dict__"},
                           {Field::PyFunctionObject_func_closure, "__closure__"},
                           {Field::PyFunctionObject_func_annotations, "__annotations__"},
                           {Field::PyFunctionObject_func_annotate, "__annotate__"},
                           {Field::PyFunctionObject_func_typeparams, "__type_params__"},
                           {Field::PyFunctionObject_func_qualname, "__qualname__"}};
constexpr F kMethod[] = {{Field::PyMethodObject_im_func, "__func__", kUntilCleared}, {Field::PyMethodObject_im_self, "__self__", kUntilCleared}};
constexpr F kOldMethod[] = {{Field::PyMethodObject_im_func, "__func__", kUntilCleared}, {Field::PyMethodObject_im_self, "__self__"}, {Field::PyMethodObject_im_class, "im_class"}};
constexpr F kInstanceMethod[] = {{Field::PyInstanceMethodObject_func, "__func__", kUntilCleared}};
constexpr F kCFunction[] = {{Field::PyCFunctionObject_m_self, "__self__"}, {Field::PyCFunctionObject_m_module, "__module__"}};
constexpr F kCMethod[] = {
    {Field::PyCMethodObject_mm_class, nullptr}, {Field::PyCFunctionObject_m_self, "__self__"}, {Field::PyCFunctionObject_m_module, "__module__"}};
constexpr F kCell[] = {{Field::PyCellObject_ob_ref, "cell_contents"}};
constexpr F kProperty[] = {{Field::propertyobject_prop_get, "fget"},
                           {Field::propertyobject_prop_set, "fset"},
                           {Field::propertyobject_prop_del, "fdel"},
                           {Field::propertyobject_prop_doc, "__doc__"},
                           {Field::propertyobject_prop_name, "__name__"}};
constexpr F kClassMethod[] = {{Field::classmethod_cm_callable, "__func__"}, {Field::classmethod_cm_dict, "__dict__"}};
constexpr F kStaticMethod[] = {{Field::staticmethod_sm_callable, "__func__"}, {Field::staticmethod_sm_dict, "__dict__"}};
constexpr F kDescriptor[] = {{Field::PyDescrObject_d_type, "__objclass__", kUntilCleared}};
constexpr F kMappingProxy[] = {{Field::mappingproxyobject_mapping, nullptr, kUntilCleared}};
constexpr F kMethodWrapper[] = {{Field::wrapperobject_descr, nullptr, kUntilCleared}, {Field::wrapperobject_self, "__self__", kUntilCleared}};
constexpr F kSuper[] = {{Field::superobject_obj, "__self__"}, {Field::superobject_type, "__thisclass__"}, {Field::superobject_obj_type, "__self_class__"}};
constexpr F kPartial[] = {{Field::partialobject_fn, "func", kUntilCleared},
                          {Field::partialobject_args, "args", kUntilCleared},
                          {Field::partialobject_kw, "keywords", kUntilCleared},
                          {Field::partialobject_dict, "__dict__"}};

constexpr F kTypeObject[] = {{Field::PyTypeObject_tp_dict, "__dict__"}, {Field::PyTypeObject_tp_cache, nullptr}, {Field::PyTypeObject_tp_mro, "__mro__"},
                             {Field::PyTypeObject_tp_bases, "__bases__"}, {Field::PyTypeObject_tp_base, "__base__"}, {Field::PyHeapTypeObject_ht_module, nullptr}};
constexpr F kModuleFields[] = {{Field::PyModuleObject_md_dict, "__dict__"}};
constexpr F kWeakref[] = {{Field::PyWeakReference_wr_callback, "__callback__"}};
// 2.7 has no such attribute; a proxy asks what it stands for. CPython: weakref_members, Objects/weakrefobject.c [3.4+].
constexpr F kSilentWeakref[] = {{Field::PyWeakReference_wr_callback, "__callback__", Presence::kOptional, kInC}};
constexpr F kSlice[] = {{Field::PySliceObject_start, "start", kUntilCleared}, {Field::PySliceObject_stop, "stop", kUntilCleared}, {Field::PySliceObject_step, "step", kUntilCleared}};
constexpr F kMemoryView[] = {{Field::PyMemoryViewObject_mbuf, nullptr}};
constexpr F kOldMemoryView[] = {{Field::PyMemoryViewObject_base, nullptr}, {Field::PyMemoryViewObject_view_obj, "obj", Presence::kOptional, kInC}};
constexpr F kManagedBuffer[] = {{Field::PyManagedBufferObject_master_obj, "obj", Presence::kOptional, kInC}};
constexpr F kNamespace[] = {{Field::PyNamespaceObject_ns_dict, "__dict__"}};
constexpr F kDefaultDict[] = {{Field::defdictobject_default_factory, "default_factory"}};
constexpr F kDictView[] = {{Field::PyDictViewObject_dv_dict, "dict", kUntilCleared, kInC}};

constexpr F kOldFrame[] = {{Field::PyFrameObject_f_back, "f_back"},         {Field::PyFrameObject_f_code, "f_code", kAlways},
                           {Field::PyFrameObject_f_builtins, "f_builtins", kAlways}, {Field::PyFrameObject_f_globals, "f_globals", kAlways},
                           {Field::PyFrameObject_f_locals, "f_locals"},     {Field::PyFrameObject_f_trace, "f_trace"},
                           {Field::PyFrameObject_f_exc_type, nullptr}, {Field::PyFrameObject_f_exc_value, nullptr},
                           {Field::PyFrameObject_f_exc_traceback, nullptr}};
constexpr F kFrameProxy[] = {{Field::PyFrameObject_f_back, "f_back"},
                             {Field::PyFrameObject_f_trace, "f_trace"},
                             {Field::PyFrameObject_f_extra_locals, nullptr},
                             {Field::PyFrameObject_f_locals_cache, nullptr},
                             {Field::PyFrameObject_f_overwritten_fast_locals, nullptr}};
constexpr F kOldGenerator[] = {{Field::PyGenObject_gi_frame, "gi_frame"},
                               {Field::PyGenObject_gi_code, "gi_code"},
                               {Field::PyGenObject_gi_name, "__name__", kUntilCleared},
                               {Field::PyGenObject_gi_qualname, "__qualname__", kUntilCleared},
                               {Field::PyGenObject_gi_exc_state_exc_type, "gi_exc_type", Presence::kOptional, kInC},
                               {Field::PyGenObject_gi_exc_state_exc_value, "gi_exc_value", Presence::kOptional, kInC},
                               {Field::PyGenObject_gi_exc_state_exc_traceback, "gi_exc_traceback", Presence::kOptional, kInC}};
constexpr F kOldCoroutine[] = {{Field::PyGenObject_gi_frame, "cr_frame"},
                               {Field::PyGenObject_gi_code, "cr_code"},
                               {Field::PyGenObject_gi_name, "__name__", kUntilCleared},
                               {Field::PyGenObject_gi_qualname, "__qualname__", kUntilCleared},
                               {Field::PyGenObject_gi_exc_state_exc_type, "cr_exc_type", Presence::kOptional, kInC},
                               {Field::PyGenObject_gi_exc_state_exc_value, "cr_exc_value", Presence::kOptional, kInC},
                               {Field::PyGenObject_gi_exc_state_exc_traceback, "cr_exc_traceback", Presence::kOptional, kInC}};
constexpr F kOldAsyncGenerator[] = {{Field::PyAsyncGenObject_ag_origin_or_finalizer, "ag_finalizer"},
                                    {Field::PyGenObject_gi_frame, "ag_frame"},
                                    {Field::PyGenObject_gi_code, "ag_code"},
                                    {Field::PyGenObject_gi_name, "__name__", kUntilCleared},
                                    {Field::PyGenObject_gi_qualname, "__qualname__", kUntilCleared},
                                    {Field::PyGenObject_gi_exc_state_exc_type, "ag_exc_type", Presence::kOptional, kInC},
                                    {Field::PyGenObject_gi_exc_state_exc_value, "ag_exc_value", Presence::kOptional, kInC},
                                    {Field::PyGenObject_gi_exc_state_exc_traceback, "ag_exc_traceback", Presence::kOptional, kInC}};
constexpr F kGenerator[] = {{Field::PyGenObject_gi_code, "gi_code"}, {Field::PyGenObject_gi_name, "__name__", kUntilCleared}, {Field::PyGenObject_gi_qualname, "__qualname__", kUntilCleared}};
constexpr F kCoroutine[] = {{Field::PyGenObject_gi_code, "cr_code"}, {Field::PyGenObject_gi_name, "__name__", kUntilCleared}, {Field::PyGenObject_gi_qualname, "__qualname__", kUntilCleared}};
constexpr F kAsyncGenerator[] = {{Field::PyAsyncGenObject_ag_origin_or_finalizer, "ag_finalizer"},
                                 {Field::PyGenObject_gi_code, "ag_code"},
                                 {Field::PyGenObject_gi_name, "__name__", kUntilCleared},
                                 {Field::PyGenObject_gi_qualname, "__qualname__", kUntilCleared}};
constexpr F kTraceback[] = {{Field::PyTracebackObject_tb_next, "tb_next"}, {Field::PyTracebackObject_tb_frame, "tb_frame"}};

// BaseException_traverse, which the other exceptions' functions end with.
#define PYGC_BASE_EXCEPTION                                                                                                              \
  {Field::PyBaseExceptionObject_dict, "__dict__"}, {Field::PyBaseExceptionObject_args, "args"}, {Field::PyBaseExceptionObject_message, "message"}, \
      {Field::PyBaseExceptionObject_notes, "__notes__"}, {Field::PyBaseExceptionObject_traceback, "__traceback__"},                      \
      {Field::PyBaseExceptionObject_cause, "__cause__"}, {Field::PyBaseExceptionObject_context, "__context__"}
constexpr F kBaseException[] = {PYGC_BASE_EXCEPTION};
constexpr F kSyntaxError[] = {{Field::PySyntaxErrorObject_msg, "msg"},
                              {Field::PySyntaxErrorObject_filename, "filename"},
                              {Field::PySyntaxErrorObject_lineno, "lineno"},
                              {Field::PySyntaxErrorObject_offset, "offset"},
                              {Field::PySyntaxErrorObject_end_lineno, "end_lineno"},
                              {Field::PySyntaxErrorObject_end_offset, "end_offset"},
                              {Field::PySyntaxErrorObject_text, "text"},
                              {Field::PySyntaxErrorObject_print_file_and_line, "print_file_and_line"},
                              {Field::PySyntaxErrorObject_metadata, "_metadata"},
                              PYGC_BASE_EXCEPTION};
constexpr F kSystemExit[] = {{Field::PySystemExitObject_code, "code"}, PYGC_BASE_EXCEPTION};
constexpr F kStopIteration[] = {{Field::PyStopIterationObject_value, "value"}, PYGC_BASE_EXCEPTION};
constexpr F kImportError[] = {{Field::PyImportErrorObject_msg, "msg"},
                              {Field::PyImportErrorObject_name, "name"},
                              {Field::PyImportErrorObject_path, "path"},
                              {Field::PyImportErrorObject_name_from, "name_from"},
                              PYGC_BASE_EXCEPTION};
constexpr F kOSError[] = {{Field::PyOSErrorObject_myerrno, "errno"},
                          {Field::PyOSErrorObject_strerror, "strerror"},
                          {Field::PyOSErrorObject_filename, "filename"},
                          {Field::PyOSErrorObject_filename2, "filename2"},
                          PYGC_BASE_EXCEPTION};
constexpr F kUnicodeError[] = {{Field::PyUnicodeErrorObject_encoding, "encoding"},
                               {Field::PyUnicodeErrorObject_object, "object"},
                               {Field::PyUnicodeErrorObject_reason, "reason"},
                               PYGC_BASE_EXCEPTION};
constexpr F kNameError[] = {{Field::PyNameErrorObject_name, "name"}, PYGC_BASE_EXCEPTION};
constexpr F kAttributeError[] = {{Field::PyAttributeErrorObject_obj, "obj"}, {Field::PyAttributeErrorObject_name, "name"}, PYGC_BASE_EXCEPTION};
constexpr F kExceptionGroup[] = {{Field::PyBaseExceptionGroupObject_msg, "message"},
                                 {Field::PyBaseExceptionGroupObject_excs, "exceptions"},
                                 {Field::PyBaseExceptionGroupObject_excs_str, nullptr},
                                 PYGC_BASE_EXCEPTION};
#undef PYGC_BASE_EXCEPTION

constexpr F kClassicClass[] = {{Field::PyClassObject_cl_bases, "__bases__", kUntilCleared},       {Field::PyClassObject_cl_dict, "__dict__", kUntilCleared},
                               {Field::PyClassObject_cl_name, "__name__", kUntilCleared},         {Field::PyClassObject_cl_getattr, "__getattr__", Presence::kOptional, kInC},
                               {Field::PyClassObject_cl_setattr, "__setattr__", Presence::kOptional, kInC},   {Field::PyClassObject_cl_delattr, "__delattr__", Presence::kOptional, kInC}};
constexpr F kClassicInstance[] = {{Field::PyInstanceObject_in_class, "__class__", kUntilCleared}, {Field::PyInstanceObject_in_dict, "__dict__", kUntilCleared}};

constexpr F kSequenceIterator[] = {{Field::seqiterobject_it_seq, nullptr}};
constexpr F kListIterator[] = {{Field::listiterobject_it_seq, nullptr}};
constexpr F kListReverseIterator[] = {{Field::listreviterobject_it_seq, nullptr}};
constexpr F kTupleIterator[] = {{Field::tupleiterobject_it_seq, nullptr}};
constexpr F kByteArrayIterator[] = {{Field::bytesiterobject_it_seq, nullptr}};
constexpr F kBytesIterator[] = {{Field::striterobject_it_seq, nullptr}};
constexpr F kStrIterator[] = {{Field::unicodeiterobject_it_seq, nullptr}};
constexpr F kCallableIterator[] = {{Field::calliterobject_it_callable, nullptr}, {Field::calliterobject_it_sentinel, nullptr}};
constexpr F kSetIterator[] = {{Field::setiterobject_si_set, nullptr}};
constexpr F kDictIterator[] = {{Field::dictiterobject_di_dict, nullptr}, {Field::dictiterobject_di_result, nullptr}};
constexpr F kOdictIterator[] = {
    {Field::odictiterobject_di_odict, nullptr}, {Field::odictiterobject_di_current, nullptr}, {Field::odictiterobject_di_result, nullptr}};
constexpr F kDequeIterator[] = {{Field::dequeiterobject_deque, nullptr}};
constexpr F kEnumerate[] = {{Field::enumobject_en_sit, nullptr, kUntilCleared}, {Field::enumobject_en_result, nullptr}, {Field::enumobject_en_longindex, nullptr}};
constexpr F kReversed[] = {{Field::reversedobject_seq, nullptr}};
constexpr F kZip[] = {{Field::zipobject_ittuple, nullptr, kUntilCleared}, {Field::zipobject_result, nullptr}};
constexpr F kMap[] = {{Field::mapobject_iters, nullptr, kUntilCleared}, {Field::mapobject_func, nullptr, kUntilCleared}};
constexpr F kFilter[] = {{Field::filterobject_it, nullptr, kUntilCleared}, {Field::filterobject_func, nullptr, kUntilCleared}};
constexpr F kChain[] = {{Field::chainobject_source, nullptr}, {Field::chainobject_active, nullptr}};
constexpr F kCount[] = {{Field::countobject_long_cnt, nullptr}, {Field::countobject_long_step, nullptr}};
constexpr F kCycle[] = {{Field::cycleobject_it, nullptr}, {Field::cycleobject_saved, nullptr}};
constexpr F kRepeat[] = {{Field::repeatobject_element, nullptr, kUntilCleared}};
constexpr F kStarmap[] = {{Field::starmapobject_it, nullptr, kUntilCleared}, {Field::starmapobject_func, nullptr, kUntilCleared}};
constexpr F kTakeWhile[] = {{Field::takewhileobject_it, nullptr, kUntilCleared}, {Field::takewhileobject_func, nullptr, kUntilCleared}};
constexpr F kDropWhile[] = {{Field::dropwhileobject_it, nullptr, kUntilCleared}, {Field::dropwhileobject_func, nullptr, kUntilCleared}};
constexpr F kFilterFalse[] = {{Field::filterfalseobject_it, nullptr, kUntilCleared}, {Field::filterfalseobject_func, nullptr, kUntilCleared}};
constexpr F kIslice[] = {{Field::isliceobject_it, nullptr}};
constexpr F kGroupBy[] = {{Field::groupbyobject_it, nullptr, kUntilCleared},
                          {Field::groupbyobject_keyfunc, nullptr, kUntilCleared},
                          {Field::groupbyobject_tgtkey, nullptr},
                          {Field::groupbyobject_currkey, nullptr},
                          {Field::groupbyobject_currvalue, nullptr}};
constexpr F kGrouper[] = {{Field::grouperobject_parent, nullptr, kUntilCleared}, {Field::grouperobject_tgtkey, nullptr}};
constexpr F kAccumulate[] = {{Field::accumulateobject_binop, nullptr},
                             {Field::accumulateobject_it, nullptr, kUntilCleared},
                             {Field::accumulateobject_total, nullptr},
                             {Field::accumulateobject_initial, nullptr}};
constexpr F kCompress[] = {{Field::compressobject_data, nullptr, kUntilCleared}, {Field::compressobject_selectors, nullptr, kUntilCleared}};
constexpr F kProduct[] = {{Field::productobject_pools, nullptr, kUntilCleared}, {Field::productobject_result, nullptr}};
constexpr F kCombinations[] = {{Field::combinationsobject_pool, nullptr, kUntilCleared}, {Field::combinationsobject_result, nullptr}};
constexpr F kCombinationsWithReplacement[] = {{Field::cwrobject_pool, nullptr, kUntilCleared}, {Field::cwrobject_result, nullptr}};
constexpr F kPermutations[] = {{Field::permutationsobject_pool, nullptr, kUntilCleared}, {Field::permutationsobject_result, nullptr}};
constexpr F kZipLongest[] = {
    {Field::ziplongestobject_ittuple, nullptr, Presence::kItemsGo}, {Field::ziplongestobject_result, nullptr}, {Field::ziplongestobject_fillvalue, nullptr}};
constexpr F kPairwise[] = {{Field::pairwiseobject_it, nullptr}, {Field::pairwiseobject_old, nullptr}, {Field::pairwiseobject_result, nullptr}};
constexpr F kBatched[] = {{Field::batchedobject_it, nullptr}};
constexpr F kTee[] = {{Field::teeobject_dataobj, nullptr}};
constexpr F kGenericAlias[] = {{Field::gaobject_origin, "__origin__", kUntilCleared}, {Field::gaobject_args, "__args__", kUntilCleared}, {Field::gaobject_parameters, "__parameters__"}};
constexpr F kUnion[] = {{Field::unionobject_args, "__args__"},
                        {Field::unionobject_hashable_args, nullptr},
                        {Field::unionobject_unhashable_args, nullptr},
                        {Field::unionobject_parameters, "__parameters__"}};
constexpr F kContext[] = {{Field::pycontextobject_ctx_prev, nullptr}, {Field::pycontextobject_ctx_vars, nullptr}};
constexpr F kContextVar[] = {{Field::pycontextvarobject_var_name, "name"}, {Field::pycontextvarobject_var_default, "default", Presence::kOptional, kInC}};
constexpr F kToken[] = {
    {Field::pycontexttokenobject_tok_ctx, nullptr}, {Field::pycontexttokenobject_tok_var, "var"}, {Field::pycontexttokenobject_tok_oldval, "old_value"}};

constexpr KnownType Fields(const char* symbol, const char* name, std::span<const F> fields, Field needs, const char* module = nullptr) {
  return {symbol, name, ReaderKind::kFields, ReaderKind::kNone, fields, needs, module};
}
constexpr KnownType Fields(const char* symbol, const char* name, std::span<const F> fields) {
  return {symbol, name, ReaderKind::kFields, ReaderKind::kNone, fields, fields[0].field, nullptr};
}
constexpr KnownType Reader(const char* symbol, const char* name, ReaderKind reader, std::span<const F> fields = {}, Field needs = kAnyLayout,
                           const char* module = nullptr) {
  return {symbol, name, reader, ReaderKind::kNone, fields, needs, module};
}
/// A type of itertools, _collections or _functools: without a symbol, possibly in an extension module of its own.
constexpr KnownType Extension(const char* name, std::span<const F> fields, const char* module) {
  return {nullptr, name, ReaderKind::kFields, ReaderKind::kNone, fields, fields[0].field, module};
}

constexpr KnownType kKnownTypes[] = {
    // Containers
    Reader("PyList_Type", "list", ReaderKind::kList),
    Reader("PyTuple_Type", "tuple", ReaderKind::kTuple),
    Reader("PyDict_Type", "dict", ReaderKind::kDict),
    Reader("PySet_Type", "set", ReaderKind::kSet),
    Reader("PyFrozenSet_Type", "frozenset", ReaderKind::kSet),
    Reader("PyFrozenDict_Type", "frozendict", ReaderKind::kDict),
    Reader("PyODict_Type", "collections.OrderedDict", ReaderKind::kOrderedDict, {}, Field::PyODictObject_od_first),
    Reader(nullptr, "collections.deque", ReaderKind::kDeque, {}, Field::dequeobject_leftblock, "_collections"),
    {nullptr, "collections.defaultdict", ReaderKind::kFields, ReaderKind::kDict, kDefaultDict, Field::defdictobject_default_factory, "_collections"},
    Fields("PyDictKeys_Type", "dict_keys", kDictView),
    Fields("PyDictValues_Type", "dict_values", kDictView),
    Fields("PyDictItems_Type", "dict_items", kDictView),
    Fields("PyODictKeys_Type", "odict_keys", kDictView),
    Fields("PyODictValues_Type", "odict_values", kDictView),
    Fields("PyODictItems_Type", "odict_items", kDictView),
    Fields("_PyNamespace_Type", "types.SimpleNamespace", kNamespace),
    // Callables, descriptors
    Fields("PyFunction_Type", "function", kFunction),
    Fields("PyMethod_Type", "method", kMethod),
    Fields("PyMethod_Type", "instancemethod", kOldMethod, Field::PyMethodObject_im_class),
    Fields("PyInstanceMethod_Type", "instancemethod", kInstanceMethod),
    Fields("PyCFunction_Type", "builtin_function_or_method", kCFunction),
    Fields("PyCMethod_Type", "builtin_method", kCMethod),
    Fields("PyCell_Type", "cell", kCell),
    Fields("PyProperty_Type", "property", kProperty),
    Fields("PyClassMethod_Type", "classmethod", kClassMethod),
    Fields("PyStaticMethod_Type", "staticmethod", kStaticMethod),
    Fields("PyMethodDescr_Type", "method_descriptor", kDescriptor),
    Fields("PyClassMethodDescr_Type", "classmethod_descriptor", kDescriptor),
    Fields("PyMemberDescr_Type", "member_descriptor", kDescriptor),
    Fields("PyGetSetDescr_Type", "getset_descriptor", kDescriptor),
    Fields("PyWrapperDescr_Type", "wrapper_descriptor", kDescriptor),
    Fields("PyDictProxy_Type", "mappingproxy", kMappingProxy),
    Fields("PyDictProxy_Type", "dictproxy", kMappingProxy),
    Fields("_PyMethodWrapper_Type", "method-wrapper", kMethodWrapper),
    Fields("PySuper_Type", "super", kSuper),
    Extension("functools.partial", kPartial, "_functools"),
    Reader(nullptr, "functools._lru_cache_wrapper", ReaderKind::kLruCache, {}, Field::lru_cache_object_func, "_functools"),
    // Types, modules, weak references
    Reader("PyType_Type", "type", ReaderKind::kType, kTypeObject),
    Reader("PyModule_Type", "module", ReaderKind::kModule, kModuleFields),
    Fields("_PyWeakref_RefType", "weakref", kSilentWeakref, Field::PyClassObject_cl_dict),
    Fields("_PyWeakref_RefType", "weakref", kWeakref),
    Fields("_PyWeakref_RefType", "weakref.ReferenceType", kWeakref),
    Fields("_PyWeakref_ProxyType", "weakproxy", kSilentWeakref),
    Fields("_PyWeakref_ProxyType", "weakref.ProxyType", kSilentWeakref),
    Fields("_PyWeakref_CallableProxyType", "weakcallableproxy", kSilentWeakref),
    Fields("_PyWeakref_CallableProxyType", "weakref.CallableProxyType", kSilentWeakref),
    Fields("PySlice_Type", "slice", kSlice),
    Fields("PyMemoryView_Type", "memoryview", kMemoryView),
    Fields("PyMemoryView_Type", "memoryview", kOldMemoryView),
    Fields("_PyManagedBuffer_Type", "managedbuffer", kManagedBuffer),
    // Frames, generators, tracebacks
    Reader("PyFrame_Type", "frame", ReaderKind::kFrame, kOldFrame, Field::PyFrameObject_f_valuestack),
    Reader("PyFrame_Type", "frame", ReaderKind::kFrameProxy, kFrameProxy, Field::PyFrameObject_f_frame),
    Reader("PyGen_Type", "generator", ReaderKind::kGenerator, kGenerator, Field::PyGenObject_gi_iframe),
    Reader("PyCoro_Type", "coroutine", ReaderKind::kGenerator, kCoroutine, Field::PyGenObject_gi_iframe),
    Reader("PyAsyncGen_Type", "async_generator", ReaderKind::kGenerator, kAsyncGenerator, Field::PyGenObject_gi_iframe),
    Fields("PyGen_Type", "generator", kOldGenerator),
    Fields("PyCoro_Type", "coroutine", kOldCoroutine),
    Fields("PyAsyncGen_Type", "async_generator", kOldAsyncGenerator),
    Fields("PyTraceBack_Type", "traceback", kTraceback),
    // Exceptions: 3.x names, then those of 2.7
    Fields(nullptr, "BaseException", kBaseException),
    Fields(nullptr, "SyntaxError", kSyntaxError),
    Fields(nullptr, "SystemExit", kSystemExit),
    Fields(nullptr, "StopIteration", kStopIteration),
    Fields(nullptr, "ImportError", kImportError),
    Fields(nullptr, "OSError", kOSError),
    Fields(nullptr, "UnicodeEncodeError", kUnicodeError),
    Fields(nullptr, "UnicodeDecodeError", kUnicodeError),
    Fields(nullptr, "UnicodeTranslateError", kUnicodeError),
    Fields(nullptr, "NameError", kNameError),
    Fields(nullptr, "AttributeError", kAttributeError),
    Fields(nullptr, "BaseExceptionGroup", kExceptionGroup),
    Fields(nullptr, "exceptions.BaseException", kBaseException),
    Fields(nullptr, "exceptions.SyntaxError", kSyntaxError),
    Fields(nullptr, "exceptions.SystemExit", kSystemExit),
    Fields(nullptr, "exceptions.EnvironmentError", kOSError),
    Fields(nullptr, "exceptions.UnicodeEncodeError", kUnicodeError),
    Fields(nullptr, "exceptions.UnicodeDecodeError", kUnicodeError),
    Fields(nullptr, "exceptions.UnicodeTranslateError", kUnicodeError),
    // 2.7
    Fields("PyClass_Type", "classobj", kClassicClass),
    Fields("PyInstance_Type", "instance", kClassicInstance),
    // Iterators
    Fields("PySeqIter_Type", "iterator", kSequenceIterator),
    Fields("PyListIter_Type", "list_iterator", kListIterator),
    Fields("PyListIter_Type", "listiterator", kListIterator),
    Fields("PyListRevIter_Type", "list_reverseiterator", kListReverseIterator),
    Fields("PyListRevIter_Type", "listreverseiterator", kListReverseIterator),
    Fields("PyTupleIter_Type", "tuple_iterator", kTupleIterator),
    Fields("PyTupleIter_Type", "tupleiterator", kTupleIterator),
    Fields("PyByteArrayIter_Type", "bytearray_iterator", kByteArrayIterator),
    Fields("PyByteArrayIter_Type", "bytearrayiterator", kByteArrayIterator),
    Fields("PyBytesIter_Type", "bytes_iterator", kBytesIterator),
    Fields("PyUnicodeIter_Type", "str_iterator", kStrIterator),
    Fields(nullptr, "str_ascii_iterator", kStrIterator),
    Fields("PyCallIter_Type", "callable_iterator", kCallableIterator),
    Fields("PyCallIter_Type", "callable-iterator", kCallableIterator),
    Fields("PySetIter_Type", "set_iterator", kSetIterator),
    Fields("PySetIter_Type", "setiterator", kSetIterator),
    Fields("PyDictIterKey_Type", "dict_keyiterator", kDictIterator),
    Fields("PyDictIterValue_Type", "dict_valueiterator", kDictIterator),
    Fields("PyDictIterItem_Type", "dict_itemiterator", kDictIterator),
    Fields("PyDictRevIterKey_Type", "dict_reversekeyiterator", kDictIterator),
    Fields("PyDictRevIterValue_Type", "dict_reversevalueiterator", kDictIterator),
    Fields("PyDictRevIterItem_Type", "dict_reverseitemiterator", kDictIterator),
    Fields("PyDictIterKey_Type", "dictionary-keyiterator", kDictIterator),
    Fields("PyDictIterValue_Type", "dictionary-valueiterator", kDictIterator),
    Fields("PyDictIterItem_Type", "dictionary-itemiterator", kDictIterator),
    Fields("PyODictIter_Type", "odict_iterator", kOdictIterator),
    Extension("_collections._deque_iterator", kDequeIterator, "_collections"),
    Extension("_collections._deque_reverse_iterator", kDequeIterator, "_collections"),
    Extension("deque_iterator", kDequeIterator, "_collections"),
    Extension("deque_reverse_iterator", kDequeIterator, "_collections"),
    Fields("PyEnum_Type", "enumerate", kEnumerate),
    Fields("PyReversed_Type", "reversed", kReversed),
    Fields("PyZip_Type", "zip", kZip),
    Fields("PyMap_Type", "map", kMap),
    Fields("PyFilter_Type", "filter", kFilter),
    Extension("itertools.chain", kChain, "itertools"),
    Extension("itertools.count", kCount, "itertools"),
    Extension("itertools.cycle", kCycle, "itertools"),
    Extension("itertools.repeat", kRepeat, "itertools"),
    Extension("itertools.starmap", kStarmap, "itertools"),
    Extension("itertools.takewhile", kTakeWhile, "itertools"),
    Extension("itertools.dropwhile", kDropWhile, "itertools"),
    Extension("itertools.filterfalse", kFilterFalse, "itertools"),
    Extension("itertools.islice", kIslice, "itertools"),
    Extension("itertools.groupby", kGroupBy, "itertools"),
    Extension("itertools._grouper", kGrouper, "itertools"),
    Extension("itertools.accumulate", kAccumulate, "itertools"),
    Extension("itertools.compress", kCompress, "itertools"),
    Extension("itertools.product", kProduct, "itertools"),
    Extension("itertools.combinations", kCombinations, "itertools"),
    Extension("itertools.combinations_with_replacement", kCombinationsWithReplacement, "itertools"),
    Extension("itertools.permutations", kPermutations, "itertools"),
    Extension("itertools.zip_longest", kZipLongest, "itertools"),
    Extension("itertools.pairwise", kPairwise, "itertools"),
    Extension("itertools.batched", kBatched, "itertools"),
    Extension("itertools._tee", kTee, "itertools"),
    Extension("itertools.tee", kTee, "itertools"),
    Reader(nullptr, "itertools._tee_dataobject", ReaderKind::kTeeData, {}, Field::teedataobject_it, "itertools"),
    Reader(nullptr, "itertools.tee_dataobject", ReaderKind::kTeeData, {}, Field::teedataobject_it, "itertools"),
    // Generic aliases, contexts
    Fields("Py_GenericAliasType", "types.GenericAlias", kGenericAlias),
    Fields("_PyUnion_Type", "types.UnionType", kUnion),
    Fields("_PyUnion_Type", "typing.Union", kUnion),
    Fields("PyContext_Type", "Context", kContext),
    Fields("PyContext_Type", "_contextvars.Context", kContext),
    Fields("PyContextVar_Type", "ContextVar", kContextVar),
    Fields("PyContextVar_Type", "_contextvars.ContextVar", kContextVar),
    Fields("PyContextToken_Type", "Token", kToken),
    Fields("PyContextToken_Type", "_contextvars.Token", kToken),
};

}  // namespace

std::span<const KnownType> KnownTypes() noexcept { return kKnownTypes; }

}  // namespace pygc::objects
