"""The files that `HeadstartFileSystem.open` returns."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

from fsspec.asyn import AbstractAsyncStreamedFile
from fsspec.caching import BaseCache
from fsspec.spec import AbstractBufferedFile

if TYPE_CHECKING:
    from .filesystem import HeadstartFileSystem

LINE_BLOCK_BYTES = 256 << 10
"""Bytes that `readline` looks through at once."""

NATIVE_CACHES = {None, "headstart", "readahead", "adaptive", "bytes", "background"}
"""Cache types of fsspec that ask for read-ahead. Headstart's own takes their place."""


class HeadstartFile(AbstractBufferedFile):
    """A file opened for reading: fsspec's interface over Headstart's native file.

    It does not copy more than the native file does, and works in forked children.
    """

    def __init__(
        self,
        fs: HeadstartFileSystem,
        path: str,
        mode: str = "rb",
        block_size: int | str | None = "default",
        autocommit: bool = True,
        cache_type: str | None = None,
        cache_options: dict[str, Any] | None = None,
        size: int | None = None,
        **kwargs: Any,
    ) -> None:
        # The parent's constructor would build a cache of its own.
        self.fs, self.path, self.mode, self.autocommit = fs, path, mode, autocommit
        self.blocksize = self.DEFAULT_BLOCK_SIZE if block_size in ("default", None) else block_size
        self.cache_type, self.cache_options, self.kwargs = cache_type, dict(cache_options or {}), kwargs
        self._block, self._block_start = b"", 0
        self._native = fs._open_native(path, self.cache_options)
        self.closed = False
        try:
            known = self._native.size if size is None and fs.check_on_open else size
        except BaseException:
            self.close()
            raise
        self._known_size = known
        self.cache = BaseCache(self.blocksize, self._fetch_range, known)

    @property
    def size(self) -> int:
        """The object's size in bytes; asks the store where it is not known yet."""
        if self._known_size is None:
            self._known_size = self._native.size
        return self._known_size

    @property
    def loc(self) -> int:
        """The position of the next read."""
        return self._native.tell()

    @loc.setter
    def loc(self, offset: int) -> None:
        self._native.seek(offset)

    @property
    def version(self) -> Any:
        """The version of the object that this file reads."""
        return self._native.version

    def stats(self) -> Any:
        """Return the counts of this file's reads and requests."""
        return self._native.stats()

    def advise(self, *args: Any) -> None:
        """Announces how the file will be read; see `headstart.File.advise`."""
        self._native.advise(*args)

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._native.tell()

    def seek(self, loc: int, whence: int = 0) -> int:
        """Move the position, and return it."""
        self._check_open()
        return self._native.seek(int(loc), whence)

    def read(self, length: int | None = -1) -> bytes:
        """Read `length` bytes, or to the end."""
        self._check_open()
        return self._native.read(-1 if length is None else int(length))

    def readinto(self, b: Any) -> int:
        """Fill a buffer, and return the number of bytes read."""
        self._check_open()
        return self._native.readinto(b)

    def read_buffer(self, length: int | None = -1) -> Any:
        """Like `read`, but returns the bytes in a buffer without a copy."""
        self._check_open()
        return self._native.read_buffer(-1 if length is None else int(length))

    def read_at(self, start: int, end: int) -> bytes:
        """Read the bytes of a range. Does not move the position; may be called by many threads at once."""
        self._check_open()
        return self._native.read_bytes_at(start, end)

    def readuntil(self, char: bytes = b"\n", blocks: int | None = None) -> bytes:
        """Read up to and with `char`, or to the end. Looks through `blocks` bytes at once."""
        self._check_open()
        found: list[bytes] = []
        start = offset = self._native.tell()
        while True:
            block, at = self._block_at(offset, blocks or LINE_BLOCK_BYTES)
            if at == len(block):
                break  # the end of the file
            # `char` may lie across two blocks.
            tail = b"".join(found)[-(len(char) - 1) :] if len(char) > 1 and found else b""
            if tail and (place := (tail + block[at : at + len(char) - 1]).find(char)) >= 0:
                cut = place + len(char) - len(tail)
                found.append(block[at : at + cut])
                break
            place = block.find(char, at)
            if place >= 0:
                found.append(block[at : place + len(char)])
                break
            found.append(block[at:])
            offset += len(block) - at
        line = b"".join(found)
        self._native.seek(start + len(line))
        return line

    def readline(self, size: int | None = -1) -> bytes:
        """Read a line, or `size` bytes of it."""
        line = self.readuntil(b"\n")
        if size is not None and 0 <= size < len(line):
            self._native.seek(self._native.tell() - (len(line) - size))
            line = line[:size]
        return line

    def close(self) -> None:
        """Abort what is in flight and free the memory. Never waits."""
        if self.closed:
            return
        self.closed = True
        self._block = b""
        self.cache = None
        native = getattr(self, "_native", None)
        if native is not None:
            native.close()

    def _block_at(self, offset: int, block_bytes: int) -> tuple[bytes, int]:
        """Return a block that holds `offset`, and where in it `offset` lies."""
        if not self._block_start <= offset < self._block_start + len(self._block):
            self._block, self._block_start = self._native.read_bytes_at(offset, offset + block_bytes), offset
        return self._block, offset - self._block_start

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self._native.read_bytes_at(start, end)

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def __reduce__(self) -> Any:
        arguments = (self.fs, self.path, self.blocksize, self.cache_type, self.cache_options, self.kwargs)
        return _reopen, (*arguments, 0 if self.closed else self.tell(), self._known_size)


def _reopen(
    fs: HeadstartFileSystem,
    path: str,
    block_size: int,
    cache_type: str | None,
    cache_options: dict[str, Any],
    kwargs: dict[str, Any],
    loc: int,
    size: int | None,
) -> HeadstartFile:
    file = HeadstartFile(
        fs, path, block_size=block_size, cache_type=cache_type, cache_options=cache_options, size=size, **kwargs
    )
    if loc:
        file.seek(loc)
    return file


class HeadstartBufferedFile(AbstractBufferedFile):
    """A file opened for writing, or for reading through one of fsspec's own caches.

    What is written is uploaded in parts, and becomes the object when the file is closed: completely or not at all.
    """

    closed: bool

    def __init__(self, fs: HeadstartFileSystem, path: str, mode: str = "rb", **kwargs: Any) -> None:
        self._native: Any = None
        super().__init__(fs, path, mode, **kwargs)
        self._upload: Any = None
        self._rest = b""
        if mode == "xb":
            self.blocksize = float("inf")  # only a whole object can be written on condition
        elif mode == "ab":
            with contextlib.suppress(FileNotFoundError):
                self.loc = self.buffer.write(fs.cat_file(path))

    def _upload_chunk(self, final: bool = False) -> bool:
        store, key = self.fs._at(self.path)
        data = self.buffer.getvalue()
        if self._upload is None and not final:
            self._upload = store.upload(key)
        if self._upload is None:
            self._rest = data  # small enough for one request
        elif data:
            self._upload.write(data)
        if final and self.autocommit:
            self.commit()
        return True

    def commit(self) -> None:
        """Make what was written the object."""
        store, key = self.fs._at(self.path)
        if self._upload is not None:
            self._upload.finish()
        else:
            store.put(key, self._rest, mode="create" if self.mode == "xb" else "overwrite")
        self._upload, self._rest = None, b""
        self.fs.invalidate_cache(self.path)

    def discard(self) -> None:
        """Forget what was written."""
        upload, self._upload, self._rest, self.forced = self._upload, None, b"", True
        if upload is not None:
            upload.abort()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        # What an exception cut short does not become an object.
        if kind is not None and self.mode != "rb" and not self.closed:
            self.discard()
            self.closed = True
        self.close()

    def _fetch_range(self, start: int, end: int) -> bytes:
        # One reader for all blocks: they are of one version.
        if self._native is None:
            self._native = self.fs._open_native(self.path, {})
        return self._native.read_bytes_at(start, min(end, self.size))

    def close(self) -> None:
        """Write what is left, or end the reading."""
        super().close()
        if self._native is not None:
            self._native.close()


class HeadstartStreamedFile(AbstractAsyncStreamedFile):
    """A file for asyncio: its ``read``, ``write`` and ``close`` are coroutines."""

    closed: bool

    def __init__(self, fs: HeadstartFileSystem, path: str, mode: str, native: Any = None, size: int = 0) -> None:
        if mode not in ("rb", "wb"):
            raise NotImplementedError(f"mode {mode!r}: open_async knows 'rb' and 'wb'")
        self.fs, self.path, self.mode, self.size = fs, path, mode, size
        self.loc, self.offset, self.forced, self.buffer = 0, None, False, io.BytesIO()
        self.blocksize, self.cache, self.closed = self.DEFAULT_BLOCK_SIZE, None, False
        self._native = native
        self._upload: Any = None

    async def _fetch_range(self, start: int, end: int) -> bytes:
        return bytes(await self._native.read_at(start, min(end, self.size)))

    async def _upload_chunk(self, final: bool = False) -> bool:
        store, key = self.fs._at(self.path)
        data = self.buffer.getvalue()
        if self._upload is None and final:
            await store.put_async(key, data)
            return True
        if self._upload is None:
            self._upload = store.upload(key)
        if data:
            await self._upload.write_async(data)
        if final:
            await self._upload.finish_async()
        return True

    async def close(self) -> None:
        """Write what is left, or end the reading."""
        await super().close()
        if self._native is not None:
            await self._native.close()

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        # What an exception cut short does not become an object.
        if kind is not None and self.mode == "wb" and not self.closed:
            self.closed = True
            if self._upload is not None:
                await self._upload.abort_async()
        await self.close()
