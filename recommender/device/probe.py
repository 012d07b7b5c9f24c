"""A short measurement of main memory's read bandwidth, only when it is asked for."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from recommender.errors import BadInputError

# A block per thread: past the last-level cache of nearly every CPU where there is room for it, and small enough for a
# machine with 1 GiB where there is not.
_LARGE_BLOCK_BYTES, _SMALL_BLOCK_BYTES = 256 * 1024 * 1024, 32 * 1024 * 1024
# Blocks together never take more than this share of the memory that is available.
_MEMORY_SHARE = 0.125


def measure_bandwidth(seconds: float = 2.0, threads: int | None = None) -> float:
    """Bytes per second that all cores together read from main memory.

    Each thread sums its own block of 64-bit integers again and again; NumPy lets go of Python's lock meanwhile. The
    best quarter-second counts, as in STREAM (J. McCalpin), because everything else that runs only takes away.

    Assumes that the blocks together exceed the last-level cache. A CPU whose cache is larger than the blocks (256 MiB
    a thread, 32 where memory is short) shows too much; one whose cores are slower than its memory shows too little (a
    lower bound).

    Args:
        seconds: how long to measure, 0.1–60.
        threads: how many; all that this process may use unless given.

    Raises:
        BadInputError: a duration or number of threads that makes no sense.
    """
    import numpy as np

    if not 0.1 <= seconds <= 60:
        raise BadInputError(f"{seconds:g} s is no sensible time to measure. Give 0.1 to 60.")
    count = threads if threads is not None else _usable_threads()
    if not 1 <= count <= 1024:
        raise BadInputError(f"{count} threads make no sense. Give 1 to 1024.")
    block_bytes = _block_bytes(count)
    blocks = [np.ones(block_bytes // 8, dtype=np.int64) for _ in range(count)]
    read = [0] * count
    stop = threading.Event()

    def work(index: int, block: Any) -> None:
        while not stop.is_set():
            block.sum()
            read[index] += block_bytes

    workers = [threading.Thread(target=work, args=item, daemon=True) for item in enumerate(blocks)]
    for worker in workers:
        worker.start()
    best = 0.0
    end = time.perf_counter() + seconds
    began, before = time.perf_counter(), sum(read)
    while time.perf_counter() < end:
        time.sleep(min(0.25, seconds / 4))
        now, after = time.perf_counter(), sum(read)
        best = max(best, (after - before) / (now - began))
        began, before = now, after
    stop.set()
    for worker in workers:
        worker.join()
    return best


def _block_bytes(threads: int) -> int:
    import psutil

    room = psutil.virtual_memory().available * _MEMORY_SHARE
    return _LARGE_BLOCK_BYTES if threads * _LARGE_BLOCK_BYTES <= room else _SMALL_BLOCK_BYTES


def _usable_threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
