"""`cache_type="headstart"`: read-ahead for the files of any file system of fsspec."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from fsspec.caching import BaseCache, caches, register_cache

import headstart

from .carry import open_native
from .options import CarryError
from .readahead import FetcherReader


class HeadstartCache(BaseCache):
    """Reads a file natively where its credentials can be carried over, else ahead through the file's own fetcher.

    `native=False` always reads through the fetcher. `max_bytes` and `concurrency` limit what the fetcher reads ahead.
    All other options are Headstart's: `cache_options={"mode": "cached"}`.

    May be read by many threads at once. Works in forked children, and is pickled with its options. Its file's name,
    size and fetcher belong to the file; what has been read ahead is neither pickled nor inherited.
    """

    name = "headstart"

    def __init__(
        self,
        blocksize: int,
        fetcher: Callable[[int, int], bytes],
        size: int,
        native: bool = True,
        max_bytes: int | None = None,
        concurrency: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(blocksize, fetcher, size)
        self.options = {**options, "native": native, "max_bytes": max_bytes, "concurrency": concurrency}
        self.name = _name({key: value for key, value in self.options.items() if value not in (None, True)})
        self.closed = False
        self._reader: Any = None
        self._confirmed = False

    def _fetch(self, start: int | None, stop: int | None) -> bytes:
        start, stop = max(0, start or 0), self.size if stop is None else min(stop, self.size)
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        if start >= stop:
            return b""
        self.miss_count += 1
        self.total_requested_bytes += stop - start
        try:
            data = self._reading().read_bytes_at(start, stop)
        except PermissionError as error:
            if self._confirmed or isinstance(self._reader, FetcherReader):
                raise
            # The store refuses the credentials that were carried over. The file's own may do.
            warnings.warn(f"headstart reads through the file's own fetcher: {error}", RuntimeWarning, stacklevel=2)
            self._reader.close()
            self._reader = self._through_fetcher()
            data = self._reader.read_bytes_at(start, stop)
        if not self._confirmed:
            self._confirm()
        if len(data) != stop - start:
            raise headstart.ObjectChanged(f"a read of {start}..{stop} returned {len(data)} bytes: the object changed")
        return data

    def _reading(self) -> Any:
        # Opened by the first read: before that, the file is not complete.
        if self._reader is None:
            self._reader = self._open()
        return self._reader

    def _open(self) -> Any:
        if self.options["native"]:
            file = getattr(self.fetcher, "__self__", None)
            known = ("native", "max_bytes", "concurrency")
            try:
                return open_native(file, {key: value for key, value in self.options.items() if key not in known})
            except CarryError:
                pass
        return self._through_fetcher()

    def _through_fetcher(self) -> FetcherReader:
        file = getattr(self.fetcher, "__self__", None)
        # Only the asynchronous file systems promise that many threads may fetch at once.
        several = getattr(getattr(file, "fs", None), "async_impl", False)
        return FetcherReader(
            self.fetcher,
            self.size,
            concurrency=self.options["concurrency"] or (8 if several else 1),
            max_bytes=self.options["max_bytes"] or 64 << 20,
        )

    def _confirm(self) -> None:
        """Check, once the first answer is here, that the object has the size that the file system told."""
        size = self._reader.size
        if size != self.size:
            raise headstart.ObjectChanged(
                f"the object has {size} bytes and not {self.size} as the file system says; where its listing is old, "
                "call invalidate_cache()"
            )
        self._confirmed = True

    def close(self) -> None:
        """End what is read ahead. Readers of this moment get an error."""
        self.closed = True
        if self._reader is not None:
            self._reader.close()

    def stats(self) -> Any:
        """Headstart's counts where the file is read natively, else None."""
        return self._reader.stats() if self._reader is not None and self.native else None

    @property
    def native(self) -> bool:
        """Whether the file is, or will be, read natively. Known after the first read."""
        return not isinstance(self._reading(), FetcherReader)

    def __reduce__(self) -> Any:
        return _make, (self.blocksize, self.fetcher, self.size, self.options)


def _make(blocksize: int, fetcher: Callable[[int, int], bytes], size: int, options: dict[str, Any]) -> HeadstartCache:
    return HeadstartCache(blocksize, fetcher, size, **options)


class _Name(str):
    """The name of a cache with its options.

    fsspec pickles a file with its cache's name only, and looks it up again. This name registers itself when it is
    unpickled, so that neither the options nor the import of this module are missing in the other process.
    """

    options: dict[str, Any]

    def __reduce__(self) -> Any:
        return _name, (self.options,)


def _name(options: dict[str, Any]) -> _Name:
    text = HeadstartCache.name
    if options:
        text += "?" + "&".join(f"{key}={value}" for key, value in sorted(options.items()))
        caches[text] = partial(HeadstartCache, **options)
    name = _Name(text)
    name.options = options
    return name


register_cache(HeadstartCache, clobber=True)
