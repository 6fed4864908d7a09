"""Forked, spawned and pickled: what was opened before works in other processes, while the parent reads on."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import pickle
import threading
import uuid

import fsspec
import pytest

import headstart.fsspec
import headstart.torch
from headstart.fsspec import HeadstartFile

from .data import content
from .servers import BUCKET

MIB = 1 << 20
SIZE = 8 * MIB + 5
DATA = content("shared", SIZE)
CHILDREN = 8
PATIENCE_S = 60


@pytest.fixture
def path(cloud):
    name = f"{uuid.uuid4()}/object"
    cloud.write(name, DATA)
    return f"{BUCKET}/{name}"


@pytest.fixture
def fs(cloud):
    return headstart.fsspec.CLASSES[cloud.kind](skip_instance_cache=True, **cloud.foreign_options)


def in_children(method, target, *arguments, count=CHILDREN):
    """Runs `target(results, *arguments)` in children at once, and returns what each put into `results`."""
    context = multiprocessing.get_context(method)
    results = context.Queue()
    children = [context.Process(target=target, args=(results, *arguments)) for _ in range(count)]
    for child in children:
        child.start()
    found = [results.get(timeout=PATIENCE_S) for _ in children]
    for child in children:
        child.join(PATIENCE_S)
        assert child.exitcode == 0
    return found


def read_everything(results, fs, file, cached, path):
    """Reads by each way that was opened before."""
    right = [
        fs.cat_file(path, 5, 100) == DATA[5:100],
        fs.cat_ranges([path] * 3, [0, 10, -5], [5, 20, None]) == [DATA[:5], DATA[10:20], DATA[-5:]],
        fs.info(path)["size"] == SIZE,
        fs.ls(path.rpartition("/")[0], detail=False) == [path],
        file.read() == DATA[MIB:],
        cached is None or cached.read() == DATA,
    ]
    with fs.open(path) as new:
        right.append(new.read() == DATA)
    results.put(right)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_read_what_the_parent_opened(fs, path, method):
    fs.ls(path.rpartition("/")[0])
    file = fs.open(path)
    assert file.read(MIB) == DATA[:MIB]
    stop, wrong = threading.Event(), []

    def read_on() -> None:
        while not stop.is_set():
            with fs.open(path) as own:
                if own.read() != DATA or fs.cat_file(path, 3, 9) != DATA[3:9]:
                    wrong.append(True)

    reader = threading.Thread(target=read_on)
    reader.start()
    try:
        count = CHILDREN if method == "fork" else 2
        found = in_children(method, read_everything, fs, file, None, path, count=count)
    finally:
        stop.set()
        reader.join(PATIENCE_S)
    assert all(all(right) for right in found), found
    assert not wrong
    # The children did not move the parent's position.
    assert file.read() == DATA[MIB:]


@pytest.mark.parametrize("native", [True, False])
def test_a_cache_opened_before_a_fork_is_read_in_children(cloud, path, native, fs):
    # gcsfs and s3fs themselves do not survive a fork: only the native reader does.
    other = fsspec.filesystem(cloud.kind, **cloud.foreign_options) if native else None
    if native:
        cached = other.open(path, cache_type="headstart")
        assert cached.read(100) == DATA[:100]
        cached.seek(0)
    else:
        cached = fs.open(path, cache_type="blockcache", block_size=MIB)
    file = fs.open(path)
    file.seek(MIB)
    found = in_children("fork", read_everything, fs, file, cached, path)
    assert all(all(right) for right in found), found


def fork_again(results, fs, path, depth):
    right = fs.cat_file(path) == DATA
    if depth:
        right = right and in_children("fork", fork_again, fs, path, depth - 1, count=1) == [True]
    results.put(right)


def test_children_of_children(fs, path):
    assert fs.cat_file(path) == DATA
    assert in_children("fork", fork_again, fs, path, 2, count=2) == [True, True]


def test_file_systems_are_pickled_with_their_options(cloud, path):
    cls = headstart.fsspec.CLASSES[cloud.kind]
    fs = cls(**cloud.foreign_options, use_listings_cache=False, **{"memory_bytes": "64MiB", "prefetch.start_after": 3})
    for copy in (pickle.loads(pickle.dumps(fs)), fsspec.AbstractFileSystem.from_json(fs.to_json())):
        assert copy == fs
        assert copy._options == fs._options
        assert copy._options["memory_bytes"] == "64MiB"
        assert not copy.dircache.use_listings_cache
        assert copy.cat_file(path, 0, 10) == DATA[:10]
    assert json.loads(fs.to_json())["memory_bytes"] == "64MiB"


def test_files_are_pickled_with_position_and_options(fs, path):
    with fs.open(path, block_size=123_456) as file:
        file.seek(77)
        copy = pickle.loads(pickle.dumps(file))
        assert isinstance(copy, HeadstartFile)
        assert (copy.tell(), copy.blocksize, copy.size) == (77, 123_456, SIZE)
        assert copy.read(10) == DATA[77:87]
        assert file.tell() == 77
        copy.close()
        assert file.read(10) == DATA[77:87]


def test_files_being_written_are_not_pickled(fs, path):
    with fs.open(path + "-new", "wb") as file, pytest.raises(RuntimeError):
        pickle.dumps(file)


# asyncio


async def test_an_asynchronous_file_system(cloud, path):
    cls = headstart.fsspec.CLASSES[cloud.kind]
    fs = cls(asynchronous=True, skip_instance_cache=True, **cloud.foreign_options)
    assert await fs._cat_file(path, 3, 9) == DATA[3:9]
    assert await fs._cat([path]) == {path: DATA}
    found = await asyncio.gather(*[fs._cat_file(path, n, n + 7) for n in range(50)])
    assert found == [DATA[n : n + 7] for n in range(50)]
    async with await fs.open_async(path) as file:
        assert file.size == SIZE
        assert await file.read(MIB) == DATA[:MIB]
        assert await file.read() == DATA[MIB:]
        assert await file.read() == b""
    data = content("streamed", 12 * MIB)
    for size in (10, len(data)):
        async with await fs.open_async(f"{path}-{size}", "wb") as file:
            for start in range(0, size, MIB):
                await file.write(data[:size][start : start + MIB])
        assert await fs._cat_file(f"{path}-{size}") == data[:size]
    with pytest.raises(ZeroDivisionError):
        async with await fs.open_async(f"{path}-cut", "wb") as file:
            await file.write(data)
            raise ZeroDivisionError
    assert not await fs._exists(f"{path}-cut")
    with pytest.raises(FileNotFoundError):
        await fs.open_async(f"{path}-none")
    with pytest.raises(NotImplementedError):
        await fs.open_async(path, "ab")


async def test_cancelled_reads(cloud, path):
    fs = headstart.fsspec.CLASSES[cloud.kind](asynchronous=True, skip_instance_cache=True, **cloud.foreign_options)
    tasks = [asyncio.ensure_future(fs._cat_file(path)) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
    assert all(result == DATA for result in results[1::2])


# A loader, as PyTorch's starts its workers


def load(results, dataset, worker, workers):
    batches = dataset.__getitems__(range(worker, len(dataset), workers))
    results.put((worker, [len(item) for item in batches]))


def run_loader(dataset, workers):
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    children = [
        context.Process(target=load, args=(results, dataset, worker, workers), daemon=True) for worker in range(workers)
    ]
    for child in children:
        child.start()
    found = dict(results.get() for _ in children)
    for child in children:
        child.join(PATIENCE_S)
        assert child.exitcode == 0
    return found


def test_many_loaders_with_forked_workers(cloud):
    """The parent reads before and between the forks, where others leave locks and threads behind."""
    folder = str(uuid.uuid4())
    for n in range(16):
        cloud.write(f"{folder}/{n}", content(str(n), 1000 + n))
    dataset = headstart.torch.ObjectDataset(
        f"{cloud.kind}://{BUCKET}", [f"{folder}/{n}" for n in range(16)], **cloud.options
    )
    runs = int(os.environ.get("TEST_LOADER_RUNS", "20"))
    for _ in range(runs):
        assert len(dataset[3]) == 1003
        found = run_loader(dataset, 4)
        assert found == {w: [1000 + n for n in range(w, 16, 4)] for w in range(4)}
