"""What workers of Dask run: a module that they can import."""

from __future__ import annotations

import functools
import threading
from typing import Any

from distributed import get_worker

import headstart

# `functools.cache` lets two threads compute the same value at once.
OPENING = threading.Lock()


@functools.cache
def store_of(url: str, options: tuple[tuple[str, Any], ...]) -> headstart.Store:
    """One store, and so one cache, a worker process."""
    # A busy machine answers late, and late requests are hedged.
    return headstart.Store(url, mode="cached", fetch_hedge=False, **dict(options))


def read(url: str, options: tuple[tuple[str, Any], ...], path: str) -> tuple[bytes, str]:
    """The bytes of a file, and the name of the worker that has read it."""
    with OPENING:
        store = store_of(url, options)
    return store.cat(path), str(get_worker().name)
