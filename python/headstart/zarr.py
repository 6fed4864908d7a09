"""A store for zarr: `zarr.open(HeadstartStore("gs://bucket/data.zarr"))`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any, Self

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype

import headstart

MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
"""What zarr takes for a key without a value."""


class HeadstartStore(Store):
    """The objects below `url` as a zarr store. `options` are Headstart's: `{"mode": "cached"}`.

    `store` is used in the place of one of its own; the path in `url` is then relative to it. Works in forked
    children, and is pickled with its options.
    """

    supports_writes = True
    supports_deletes = True
    supports_listing = True

    def __init__(
        self, url: str, *, store: headstart.Store | None = None, read_only: bool = False, **options: Any
    ) -> None:
        super().__init__(read_only=read_only)
        self.url, self.options = url.rstrip("/"), options
        self._given = store
        if store is not None:
            self._store, self._prefix = store, self.url.strip("/")
        else:
            root, self._prefix = split_url(self.url)
            self._store = headstart.Store(root, **options)

    def with_read_only(self, read_only: bool = False) -> Self:
        return type(self)(self.url, store=self._given, read_only=read_only, **self.options)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, type(self))
            and (self.url, self.options, self.read_only) == (other.url, other.options, other.read_only)
            and (self._given is other._given or self._given == other._given)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"HeadstartStore({self.url!r})"

    __str__ = __repr__

    def __getstate__(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "options": self.options,
            "store": self._given,
            "read_only": self.read_only,
            "open": self._is_open,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        HeadstartStore.__init__(
            self, state["url"], store=state["store"], read_only=state["read_only"], **state["options"]
        )
        self._is_open = state["open"]

    # Reads

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        start, end = _slice(byte_range)
        try:
            return prototype.buffer.from_bytes(await self._store.cat_async(self._path(key), start, end))
        except MISSING:
            return None

    def get_sync(
        self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """`get` for synchronous callers: it saves the way through zarr's event loop."""
        start, end = _slice(byte_range)
        prototype = prototype or default_buffer_prototype()
        try:
            return prototype.buffer.from_bytes(self._store.cat(self._path(key), start, end))
        except MISSING:
            return None

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        wanted = [(self._path(key), *_slice(byte_range)) for key, byte_range in key_ranges]
        if not wanted:
            return []
        results: list[Buffer | None] = []
        for value in await self._store.cat_ranges_async(*(list(column) for column in zip(*wanted, strict=True))):
            if isinstance(value, MISSING):
                results.append(None)
            elif isinstance(value, BaseException):
                raise value
            else:
                results.append(prototype.buffer.from_bytes(value))
        return results

    async def exists(self, key: str) -> bool:
        try:
            await self._store.head_async(self._path(key))
        except MISSING:
            return False
        return True

    async def getsize(self, key: str) -> int:
        return (await self._store.head_async(self._path(key)))["size"]

    async def getsize_prefix(self, prefix: str) -> int:
        return sum([meta["size"] async for meta in self._objects(prefix)])

    # Listings

    async def _objects(self, prefix: str) -> AsyncIterator[Any]:
        async for batch in self._store.list_async(self._path(prefix) or None):
            for meta in batch:
                yield meta

    def _key(self, path: str) -> str:
        return path[len(self._prefix) + 1 :] if self._prefix else path

    async def list(self) -> AsyncIterator[str]:
        async for meta in self._objects(""):
            yield self._key(meta["path"])

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        async for meta in self._objects(prefix):
            yield self._key(meta["path"])

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        path = self._path(prefix)
        found = await self._store.list_with_delimiter_async(path or None)
        for name in [*found["common_prefixes"], *(meta["path"] for meta in found["objects"])]:
            name = name.rstrip("/")
            if name != path:
                yield name[len(path) + 1 :] if path else name

    # Writes: they pass through

    async def set(self, key: str, value: Buffer) -> None:
        self._check_writable()
        await self._store.put_async(self._path(key), _as_bytes(value))

    def set_sync(self, key: str, value: Buffer) -> None:
        """`set` for synchronous callers."""
        self._check_writable()
        self._store.put(self._path(key), _as_bytes(value))

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        self._check_writable()
        with contextlib.suppress(FileExistsError):
            await self._store.put_async(self._path(key), _as_bytes(value), mode="create")

    async def delete(self, key: str) -> None:
        self._check_writable()
        with contextlib.suppress(*MISSING):
            await self._store.delete_async(self._path(key))

    def delete_sync(self, key: str) -> None:
        """`delete` for synchronous callers."""
        self._check_writable()
        with contextlib.suppress(*MISSING):
            self._store.delete(self._path(key))

    async def delete_dir(self, prefix: str) -> None:
        self._check_writable()
        keys = [self._key(meta["path"]) async for meta in self._objects(prefix)]
        await asyncio.gather(*[self.delete(key) for key in keys])

    def _path(self, key: str) -> str:
        return "/".join(part for part in (self._prefix, key.strip("/")) if part)


def split_url(url: str) -> tuple[str, str]:
    """Return the URL of the store, which is the bucket, and the path below it."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ValueError(f"{url!r} is no URL; a folder is file:///…")
    if scheme in ("file", "memory"):
        return f"{scheme}:///", rest.strip("/")
    bucket, _, path = rest.partition("/")
    return f"{scheme}://{bucket}", path.strip("/")


def _slice(byte_range: ByteRequest | None) -> tuple[int | None, int | None]:
    match byte_range:
        case None:
            return None, None
        case RangeByteRequest():
            return byte_range.start, byte_range.end
        case OffsetByteRequest():
            return byte_range.offset, None
        case SuffixByteRequest():
            return -byte_range.suffix or 0, None
    raise ValueError(f"Unexpected byte_range, got {byte_range!r}.")


def _as_bytes(value: Buffer) -> Any:
    if not isinstance(value, Buffer):
        raise TypeError(f"the value of a key must be a Buffer of zarr, not {type(value).__name__}")
    return value.as_buffer_like()
