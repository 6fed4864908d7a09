"""Files: an object opened for reading, as an ``io.RawIOBase`` or for asyncio."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

from ._headstart import Buffer, Reader

if TYPE_CHECKING:
    from ._headstart import Version, WritableBuffer

Hint = Literal["normal", "sequential", "random", "will_need", "dont_need"]


def open(url: str, **options: Any) -> File:
    """Open the object that ``url`` names for reading.

    Sends no request, unless the URL names a generation: a missing object is an error of the first read. ``options`` are
    those of ``headstart.options()``, with ``.`` or ``_`` between words (``cache_memory_bytes="64MiB"``), and
    ``workers``, by which the memory of this process is divided.
    """
    return File(Reader.open(url, **options))


async def open_async(url: str, **options: Any) -> AsyncFile:
    """Open the object that ``url`` names for reading by asyncio; otherwise as ``open``."""
    return AsyncFile(Reader.open(url, **options))


class File(io.RawIOBase):
    """An open object: a snapshot of one version, from the first answer to close.

    Works in forked children and can be pickled, with its options and position; every process reads by itself.
    ``read`` returns all bytes that were asked for, unless the object ends before.
    """

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self._reader = reader

    @property
    def name(self) -> str:
        """The path of the object within its store."""
        return self._reader.path

    @property
    def mode(self) -> str:
        """How the file is open."""
        return "rb"

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        self._check_open()
        return True

    def seekable(self) -> bool:
        """Whether it has a position: yes."""
        self._check_open()
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to ``size`` bytes, or to the end."""
        return self._reader.read(-1 if size is None else size)

    def readall(self) -> bytes:
        """Read to the end."""
        return self._reader.read(-1)

    def readinto(self, buffer: WritableBuffer, /) -> int:
        """Fill ``buffer`` and return the number of bytes read."""
        return self._reader.readinto(buffer)

    def read_buffer(self, size: int | None = -1, /) -> Buffer:
        """Read up to ``size`` bytes without a copy, where they are in one piece."""
        return self._reader.read_buffer(-1 if size is None else size)

    def read_at(self, start: int, end: int | None = None) -> Buffer:
        """Read the bytes from ``start`` to ``end``, or to the end of the object. The position stays."""
        return self._reader.read_at(start, end)

    def read_bytes_at(self, start: int, end: int | None = None) -> bytes:
        """As ``read_at``, as ``bytes``."""
        return self._reader.read_bytes_at(start, end)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position, and return it."""
        if whence == os.SEEK_SET:
            base = 0
        elif whence == os.SEEK_CUR:
            base = self._reader.position
        elif whence == os.SEEK_END:
            base = self._reader.size()
        else:
            raise ValueError(f"whence: expected 0, 1 or 2, not {whence}")
        self._check_open()
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._reader.position = base + offset
        return base + offset

    def tell(self) -> int:
        """Return the position of the next read."""
        self._check_open()
        return self._reader.position

    @property
    def size(self) -> int:
        """The length of the object in bytes. Asks the store if nothing has been read yet."""
        return self._reader.size()

    @property
    def version(self) -> Version:
        """The version that is read: ``e_tag``, ``version``, ``last_modified`` and ``size``."""
        return self._reader.version()

    def advise(self, hint: Hint, ranges: Sequence[tuple[int, int]] | None = None) -> None:
        """Announce what will be read, as ``posix_fadvise`` does. Never waits.

        ``"sequential"`` reads far ahead from the first read on, ``"random"`` never reads ahead, ``"normal"`` learns the
        pattern. ``"will_need"`` fetches ``ranges`` ahead, and ``"dont_need"`` frees them.
        """
        self._reader.advise(hint, ranges)

    def stats(self) -> dict[str, Any]:
        """Counts of the store in this process, and the bytes that are held for readers of this object."""
        return self._reader.stats()

    def write(self, _: object, /) -> NoReturn:
        """Raise: the file is open for reading."""
        raise io.UnsupportedOperation("the file is open for reading: write with headstart.Store.put")

    def truncate(self, _: int | None = None, /) -> NoReturn:
        """Raise: the file is open for reading."""
        raise io.UnsupportedOperation("the file is open for reading")

    def close(self) -> None:
        """Abort what is in flight and free the memory. Never waits."""
        if not self.closed:
            self._reader.close()
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def __reduce__(self) -> tuple[Callable[..., File], tuple[type[File], tuple[Any, ...]]]:
        self._check_open()
        # The state, and not the reader: a shallow copy must not share the position.
        return _reopen, (type(self), self._reader.state())

    def __repr__(self) -> str:
        return f"<headstart.File {self.name!r}{' (closed)' if self.closed else ''}>"


def _reopen(kind: type[File], state: tuple[Any, ...]) -> File:
    """Open a copy of a file, from its pickled state."""
    return kind(Reader(*state))


class AsyncFile:
    """An open object for asyncio. Cancelling a read aborts its requests."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @property
    def name(self) -> str:
        """The path of the object within its store."""
        return self._reader.path

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._reader.closed

    async def read(self, size: int | None = -1, /) -> Buffer:
        """Read up to ``size`` bytes, or to the end."""
        return await self._reader.read_async(-1 if size is None else size)

    async def read_at(self, start: int, end: int | None = None) -> Buffer:
        """Read the bytes from ``start`` to ``end``, or to the end of the object. The position stays."""
        return await self._reader.read_at_async(start, end)

    async def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position, and return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._reader.position}.get(whence)
        if base is None:
            base = await self.size()
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._reader.position = base + offset
        return base + offset

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._reader.position

    async def size(self) -> int:
        """Return the length of the object in bytes. Asks the store if nothing has been read yet."""
        return await self._reader.size_async()

    def advise(self, hint: Hint, ranges: Iterable[tuple[int, int]] | None = None) -> None:
        """Announce what will be read: see ``File.advise``."""
        self._reader.advise(hint, None if ranges is None else list(ranges))

    def stats(self) -> dict[str, Any]:
        """Counts of the store in this process, and the bytes that are held for readers of this object."""
        return self._reader.stats()

    async def close(self) -> None:
        """Abort what is in flight and free the memory."""
        self._reader.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.close()
