"""`HeadstartFileSystem`: fsspec's interface over `headstart.Store`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import IO, Any

import fsspec.asyn
from fsspec.asyn import AsyncFileSystem
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.utils import stringify_path, tokenize

import headstart

from .file import NATIVE_CACHES, HeadstartBufferedFile, HeadstartFile, HeadstartStreamedFile
from .options import SCHEMES, listing_options, translate

if hasattr(os, "register_at_fork"):
    # The parent's loop does not run in a forked child, and its lock may be held by a thread that is not there.
    os.register_at_fork(after_in_child=fsspec.asyn.reset_lock)

UPLOAD_CHUNK_BYTES = 5 << 20

PREFIXES = tuple(f"{scheme}://" for scheme in SCHEMES if scheme not in ("http", "https"))


class HeadstartFileSystem(AsyncFileSystem):
    """Object stores (and web servers and local files) as a file system, read by Headstart.

    `options` are Headstart's (`{"cache.memory_bytes": "1GiB"}`), those of fsspec's listings cache, and those of the
    library that usually serves the protocol: gcsfs, s3fs or adlfs. What cannot be translated is an error.

    Works in forked children and is pickled with its options.
    """

    _pid: int

    scheme = "gs"
    """The kind of URL that paths are of: gs, s3, az, http or file."""

    def __init__(
        self,
        *,
        asynchronous: bool = False,
        loop: Any = None,
        batch_size: int | None = None,
        check_on_open: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(asynchronous=asynchronous, loop=loop, batch_size=batch_size, **listing_options(options))
        self.check_on_open = check_on_open
        self._options = translate(self.scheme, options)
        self._stores: dict[str, headstart.Store] = {}

    @property
    def loop(self) -> Any:
        """The loop of fsspec in this process, which is not the parent's after a fork."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            if not self.asynchronous:
                self._loop = fsspec.asyn.get_loop()
        return self._loop

    @property
    def fsid(self) -> str:
        """What tells this file system from others."""
        return f"{self.scheme}_{tokenize(self._options)}"

    # Paths and stores

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(item) for item in path]
        path = stringify_path(path)
        path = path.removeprefix("headstart::").removeprefix("headstart+").removeprefix("headstart://")
        for prefix in PREFIXES:
            if path.startswith(prefix):
                path = path.removeprefix(prefix)
                break
        return path.rstrip("/")

    def _split(self, path: str) -> tuple[str, str]:
        """Return the bucket's part of a path, and the object's key."""
        path = self._strip_protocol(path)
        if self.scheme == "file":
            return "/", path.lstrip("/")
        if "://" in path:
            start, _, rest = path.partition("://")
            host, _, key = rest.partition("/")
            return f"{start}://{host}", key
        bucket, _, key = path.partition("/")
        return bucket, key

    def _join(self, bucket: str, key: str) -> str:
        return f"/{key}" if self.scheme == "file" else f"{bucket}/{key}".rstrip("/")

    def _store_url(self, bucket: str) -> str:
        if self.scheme == "http":
            return bucket
        return "file:///" if self.scheme == "file" else f"{self.scheme}://{bucket}"

    def store(self, path: str) -> headstart.Store:
        """Return the store of the bucket of `path`."""
        bucket, _ = self._split(path)
        if not bucket:
            raise ValueError("the path names no bucket")
        if bucket not in self._stores:
            self._stores[bucket] = headstart.Store(self._store_url(bucket), **self._options)
        return self._stores[bucket]

    def _at(self, path: str) -> tuple[headstart.Store, str]:
        _, key = self._split(path)
        if not key:
            raise IsADirectoryError(f"{path!r} is a bucket")
        if key.startswith("/"):
            raise headstart.InvalidPathError(f"{path!r}: a key that begins with a slash cannot be used")
        return self.store(path), key

    # Listings

    def _entry(self, bucket: str, meta: Any) -> dict[str, Any]:
        entry = {"name": self._join(bucket, meta["path"]), "size": meta["size"], "type": "file"}
        modified, tag, version = meta.get("last_modified"), meta.get("e_tag"), meta.get("version")
        entry.update({"mtime": modified, "LastModified": modified, "ETag": tag, "version": version})
        return entry

    def _directory(self, name: str) -> dict[str, Any]:
        return {"name": name, "size": 0, "type": "directory"}

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget the listings of `path` and of the directories above it, or all."""
        super().invalidate_cache(path)
        if path is None:
            self.dircache.clear()
            return
        path = self._strip_protocol(path)
        while path.strip("/"):
            self.dircache.pop(path, None)
            path = self._parent(path)
        for root in ("", "/"):
            self.dircache.pop(root, None)

    async def _ls(self, path: str, detail: bool = True, refresh: bool = False, **kwargs: Any) -> list[Any]:
        path = self._strip_protocol(path)
        entries = None if refresh else self._known_listing(path)
        if entries is None:
            entries, exists = await self._list_directory(path)
            if exists:
                self.dircache[path] = entries
            else:
                entries = [await self._object_info(path)]
        return entries if detail else sorted(entry["name"] for entry in entries)

    def _known_listing(self, path: str) -> list[dict[str, Any]] | None:
        try:
            entries = self.dircache[path]
        except KeyError:
            return None
        return list(entries)

    async def _list_directory(self, path: str) -> tuple[list[dict[str, Any]], bool]:
        """Return what is in a directory, and whether it exists: it has objects or a marker, or is a bucket."""
        bucket, key = self._split(path)
        if not bucket:
            raise NotImplementedError("Headstart does not list buckets; name one")
        found = await self.store(path).list_with_delimiter_async(key or None)
        directories = [self._directory(self._join(bucket, name.rstrip("/"))) for name in found["common_prefixes"]]
        # The object with the directory's own name marks an empty directory: its key ends with a slash, its path not.
        files = [self._entry(bucket, meta) for meta in found["objects"] if meta["path"].rstrip("/") != key]
        return directories + files, bool(directories or found["objects"] or not key)

    async def _info(self, path: str, refresh: bool = False, **kwargs: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        bucket, key = self._split(path)
        if not bucket:
            return self._directory(path)
        if not refresh:
            known = self._known_listing(self._parent(path))
            same = [entry for entry in known or () if entry["name"] == path]
            if same:
                return same[0]
            if known is not None and path not in self.dircache:
                raise FileNotFoundError(path)
        if key:
            try:
                return await self._object_info(path)
            except headstart.InvalidPathError as error:
                raise FileNotFoundError(path) from error
            except FileNotFoundError:
                pass
        if path in self.dircache and not refresh:
            return self._directory(path)
        _, exists = await self._list_directory(path)
        if exists:
            return self._directory(path)
        raise FileNotFoundError(path)

    async def _object_info(self, path: str) -> dict[str, Any]:
        store, key = self._at(path)
        return self._entry(self._split(path)[0], await store.head_async(key))

    async def _find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        prefix: str = "",
        **kwargs: Any,
    ) -> Any:
        path = self._strip_protocol(path)
        bucket, key = self._split(path)
        if maxdepth is not None or not bucket:
            return await super()._find(path, maxdepth=maxdepth, withdirs=withdirs, detail=detail, **kwargs)
        # One recursive listing in place of one for each directory.
        found: dict[str, dict[str, Any]] = {}
        empty: list[str] = []
        async for batch in self.store(path).list_async(key or None):
            for meta in batch:
                entry = self._entry(bucket, meta)
                name = entry["name"]
                if meta["path"] == key or not name.startswith(f"{path}/{prefix}"):
                    continue
                found[name] = entry
                if not meta["size"]:
                    empty.append(name)
                while withdirs and (name := self._parent(name)) not in found and len(name) >= len(path):
                    found[name] = self._directory(name)
        for name in await self._markers(empty):
            found[name] = self._directory(name)
            if not withdirs:
                del found[name]
        if withdirs and path and (found or await self._isdir(path)):
            found.setdefault(path, self._directory(path))
        if not found and not prefix:
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                found[path] = await self._object_info(path)
        names = sorted(found)
        return {name: found[name] for name in names} if detail else names

    async def _markers(self, empty: list[str]) -> list[str]:
        """Return those of some empty objects that mark directories: a slash ends their keys, but not their paths."""
        looks = [self._object_info(name) for name in empty]
        seen = await fsspec.asyn._run_coros_in_chunks(looks, self.batch_size, return_exceptions=True, nofiles=True)
        return [name for name, entry in zip(empty, seen, strict=True) if isinstance(entry, FileNotFoundError)]

    def created(self, path: str) -> datetime:
        """Return when the object was written."""
        return self.info(path)["mtime"]

    modified = created

    def ukey(self, path: str) -> str:
        """Return what changes when the object changes."""
        info = self.info(path)
        return tokenize([info.get(name) for name in ("name", "size", "ETag", "version", "mtime")])

    # Reads

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """Read a range, given as a slice. Does not go through the loop's thread."""
        store, key = self._at(path)
        return store.cat(key, start, end)

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        store, key = self._at(path)
        return await store.cat_async(key, start, end)

    def cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """Read many ranges at once. Does not go through the loop's thread."""
        results: list[Any] = [None] * len(paths)
        for store, places, arguments in self._by_store(paths, starts, ends, results):
            for place, result in zip(places, store.cat_ranges(*arguments), strict=True):
                results[place] = result
        return _raise_first(results, on_error)

    async def _cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        batch_size: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        results: list[Any] = [None] * len(paths)

        async def read(store: Any, places: list[int], arguments: Any) -> None:
            for place, result in zip(places, await store.cat_ranges_async(*arguments), strict=True):
                results[place] = result

        await asyncio.gather(*[read(*group) for group in self._by_store(paths, starts, ends, results)])
        return _raise_first(results, on_error)

    def _by_store(self, paths: list[str], starts: Any, ends: Any, results: list[Any]) -> list[Any]:
        """Return the ranges of each store, with their places. Paths that name no object are noted in `results`."""
        if not isinstance(paths, list):
            raise TypeError("paths must be a list")
        starts = list(starts) if isinstance(starts, Iterable) else [starts] * len(paths)
        ends = list(ends) if isinstance(ends, Iterable) else [ends] * len(paths)
        if not len(paths) == len(starts) == len(ends):
            raise ValueError("paths, starts and ends must be of one length")
        groups: dict[str, Any] = {}
        for place, (path, start, end) in enumerate(zip(paths, starts, ends, strict=True)):
            try:
                store, key = self._at(path)
            except (ValueError, IsADirectoryError) as error:
                results[place] = error
                continue
            group = groups.setdefault(self._split(path)[0], (store, [], ([], [], [])))
            group[1].append(place)
            for values, value in zip(group[2], (key, start, end), strict=True):
                values.append(value)
        return list(groups.values())

    async def _get_file(
        self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, outfile: IO[bytes] | None = None, **kwargs: Any
    ) -> None:
        target = outfile or (lpath if hasattr(lpath, "write") else None)
        if target is None:
            os.makedirs(os.path.dirname(lpath) or ".", exist_ok=True)

        def progress(done: int, total: int) -> None:
            if callback.size != total:
                callback.set_size(total)
            callback.absolute_update(done)

        told = {} if callback is DEFAULT_CALLBACK else {"progress": progress}
        try:
            store, key = self._at(rpath)
            await asyncio.to_thread(store.download, key, target or lpath, **told)
        except (FileNotFoundError, IsADirectoryError):
            # Looking first would cost a request for each object.
            if target is not None or not await self._isdir(rpath):
                raise
            os.makedirs(lpath, exist_ok=True)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_type: str | None = None,
        cache_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> HeadstartFile | HeadstartBufferedFile:
        options = {"block_size": block_size, "autocommit": autocommit, "cache_options": cache_options, **kwargs}
        if mode == "rb" and cache_type in NATIVE_CACHES:
            return HeadstartFile(self, path, cache_type=cache_type, **options)
        self._at(path)
        if mode == "xb" and self.exists(path):
            raise FileExistsError(path)
        return HeadstartBufferedFile(self, path, mode, cache_type=cache_type or "none", **options)

    def _open_native(self, path: str, options: dict[str, Any]) -> headstart.File:
        store, key = self._at(path)
        return store.open(key, **options)

    async def open_async(self, path: str, mode: str = "rb", **kwargs: Any) -> HeadstartStreamedFile:
        """Open a file whose methods are coroutines, for reading or writing."""
        path = self._strip_protocol(path)
        store, key = self._at(path)
        if mode != "rb":
            return HeadstartStreamedFile(self, path, mode)
        native = headstart.AsyncFile(store.reader(key))
        return HeadstartStreamedFile(self, path, mode, native, await native.size())

    # Writes: they pass through

    async def _pipe_file(self, path: str, value: Any, mode: Any = "overwrite", **kwargs: Any) -> None:
        store, key = self._at(path)
        await store.put_async(key, value, mode=mode)
        self.invalidate_cache(path)

    async def _put_file(
        self, lpath: Any, rpath: str, callback: Any = DEFAULT_CALLBACK, mode: Any = "overwrite", **kwargs: Any
    ) -> None:
        if os.path.isdir(lpath):  # noqa: ASYNC240 - as cheap as a look at memory
            return
        store, key = self._at(rpath)
        callback.set_size(os.path.getsize(lpath))  # noqa: ASYNC240
        await asyncio.to_thread(store.put, key, _chunks(lpath, callback), mode=mode)
        self.invalidate_cache(rpath)

    async def _cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        (store1, key1), (store2, key2) = self._at(path1), self._at(path2)
        try:
            if store1 is store2:
                await store1.copy_async(key1, key2)
            else:
                answer = await store1.get_async(key1)
                await store2.put_async(key2, answer, attributes=answer.attributes)
        except FileNotFoundError:
            if not await self._isdir(path1):
                raise  # directories exist with their objects
        self.invalidate_cache(path2)

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        store, key = self._at(path)
        await store.delete_async(key)
        self.invalidate_cache(path)

    async def _rm(
        self,
        path: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        names = await self._expand_path(path)
        if recursive:
            # Directories are gone with their last object.
            names = [name for root in names for name in await self._find(root, maxdepth=maxdepth)]
            if not names:
                raise FileNotFoundError(path)
        by_bucket: dict[str, list[str]] = {}
        for name in dict.fromkeys(names):
            bucket, key = self._split(name)
            if not key:
                raise IsADirectoryError(f"{name!r} is a bucket")
            by_bucket.setdefault(bucket, []).append(key)
            self.invalidate_cache(name)
        for bucket, keys in by_bucket.items():
            await self.store(self._join(bucket, "")).delete_async(keys if len(keys) > 1 else keys[0])

    async def _mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        if not self._split(path)[1]:
            raise NotImplementedError("Headstart does not create buckets; use the provider's tools")

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Do nothing: directories are parts of the names of objects."""

    def rmdir(self, path: str) -> None:
        """Do nothing: a directory is gone with its last object."""
        if not self._split(path)[1]:
            raise NotImplementedError("Headstart does not delete buckets; use the provider's tools")


def _chunks(path: Any, callback: Any) -> Iterator[bytes]:
    """Yield the parts of a local file. Tells the callback of each when the next one is asked for."""
    with open(path, "rb") as file:
        while chunk := file.read(UPLOAD_CHUNK_BYTES):
            yield chunk
            callback.relative_update(len(chunk))


def _raise_first(results: list[Any], on_error: str) -> list[Any]:
    if on_error != "return":
        for result in results:
            if isinstance(result, BaseException):
                raise result
    return results
