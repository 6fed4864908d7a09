"""Reads ahead through a function that fetches one range, from a few threads: for files without a native reader."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field

MIN_PART_BYTES = 1 << 20
MAX_PART_BYTES = 8 << 20
START_AFTER = 2
"""Reads in a row before anything is fetched ahead."""

PROCESS_BYTES = 256 << 20
"""The most bytes that all readers of a process hold ahead."""


@dataclass
class Part:
    """A range that is fetched, or was."""

    start: int
    end: int
    future: Future[bytes]


@dataclass
class State:
    """What belongs to one process. A forked child makes its own, and never looks at its parent's."""

    pid: int = field(default_factory=os.getpid)
    lock: threading.Lock = field(default_factory=threading.Lock)
    parts: list[Part] = field(default_factory=list)
    position: int = 0
    streak: int = 0
    window_bytes: int = 0


class _Process:
    """Threads and bytes that the readers of a process share."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.held_bytes = 0
        self.left_bytes: deque[int] = deque()
        """Bytes that readers held when they were collected. Giving them back at once would need the lock."""
        self.pools: dict[int, ThreadPoolExecutor] = {}

    def pool(self, threads: int) -> ThreadPoolExecutor:
        with self.lock:
            if threads not in self.pools:
                self.pools[threads] = ThreadPoolExecutor(threads, thread_name_prefix="headstart-fetch")
            return self.pools[threads]

    def take(self, size: int) -> bool:
        with self.lock:
            while self.left_bytes:
                self.held_bytes -= self.left_bytes.popleft()
            if self.held_bytes + size > PROCESS_BYTES:
                return False
            self.held_bytes += size
            return True

    def give_back(self, size: int) -> None:
        with self.lock:
            self.held_bytes -= size


_process = _Process()


def _this_process() -> _Process:
    global _process
    if _process.pid != os.getpid():
        _process = _Process()
    return _process


class FetcherReader:
    """Reads a file of `size` bytes through `fetcher(start, end)`; sequential reads are fetched ahead.

    With a concurrency of 1 all calls of the fetcher come from one thread at a time. Errors of a range that was fetched
    ahead reach the read that needs it, once; the next read fetches again.
    """

    def __init__(
        self, fetcher: Callable[[int, int], bytes], size: int, *, concurrency: int = 8, max_bytes: int = 64 << 20
    ) -> None:
        if concurrency < 1 or max_bytes < 1:
            raise ValueError("concurrency and max_bytes must be positive")
        self.fetcher, self.size = fetcher, size
        self.concurrency, self.max_bytes = concurrency, max_bytes
        self.closed = False
        self._state = State()
        # Kept apart from the pool, since several readers of one pool do not exclude each other.
        self._alone = threading.Lock()

    def read_bytes_at(self, start: int, end: int) -> bytes:
        """Return the bytes of a range, cut at the end of the file."""
        start, end = max(0, start), min(end, self.size)
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        if start >= end:
            return b""
        state = self._own_state()
        with state.lock:
            self._note(state, start, end)
            pieces = self._plan(state, start, end)
            self._read_ahead(state, end)
        try:
            found = [
                self._fetch(*piece) if isinstance(piece, tuple) else self._take(piece, start, end) for piece in pieces
            ]
        except BaseException:
            with state.lock:
                self._forget(state, state.parts[:])
                state.streak = 0
            raise
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return found[0] if len(found) == 1 else b"".join(found)

    def close(self) -> None:
        """End what is fetched ahead. Does not wait."""
        self.closed = True
        state = self._state
        if state.pid == os.getpid():
            with state.lock:
                self._forget(state, state.parts[:])

    def __del__(self) -> None:
        """End what is fetched ahead, where nobody has closed the reader."""
        # This may run within any call, so it takes no lock.
        state = getattr(self, "_state", None)
        if state is None or not state.pid == _process.pid == os.getpid():
            return
        for part in state.parts:
            part.future.cancel()
            _process.left_bytes.append(part.end - part.start)

    def _own_state(self) -> State:
        if self._state.pid != os.getpid():
            self._state, self._alone = State(), threading.Lock()
        return self._state

    def _note(self, state: State, start: int, end: int) -> None:
        """Take in a read: whether it goes on where the last one ended, or within what is fetched ahead."""
        ahead = max((part.end for part in state.parts), default=0)
        if start == state.position or state.position < start < ahead:
            state.streak += 1
        elif start < state.position and any(part.start <= start and end <= part.end for part in state.parts):
            pass  # a short way back, within what is held
        else:
            state.streak, state.window_bytes = int(start == 0), 0
            self._forget(state, state.parts[:])
        state.position = end

    def _plan(self, state: State, start: int, end: int) -> list[Part | tuple[int, int]]:
        """Return the parts that the range needs, and the gaps between them, in order."""
        pieces: list[Part | tuple[int, int]] = []
        for part in state.parts:
            if part.end <= start or part.start >= end:
                continue
            if part.start > start:
                pieces.append((start, part.start))
            pieces.append(part)
            start = part.end
        if start < end:
            pieces.append((start, end))
        # One part behind the reader is kept for short ways back.
        behind = [part for part in state.parts if part.end <= state.position]
        self._forget(state, [part for part in behind[:-1] if part not in pieces])
        return pieces

    def _read_ahead(self, state: State, end: int) -> None:
        if state.streak < START_AFTER:
            return
        state.window_bytes = min(self.max_bytes, max(2 * state.window_bytes, MIN_PART_BYTES))
        ahead = max([end, *(part.end for part in state.parts)])
        goal = min(self.size, end + state.window_bytes)
        part_bytes = max(MIN_PART_BYTES, min(MAX_PART_BYTES, state.window_bytes // self.concurrency))
        process = _this_process()
        while ahead < goal:
            stop = min(ahead + part_bytes, self.size)
            if not process.take(stop - ahead):
                return
            future = process.pool(self.concurrency).submit(self._fetch, ahead, stop)
            state.parts.append(Part(ahead, stop, future))
            ahead = stop

    def _take(self, part: Part, start: int, end: int) -> bytes:
        """Return what a read needs of a part."""
        low, high = max(start, part.start), min(end, part.end)
        try:
            data = part.future.result()
        except CancelledError:
            return self._fetch(low, high)  # another reader jumped away from it
        return data if (low, high) == (part.start, part.end) else data[low - part.start : high - part.start]

    def _fetch(self, start: int, end: int) -> bytes:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        if self.concurrency == 1:
            with self._alone:
                data = self.fetcher(start, end)
        else:
            data = self.fetcher(start, end)
        if len(data) != end - start:
            raise OSError(f"the file system returned {len(data)} bytes for {start}..{end}; has the object changed?")
        return bytes(data)

    def _forget(self, state: State, parts: list[Part]) -> None:
        process = _this_process()
        for part in parts:
            part.future.cancel()
            state.parts.remove(part)
            process.give_back(part.end - part.start)

    def __reduce__(self) -> tuple[object, ...]:
        return _make, (self.fetcher, self.size, self.concurrency, self.max_bytes)


def _make(fetcher: Callable[[int, int], bytes], size: int, concurrency: int, max_bytes: int) -> FetcherReader:
    return FetcherReader(fetcher, size, concurrency=concurrency, max_bytes=max_bytes)
