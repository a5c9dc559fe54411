"""Have forks of this process share its memory: a page is shared until one of the two writes to it."""

import contextlib
import ctypes
import gc
import sys
import sysconfig
from types import CodeType
from typing import Any

POOL_BYTES = 1 << 14
"""Python keeps its objects of at most SMALL_BYTES in pools, each for one size in steps of STEP_BYTES."""
SMALL_BYTES = 512
STEP_BYTES = 16
POOL_USED_OTHERWISE = 6
"""Blocks that a new pool may lack: its head, its end, and the numbers that count."""
MAX_FILLED_BYTES = 1 << 18
"""For one size, where Python allocates in another way."""
LARGEST_GAP_BYTES = 1 << 16
SMALLEST_GAP_BYTES = 24


def share_with_forks() -> None:
    """Call it once everything is loaded; later forks write to few of the pages that are there now."""
    gc.collect()
    make_immortal()
    with contextlib.suppress(AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    fill_pools()
    with contextlib.suppress(AttributeError):
        fill_heap()
    gc.freeze()


def make_immortal() -> None:
    """Give every object the count of references that None has, which Python never changes (PEP 683).

    Otherwise each use of an object writes to its page, of which the process then has a copy of its own. Where Python
    keeps counts in another way, nothing is done.
    """
    if (immortal := _immortal_count()) is None:
        return
    immortal_references, count_at = sys.getrefcount(None), ctypes.c_uint32.from_address
    found: list[Any] = gc.get_objects()
    while found:
        mortal = [one for one in found if sys.getrefcount(one) != immortal_references]
        for one in mortal:
            count_at(id(one)).value = immortal
        found = gc.get_referents(*mortal)
        for one in mortal:
            if type(one) is CodeType:  # the collector does not look into it
                found += one.co_consts, one.co_names


def _immortal_count() -> int | None:
    """The lower half of the count that marks an object as immortal, which is negative as a signed number and stands at
    the object's address. None for free-threaded and debugging builds, whose objects begin otherwise."""
    begins_otherwise = sysconfig.get_config_var("Py_GIL_DISABLED") or sysconfig.get_config_var("Py_TRACE_REFS")
    if sys.implementation.name != "cpython" or sys.byteorder != "little" or begins_otherwise:
        return None
    count = ctypes.c_uint32.from_address(id(None)).value
    return count if count >> 31 else None


def fill_pools() -> None:
    """Take the free blocks between objects, so that what a fork makes is on pages of its own.

    They are taken, and never given back, until almost all blocks of one pool were free, which thus is a new one.
    """
    take = ctypes.pythonapi.PyObject_Malloc
    take.restype, take.argtypes = ctypes.c_size_t, [ctypes.c_size_t]
    for size in range(STEP_BYTES, SMALL_BYTES + 1, STEP_BYTES):
        pool = found_free = 0
        for _ in range(MAX_FILLED_BYTES // size):
            before, pool = pool, take(size) // POOL_BYTES
            found_free = found_free + 1 if pool == before else 1
            if found_free == POOL_BYTES // size - POOL_USED_OTHERWISE:
                break


class _Heap(ctypes.Structure):
    """What glibc's mallinfo2 returns."""

    _fields_ = (("others", ctypes.c_size_t * 9), ("end_bytes", ctypes.c_size_t))


def fill_heap() -> None:
    """The same for larger objects, which glibc keeps: take each gap before the heap's free end.

    AttributeError where the C library has no `mallinfo2`.
    """
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _Heap
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_size_t, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_size_t]
    libc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_size_t, [ctypes.c_ssize_t]
    end = libc.sbrk(0) - libc.mallinfo2().end_bytes
    size = LARGEST_GAP_BYTES
    while size >= SMALLEST_GAP_BYTES:
        block = libc.malloc(size)
        if 0 < block < end:
            continue
        libc.free(block)
        size -= max(STEP_BYTES, size // 4)
