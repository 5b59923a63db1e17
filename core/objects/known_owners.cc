#include "core/objects/known_owners.h"

#include <algorithm>
#include <iterator>

namespace pygc::objects {

namespace {

using Behind = KnownOwner::Behind;

// struct PatternObject, Modules/_sre.h [2.7, 3.6-3.9]; later ones are collected and visit these.
constexpr OwnedField kPattern[] = {{8, "groupindex"}, {16, "indexgroup"}, {24, "pattern"}};
// struct PyModuleDef_Base, Include/moduleobject.h [3.x]. PyModuleDef_HEAD_INIT and PyModuleDef_Init(), Objects/moduleobject.c, set the count to 1; modules
// borrow their definition. Most are static variables; cffi (_my_Py_InitModule(), cffi1_module.c) and HPy allocate theirs.
constexpr OwnedField kModuleDef[] = {{16, "m_copy"}};
// struct StgDictObject, Modules/_ctypes/ctypes.h [<= 3.12]. Not `proto`, which the types whose dict it is visit from 3.9 on: CDataType_traverse().
constexpr OwnedField kStgDict[] = {{80, "argtypes"}, {88, "converters"}, {96, "restype"}, {104, "checker"}};
// struct PyDecContextObject behind its mpd_context_t, Modules/_decimal/_decimal.c [3.6-3.12]; later ones are collected.
constexpr OwnedField kDecimalContext[] = {{48, "traps"}, {56, "flags"}};
// struct PyFileObject, Include/fileobject.h [2.7].
constexpr OwnedField kFile[] = {{8, "f_name"}, {16, "f_mode"}, {88, "f_encoding"}, {96, "f_errors"}};

// PyArrayObject_fields, numpy/core/include/numpy/ndarraytypes.h: base, descr, by the names of the attributes that give them, and the capsule of what its memory is from [1.22+; the
// object ends before it in older ones]. Its items are owned too where the array is one of objects: Ownership asks ReadNumpyArray().
constexpr OwnedField kNumpyArrayFields[] = {{32, "base"}, {40, "dtype"}, {72, "mem_handler"}};
// PyVoidScalarObject, numpy/core/include/numpy/arrayscalars.h: descr, base, of an item of a structured array, by the names of the attributes that give them.
constexpr OwnedField kNumpyVoidFields[] = {{8, "dtype"}, {24, "base"}};
// PyArray_ArrayFunctionDispatcherObject, numpy/core/src/multiarray/arrayfunction_override.c [1.25+], which is not collected.
constexpr OwnedField kNumpyDispatcher[] = {{16, "relevant_arg_func"}, {24, "default_impl"}};

constexpr KnownOwner kOwners[] = {
    {"re.Pattern", "_sre", Behind::kVarObjectHead, kPattern, true},
    {"_sre.SRE_Pattern", "_sre", Behind::kVarObjectHead, kPattern, true},
    {"moduledef", nullptr, Behind::kObjectHead, kModuleDef, true, true},
    {"StgDict", "_ctypes", Behind::kBase, kStgDict, false},
    {"decimal.Context", "_decimal", Behind::kObjectHead, kDecimalContext, true},
    {"file", nullptr, Behind::kObjectHead, kFile, true},
    {"numpy.ndarray", "_multiarray_umath", Behind::kObjectHead, kNumpyArrayFields, false},
    {"numpy.void", "_multiarray_umath", Behind::kVarObjectHead, kNumpyVoidFields, false},
    {"numpy._ArrayFunctionDispatcher", "_multiarray_umath", Behind::kObjectHead, kNumpyDispatcher, false},
};

// struct buffered, Modules/_io/bufferedio.c [3.6+]: buffer, buffer_size. lockobject, rlockobject, Modules/_threadmodule.c [RLock 3.6-3.13, lock up to 3.13.0; later ones have no such block]: lock_lock,
// a sem_t of which sem_init() writes the first 12 bytes. CPython: PyThread_allocate_lock(), Python/thread_pthread.h.
constexpr std::uint32_t kLock = 32;
constexpr BytesOwner kBytesOwners[] = {{"_io.BufferedReader", 40, 104}, {"_io.BufferedWriter", 40, 104}, {"_io.BufferedRandom", 40, 104}, {"_thread.lock", 0, 0, kLock, 24}, {"_thread.RLock", 0, 0, kLock, 32}};

// compobject, Modules/zlibmodule.c; BZ2Compressor, BZ2Decompressor, Modules/_bz2module.c; Compressor, Decompressor, Modules/_lzmamodule.c. zlib: deflateStateCheck(), deflate.c: state->strm.
// TaskObj, Modules/_asynciomodule.c. CDataObject, Modules/_ctypes/ctypes.h: b_value.
constexpr std::string_view kBorrowedMiddles[] = {"zlib.Compress", "zlib.Decompress", "zlib._ZlibDecompressor", "_bz2.BZ2Compressor", "_bz2.BZ2Decompressor", "bz2.BZ2Compressor", "bz2.BZ2Decompressor",
                                         "_lzma.LZMACompressor", "_lzma.LZMADecompressor", "_asyncio.Task", "_ctypes._CData"};

}  // namespace

bool HasBorrowedMiddle(std::string_view name) noexcept { return std::find(std::begin(kBorrowedMiddles), std::end(kBorrowedMiddles), name) != std::end(kBorrowedMiddles); }

const BytesOwner* FindBytesOwner(std::string_view name) noexcept {
  const auto* const at = std::find_if(std::begin(kBytesOwners), std::end(kBytesOwners), [name](const BytesOwner& o) { return name == o.name; });
  return at == std::end(kBytesOwners) ? nullptr : at;
}

const KnownOwner* FindKnownOwner(std::string_view name) noexcept {
  const auto* const at = std::find_if(std::begin(kOwners), std::end(kOwners), [name](const KnownOwner& o) { return name == o.name; });
  return at == std::end(kOwners) ? nullptr : at;
}

}  // namespace pygc::objects
