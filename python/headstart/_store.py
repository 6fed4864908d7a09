"""Stores: obspec's protocols, and lists of whole objects."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from . import _headstart
from ._file import File

if TYPE_CHECKING:
    from ._headstart import Attributes, Downloaded, PutMode, PutResult, ReadableBuffer

    Source: TypeAlias = IO[bytes] | Path | ReadableBuffer | Iterator[ReadableBuffer] | Iterable[ReadableBuffer]
    AsyncSource: TypeAlias = Source | AsyncIterator[ReadableBuffer] | AsyncIterable[ReadableBuffer]

_CHUNK_SIZE = 5 * 1024 * 1024
_MAX_CONCURRENCY = 12
_COPY_SIZE = 4 * 1024 * 1024


class Store(_headstart.Store):
    """A store of objects: ``Store("gs://bucket/prefix", **options)``. Paths are relative to the URL.

    Works in forked children and can be pickled, with its options; every process opens it by itself. Equal stores of a
    process share connections and cached pages.
    """

    def open(self, path: str, *, size: int | None = None, e_tag: str | None = None, version: str | None = None) -> File:
        """Open the object at ``path`` for reading.

        Where its ``size`` and its ``e_tag`` or ``version`` are given, as a listing has them, only that version is read,
        and no request asks for the size.
        """
        return File(self.reader(path, size=size, e_tag=e_tag, version=version))

    def download(  # type: ignore[override]
        self,
        path: str,
        file: str | os.PathLike[str] | IO[bytes],
        progress: Callable[[int, int], object] | None = None,
    ) -> Downloaded | None:
        """Download an object to the file of that name, resumable and checked, or into an open file.

        ``progress`` is called with the bytes written and the length, by the thread that waits.
        """
        if isinstance(file, str | os.PathLike):
            return super().download(path, file, progress)
        with self.open(path) as source:
            source.advise("sequential")
            while chunk := source.read_buffer(_COPY_SIZE):
                file.write(chunk)
                if progress is not None:
                    progress(source.tell(), source.size)
        return None

    def put(
        self,
        path: str,
        file: Source,
        *,
        attributes: Attributes | None = None,
        tags: dict[str, str] | None = None,
        mode: PutMode | None = None,
        use_multipart: bool | None = None,
        chunk_size: int = _CHUNK_SIZE,
        max_concurrency: int = _MAX_CONCURRENCY,
    ) -> PutResult:
        """Write ``file`` as the object at ``path``: obspec's ``Put``. More than ``chunk_size`` is written in parts."""
        chunks = _chunks_of(file, chunk_size)
        first = _FirstChunks(chunk_size, use_multipart, mode)
        for chunk in chunks:
            if first.add(chunk):
                break
        if not first.need_parts:
            return self.put_chunks(path, first.chunks, attributes=attributes, tags=tags, mode=mode)
        upload = self.upload(
            path, attributes=attributes, tags=tags, chunk_size=chunk_size, max_concurrency=max_concurrency
        )
        try:
            for chunk in first.chunks:
                upload.write(chunk)
            for chunk in chunks:
                upload.write(chunk)
            return upload.finish()
        except BaseException:
            upload.abort()
            raise

    async def put_async(
        self,
        path: str,
        file: AsyncSource,
        *,
        attributes: Attributes | None = None,
        tags: dict[str, str] | None = None,
        mode: PutMode | None = None,
        use_multipart: bool | None = None,
        chunk_size: int = _CHUNK_SIZE,
        max_concurrency: int = _MAX_CONCURRENCY,
    ) -> PutResult:
        """As ``put``, awaited; ``file`` may also be an asynchronous iterable. A file is read by another thread."""
        chunks = aiter(file) if isinstance(file, AsyncIterable) else _in_thread(_chunks_of(file, chunk_size))
        first = _FirstChunks(chunk_size, use_multipart, mode)
        async for chunk in chunks:
            if first.add(chunk):
                break
        if not first.need_parts:
            return await self.put_chunks_async(path, first.chunks, attributes=attributes, tags=tags, mode=mode)
        upload = self.upload(
            path, attributes=attributes, tags=tags, chunk_size=chunk_size, max_concurrency=max_concurrency
        )
        try:
            for chunk in first.chunks:
                await upload.write_async(chunk)
            async for chunk in chunks:
                await upload.write_async(chunk)
            return await upload.finish_async()
        except BaseException:
            await upload.abort_async()
            raise


class _FirstChunks:
    """The chunks of an object until it is known whether they are written in parts or in one request."""

    def __init__(self, chunk_size: int, use_multipart: bool | None, mode: PutMode | None) -> None:
        self.chunks: list[ReadableBuffer] = []
        self._size = 0
        self._chunk_size = chunk_size
        self._may_be_parts = use_multipart is not False and mode in (None, "overwrite")
        self.need_parts = self._may_be_parts and use_multipart is True

    def add(self, chunk: ReadableBuffer) -> bool:
        """Add the next chunk, and return whether there are enough for parts."""
        self.chunks.append(chunk)
        self._size += memoryview(chunk).nbytes
        is_enough = self._may_be_parts and self._size > self._chunk_size
        self.need_parts = self.need_parts or is_enough
        return is_enough


def _chunks_of(file: Any, chunk_size: int) -> Iterator[ReadableBuffer]:
    """Yield the content of what obspec lets ``put`` write."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            yield from _chunks_of(opened, chunk_size)
    elif hasattr(file, "read"):
        while chunk := file.read(chunk_size):
            yield chunk
    else:
        try:
            view = memoryview(file)
        except TypeError:
            yield from file
        else:
            yield view


async def _in_thread(chunks: Iterator[ReadableBuffer]) -> AsyncIterator[ReadableBuffer]:
    """Yield ``chunks``, which another thread makes: reading a file would block the event loop."""
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
