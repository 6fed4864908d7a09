"""Reads training samples with worker processes: `python loader.py s3://bucket/samples`.

Without torch the workers are plain processes; with torch this is a DataLoader.
"""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any

import headstart
from headstart.torch import IterableObjectDataset

WORKERS = 4


def read_share(dataset: IterableObjectDataset, worker: int, results: Any) -> None:
    """Read the share of one worker."""
    results.put(sum(len(data) for _, data in dataset.share(worker, WORKERS)))


def main(url: str) -> None:
    """Write 100 samples, and read them in two epochs."""
    store = headstart.Store(url)
    for n in range(100):
        store.put(f"{n:03}.bin", bytes([n]) * 10_000)
    paths = [meta["path"] for batch in store.list() for meta in batch]

    dataset = IterableObjectDataset(url, paths, seed=0)
    for epoch in range(2):
        dataset.set_epoch(epoch)
        print(f"epoch {epoch}: {read(dataset)} bytes")


def read(dataset: IterableObjectDataset) -> int:
    """Read an epoch, and return its bytes."""
    try:
        from torch.utils.data import DataLoader
    except ImportError:
        context = multiprocessing.get_context("fork")  # what was opened before the fork works after it
        results = context.Queue()
        children = [context.Process(target=read_share, args=(dataset, n, results)) for n in range(WORKERS)]
        for child in children:
            child.start()
        total = sum(results.get() for _ in children)
        for child in children:
            child.join()
        return total
    return sum(len(data) for _, data in DataLoader(dataset, batch_size=None, num_workers=WORKERS))


if __name__ == "__main__":
    main(sys.argv[1])
