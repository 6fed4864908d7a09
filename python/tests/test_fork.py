"""Forked, spawned and served children: each opens everything anew, and no lock of its parent is touched."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from cloud import KIB, MIB, Sim, content, synthetic
from loader import Loader, worker

import headstart

# Over both servers.
RUNS = int(os.environ.get("TEST_LOADER_RUNS", "200"))


def in_children(count: int, work: Callable[[int], None], timeout: float = 60) -> None:
    """Runs ``work`` in so many forked children at once; fails if one of them fails or hangs."""
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work(number)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    deadline = time.monotonic() + timeout
    for child in children:
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                assert status == 0, f"a child ended with {status}"
                break
            if time.monotonic() > deadline:
                for other in children:
                    os.kill(other, signal.SIGKILL)
                pytest.fail("a forked child hangs")
            time.sleep(0.005)


def test_eight_children_while_the_parent_reads_on(sim: Sim) -> None:
    key = synthetic(32 * MIB, "fork")
    store = headstart.Store(sim.url, **sim.options)
    file = store.open(key)
    assert file.read(3 * MIB) == content(key, 0, 3 * MIB)
    held = store.get_range(key, start=100, end=2 * MIB)
    stop = threading.Event()
    failures: list[BaseException] = []

    def read_on(number: int) -> None:
        try:
            own = store.open(key)
            at = number * MIB
            while not stop.is_set():
                assert bytes(own.read_at(at, at + MIB)) == content(key, at, at + MIB)
                at = (at + MIB) % (31 * MIB)
        except BaseException as failure:
            failures.append(failure)

    readers = [threading.Thread(target=read_on, args=(number,)) for number in range(4)]
    for reader in readers:
        reader.start()

    def work(number: int) -> None:
        # The position is the parent's, and the copies do not disturb each other.
        assert file.tell() == 3 * MIB
        assert file.read(MIB) == content(key, 3 * MIB, 4 * MIB)
        assert store.head(key)["size"] == 32 * MIB
        assert bytes(held) == content(key, 100, 2 * MIB)
        start = number * 2 * MIB
        assert bytes(store.get_range(key, start=start, length=MIB)) == content(key, start, start + MIB)
        with headstart.open(f"{sim.url}/{key}", **sim.options) as other:
            assert other.read(MIB) == content(key, 0, MIB)
        file.close()

    for _ in range(3):
        in_children(8, work)
    stop.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert file.read(MIB) == content(key, 3 * MIB, 4 * MIB)
    # What the parent learnt and holds is its own.
    assert store.stats()["fetch"]["fetched_bytes"] > 0


def test_grandchildren_and_garbage(sim: Sim) -> None:
    key = synthetic(4 * MIB, "grandchildren")
    file = headstart.open(f"{sim.url}/{key}", mode="cached", **sim.options)
    assert file.read(MIB) == content(key, 0, MIB)

    def work(number: int) -> None:
        if number % 2:
            assert file.read(MIB) == content(key, MIB, 2 * MIB)

        def inner(_: int) -> None:
            import gc

            assert file.read(MIB) == content(key, (1 + number % 2) * MIB, (2 + number % 2) * MIB)
            globals().pop("file", None)
            gc.collect()

        in_children(2, inner)

    in_children(4, work)


def test_a_disk_tier_is_shared_with_children(sim: Sim, tmp_path: Path) -> None:
    """Its thread waits for work at every fork."""
    store = headstart.Store(sim.url, mode="cached", cache_disk_directory=tmp_path, **sim.options)
    key = synthetic(2 * MIB, "disk")
    assert store.cat(key) == content(key, 0, 2 * MIB)
    store.close()

    def work(number: int) -> None:
        other = synthetic(100_000, f"disk{number}")
        for _ in range(3):
            assert store.cat(key, number, MIB) == content(key, number, MIB)
            assert store.cat(other) == content(other, 0, 100_000)
        store.close()

    sim.reset()
    for _ in range(5):
        in_children(8, work)
    assert store.cat(key) == content(key, 0, 2 * MIB)
    # The children read the pages of the parent's directory.
    assert sim.counts()["bytes_sent"] < 40 * 2 * MIB / 2


def test_values_of_the_parent_say_so(sim: Sim) -> None:
    store = headstart.Store(sim.url, **sim.options)
    key = synthetic(1000, "values")
    got = store.get(key)
    listing = store.list("nothing")
    objects = store.objects([key])
    upload = store.upload("unfinished")

    def work(_: int) -> None:
        for use in (got.buffer, lambda: next(iter(listing)), lambda: next(objects), lambda: upload.write(b"x")):
            with pytest.raises(RuntimeError, match="before the fork"):
                use()
        # Those of the child's own work.
        assert bytes(store.get(key).buffer()) == content(key, 0, 1000)

    in_children(2, work)
    assert bytes(got.buffer()) == content(key, 0, 1000)
    upload.abort()


def test_a_child_notices_another_version(sim: Sim) -> None:
    key = synthetic(4 * MIB, "changed")
    file = headstart.open(f"{sim.url}/{key}", **sim.options)
    assert file.read(100) == content(key, 0, 100)
    sim.overwrite(key)

    def work(_: int) -> None:
        try:
            again = file.read(100)
        except headstart.ObjectChanged:
            return
        # Stores that keep old versions still have it.
        assert again == content(key, 100, 200)

    in_children(2, work)


def test_asyncio_in_a_child(sim: Sim) -> None:
    import asyncio

    store = headstart.Store(sim.url, **sim.options)
    key = synthetic(MIB, "asyncio")

    async def read() -> bytes:
        return bytes(await store.get_range_async(key, start=0, end=1000))

    assert asyncio.run(read()) == content(key, 0, 1000)

    def work(_: int) -> None:
        assert asyncio.run(read()) == content(key, 0, 1000)

    in_children(4, work)


def _load(method: str, loader: Loader, count: int, workers: int = 4) -> None:
    context = multiprocessing.get_context(method)
    indices, results = context.Queue(), context.Queue()
    processes = [context.Process(target=worker, args=(loader, indices, results)) for _ in range(workers)]
    for process in processes:
        process.start()
    for index in range(count):
        indices.put(index)
    for _ in processes:
        indices.put(None)
    seen = set()
    for _ in range(count):
        result = results.get(timeout=60)
        assert not isinstance(result, str), result
        index, whole, part = result
        key = loader.keys[index]
        assert whole == content(key, 0, 20_000)
        assert part == content(loader.file.name, index * KIB, (index + 1) * KIB)
        seen.add(index)
    assert seen == set(range(count))
    for process in processes:
        process.join(timeout=30)
        assert process.exitcode == 0, "a worker hangs or failed"


@pytest.mark.timeout(600)
def test_many_runs_of_a_loader_with_forked_workers(sim: Sim) -> None:
    store = headstart.Store(sim.url, **sim.options)
    file = store.open(synthetic(MIB, "loader"))
    keys = [synthetic(20_000, f"sample{n}") for n in range(16)]
    loader = Loader(store, file, keys)
    assert loader[0][1] == content(keys[0], 0, 20_000)
    stop = threading.Event()

    def read_on() -> None:
        at = 0
        while not stop.is_set():
            file.read_bytes_at(at, at + 100_000)
            store.get_ranges(keys[0], starts=[0, 5000], ends=[100, 6000])
            at = (at + 100_000) % 900_000

    reader = threading.Thread(target=read_on)
    reader.start()
    try:
        for _ in range(RUNS // 2):
            _load("fork", loader, len(keys))
    finally:
        stop.set()
        reader.join()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_loader_with_other_start_methods(sim: Sim, method: str) -> None:
    store = headstart.Store(sim.url, **sim.options)
    keys = [synthetic(20_000, f"sample{n}") for n in range(4)]
    _load(method, Loader(store, store.open(synthetic(MIB, "loader")), keys), len(keys), workers=2)


def test_local_files_in_children(local: Path) -> None:
    file = headstart.open(f"file://{local}/data")
    assert file.read(10) == content("data", 0, 10)

    def work(_: int) -> None:
        assert file.read(100_000) == content("data", 10, 100_010)

    in_children(8, work)


def test_memory_is_divided_among_workers() -> None:
    def limit(**options: object) -> int:
        return headstart.Store("memory:///", **options).stats()["budget"]["limit_bytes"]

    assert limit() == 512 * MIB
    assert limit(workers=4) == 128 * MIB
    assert limit(memory_bytes="64MiB", workers=2) == 32 * MIB
    with pytest.raises(ValueError, match="workers"):
        limit(workers="many")
