#include "core/machine/library_functions.h"

#include <algorithm>
#include <array>
#include <string>
#include <unordered_map>

namespace pygc::machine {
namespace {

struct ModelRow {
  std::string_view name;
  LibraryFunction function;
};

constexpr ModelRow kModels[] = {
    {"memcmp", LibraryFunction::kMemcmp}, {"bcmp", LibraryFunction::kMemcmp}, {"__memcmpeq", LibraryFunction::kMemcmp},
    {"memcpy", LibraryFunction::kMemcpy}, {"memmove", LibraryFunction::kMemcpy}, {"__memcpy_chk", LibraryFunction::kMemcpy},
    {"__memmove_chk", LibraryFunction::kMemcpy}, {"memset", LibraryFunction::kMemset}, {"__memset_chk", LibraryFunction::kMemset},
    {"memchr", LibraryFunction::kMemchr}, {"strlen", LibraryFunction::kStrlen}, {"strnlen", LibraryFunction::kStrnlen},
    {"strcmp", LibraryFunction::kStrcmp}, {"strncmp", LibraryFunction::kStrncmp}, {"strchr", LibraryFunction::kStrchr},
    {"malloc", LibraryFunction::kMalloc}, {"calloc", LibraryFunction::kCalloc}, {"realloc", LibraryFunction::kRealloc},
    {"free", LibraryFunction::kFree},
    {"pthread_mutex_lock", LibraryFunction::kReturnZero}, {"pthread_mutex_unlock", LibraryFunction::kReturnZero},
    {"pthread_mutex_trylock", LibraryFunction::kReturnZero}, {"__pthread_mutex_lock", LibraryFunction::kReturnZero},
    {"__pthread_mutex_unlock", LibraryFunction::kReturnZero}, {"pthread_rwlock_rdlock", LibraryFunction::kReturnZero},
    {"pthread_rwlock_wrlock", LibraryFunction::kReturnZero}, {"pthread_rwlock_unlock", LibraryFunction::kReturnZero},
    {"pthread_spin_lock", LibraryFunction::kReturnZero}, {"pthread_spin_unlock", LibraryFunction::kReturnZero},
};

constexpr std::string_view kStops[] = {
    // The end of the process, unwinding, and what reports it
    "abort", "exit", "_exit", "_Exit", "quick_exit", "__stack_chk_fail", "__chk_fail", "__fortify_fail", "__assert_fail", "__assert", "raise", "kill", "longjmp",
    "_longjmp", "siglongjmp", "__longjmp_chk", "_Unwind_Resume", "_Unwind_RaiseException", "__cxa_throw", "__cxa_rethrow", "__cxa_pure_virtual",
    "__cxa_bad_cast", "_ZSt9terminatev", "_ZSt17__throw_bad_allocv", "g_log", "g_error_free", "g_assertion_message", "g_assertion_message_expr",
    // Memory
    "reallocarray", "cfree", "posix_memalign", "aligned_alloc", "memalign", "valloc", "mmap", "mmap64", "munmap", "mremap",
    "brk", "sbrk", "strdup", "strndup", "_Znwm", "_Znam", "_ZdlPv", "_ZdlPvm", "_ZdaPv", "_ZdaPvm",
    // Input, output, the loader
    "write", "read", "open", "open64", "close", "printf", "fprintf", "vfprintf", "sprintf", "snprintf", "vsnprintf", "__fprintf_chk", "__printf_chk",
    "__snprintf_chk", "__vsnprintf_chk", "fwrite", "fputs", "puts", "fflush", "syscall", "dlopen", "dlsym", "dlclose", "_dl_runtime_resolve",
    // Waiting for another thread
    "pthread_cond_wait", "pthread_cond_timedwait", "pthread_create", "pthread_join", "sem_wait", "sem_timedwait", "poll", "select", "nanosleep", "usleep",
    // CPython: what changes objects, raises, runs Python code or waits for the GIL
    "Py_FatalError", "_Py_FatalErrorFunc", "_Py_FatalErrorFormat", "_Py_FatalRefcountErrorFunc", "_Py_FatalRefcountError", "_PyObject_AssertFailed",
    "_Py_Dealloc", "_Py_NegativeRefcount", "PyObject_Malloc", "PyObject_Calloc", "PyObject_Realloc", "PyObject_Free", "PyMem_Malloc", "PyMem_Calloc",
    "PyMem_Realloc", "PyMem_Free", "PyMem_RawMalloc", "PyMem_RawFree", "_PyObject_GC_New", "_PyObject_GC_NewVar", "_PyObject_New", "PyType_GenericAlloc",
    "PyObject_Call", "PyObject_CallObject", "PyObject_CallFunction", "PyObject_CallMethod", "PyObject_Vectorcall", "PyObject_CallFunctionObjArgs",
    "PyEval_EvalCode", "_PyEval_EvalFrameDefault", "PyEval_AcquireThread", "PyEval_RestoreThread", "PyEval_SaveThread", "PyGILState_Ensure",
    "PyGILState_Release", "PyRun_SimpleString", "PyImport_ImportModule", "Py_Exit",
};

const std::unordered_map<std::string_view, LibraryFunction>& Names() {
  static const auto names = [] {
    std::unordered_map<std::string_view, LibraryFunction> m;
    for (const ModelRow& row : kModels) m.emplace(row.name, row.function);
    for (const std::string_view name : kStops) m.emplace(name, LibraryFunction::kStop);
    return m;
  }();
  return names;
}

}  // namespace

LibraryFunction ClassifyLibraryFunction(std::string_view name) noexcept {
  name = name.substr(0, name.find('@'));
  const auto& names = Names();
  if (const auto it = names.find(name); it != names.end()) return it->second;
  if (name.starts_with("PyErr_") && name != "PyErr_Occurred") return LibraryFunction::kStop;
  return LibraryFunction::kNone;
}

bool MayBeIndirectFunction(std::string_view name) noexcept {
  constexpr std::string_view kPrefixes[] = {"str", "__str", "mem", "__mem", "wcs", "__wcs", "wmem", "__wmem", "stp", "__stp", "rawmem", "time", "gettimeofday", "clock_"};
  return std::any_of(std::begin(kPrefixes), std::end(kPrefixes), [&](std::string_view p) { return name.starts_with(p); });
}

}  // namespace pygc::machine
