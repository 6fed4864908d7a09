"""A data set and its workers, as torch's ``DataLoader`` starts them. Importable by processes that are not forked."""

from __future__ import annotations

import multiprocessing
import traceback

from cloud import KIB

import headstart


class Loader:
    """A map-style data set of whole objects, each with a part of a file."""

    def __init__(self, store: headstart.Store, file: headstart.File, keys: list[str]) -> None:
        self.store, self.file, self.keys = store, file, keys

    def __getitem__(self, index: int) -> tuple[int, bytes, bytes]:
        whole = bytes(self.store.get(self.keys[index]).buffer())
        return index, whole, self.file.read_bytes_at(index * KIB, (index + 1) * KIB)


def worker(loader: Loader, indices: multiprocessing.Queue, results: multiprocessing.Queue) -> None:
    while (index := indices.get()) is not None:
        try:
            results.put(loader[index])
        except BaseException:
            results.put(traceback.format_exc())
