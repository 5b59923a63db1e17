"""The reference count of an object, read and changed behind the interpreter's back, on every build that has ctypes."""
import ctypes
import sys

# Py_TRACE_REFS puts two links before the count. CPython: Py_DEBUG up to 3.7.
OFFSET = 16 if hasattr(sys, "getobjects") and sys.version_info < (3, 8) or (sys.version_info[0] == 2 and hasattr(sys, "gettotalrefcount")) else 0
WORD = ctypes.c_int32 if sys.version_info >= (3, 12) else ctypes.c_ssize_t
# Free-threaded builds count twice. CPython: struct _object with Py_GIL_DISABLED, Include/object.h.
FREE_THREADED = sys.version_info >= (3, 13) and object.__basicsize__ == 32
LOCAL, SHARED, SHARED_SHIFT, IMMORTAL = 12, 16, 2, 0xFFFFFFFF


def count(address):
    """Less than 1 where it is immortal."""
    if not FREE_THREADED:
        return WORD.from_address(address + OFFSET).value
    local = ctypes.c_uint32.from_address(address + LOCAL).value
    return -1 if local == IMMORTAL else local + (ctypes.c_ssize_t.from_address(address + SHARED).value >> SHARED_SHIFT)


def change(address, by):
    if not FREE_THREADED:
        word = WORD.from_address(address + OFFSET)
        word.value += by
        return
    local = ctypes.c_uint32.from_address(address + LOCAL)
    if local.value + by > 0 and local.value != 0:
        local.value += by
    else:  # another thread's, or one whose counts were put together
        shared = ctypes.c_ssize_t.from_address(address + SHARED)
        shared.value += by << SHARED_SHIFT
