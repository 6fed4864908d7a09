"""`cache_type="headstart"`: the contract of fsspec's caches, and the behaviours of gcsfs's prefetcher.

Each is checked three times: read natively, through the fetcher of an asynchronous file system, and through a fetcher
that only one thread may call.
"""

from __future__ import annotations

import gc
import pickle
import random
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

import headstart
import headstart.fsspec
from headstart.fsspec import HeadstartCache
from headstart.fsspec.readahead import FetcherReader

from .data import content
from .servers import BUCKET

MIB = 1 << 20
SIZE = 24 * MIB + 11
DATA = content("cached", SIZE)


class Fetcher:
    """Returns ranges of `data`, notes them, and fails or waits where it is told to."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data, self.calls, self.lock = data, [], threading.Lock()
        self.fail_at: int | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.running = self.most_running = 0

    def __call__(self, start: int, end: int) -> bytes:
        with self.lock:
            self.calls.append((start, end))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            assert self.gate.wait(60)
            if self.fail_at is not None and start <= self.fail_at < end:
                raise OSError("the wire is cut")
            return self.data[start:end]
        finally:
            with self.lock:
                self.running -= 1

    def fetched_bytes(self) -> int:
        return sum(end - start for start, end in self.calls)


@pytest.fixture(params=["native", "several", "alone"])
def make(request, tmp_path):
    """Makes caches of `data`."""
    made = []

    def make(data: bytes = DATA, **options):
        if request.param == "native":
            name = tmp_path / str(uuid.uuid4())
            name.write_bytes(data)
            file = AbstractBufferedFile(fsspec.filesystem("file"), str(name), size=len(data), cache_type="none")
            cache = HeadstartCache(MIB, file._fetch_range, len(data), **options)
        else:
            concurrency = {"several": 8, "alone": 1}[request.param]
            cache = HeadstartCache(MIB, Fetcher(data), len(data), concurrency=concurrency, **options)
        made.append(cache)
        return cache

    yield make
    for cache in made:
        cache.close()


# The contract of BaseCache


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (None, None),
        (0, 10),
        (None, 10),
        (SIZE - 10, None),
        (SIZE - 10, SIZE + 1000),
        (SIZE, SIZE + 10),
        (SIZE + 5, SIZE + 10),
        (7, 7),
        (9, 3),
        (5 * MIB - 1, 5 * MIB + 1),
    ],
)
def test_bounds_may_be_none_and_are_clamped(make, start, end):
    result = make()._fetch(start, end)
    assert type(result) is bytes
    assert result == DATA[start:end]


def test_an_empty_file(make):
    cache = make(b"")
    assert cache._fetch(0, 10) == b""
    assert cache._fetch(None, None) == b""


def test_it_counts_as_the_others_do(make):
    cache = make()
    cache._fetch(0, 100)
    cache._fetch(100, 300)
    assert cache.total_requested_bytes == 300
    assert cache.miss_count == 2
    assert "300 total requested bytes" in cache._log_stats()
    cache._reset_stats()
    assert cache._log_stats() == ""
    assert "HeadstartCache" in repr(cache)


def test_a_cache_is_pickled_with_its_options():
    cache = HeadstartCache(MIB, DATA.__class__, SIZE, native=False, max_bytes=3 * MIB, mode="cached")
    cache._fetch(0, 0)
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.options == cache.options
    assert (copy.blocksize, copy.size, copy.name) == (MIB, SIZE, cache.name)


def test_it_is_registered_with_its_name():
    assert fsspec.caching.caches["headstart"] is HeadstartCache
    assert HeadstartCache.name == "headstart"


# The behaviours of gcsfs's prefetcher


@pytest.mark.parametrize("read_bytes", [100_003, MIB, 5 * MIB + 1])
def test_sequential_reads(make, read_bytes):
    cache = make()
    for start in range(0, SIZE, read_bytes):
        assert cache._fetch(start, start + read_bytes) == DATA[start : start + read_bytes]


def test_random_reads(make):
    cache, dice = make(), random.Random(1)
    for _ in range(100):
        start = dice.randrange(SIZE)
        end = start + dice.randrange(1, 300_000)
        assert cache._fetch(start, end) == DATA[start:end]


def test_mixed_reads_forwards_and_backwards(make):
    cache, dice, position = make(), random.Random(2), 0
    for _ in range(200):
        position = dice.choice([position, position, position, max(0, position - 50_000), dice.randrange(SIZE)])
        end = min(SIZE, position + dice.choice([10, 4_096, 200_000, 2 * MIB]))
        assert cache._fetch(position, end) == DATA[position:end]
        position = end


def test_soft_hard_and_local_seeks(make):
    cache = make()
    for start in range(0, 4 * MIB, MIB):
        cache._fetch(start, start + MIB)
    soft, hard, local = 5 * MIB + 3, 20 * MIB, 20 * MIB - 1000
    for start in (soft, hard, hard + 500, local, 0):
        assert cache._fetch(start, start + 1000) == DATA[start : start + 1000]


def test_random_reads_fetch_only_what_is_asked_for():
    fetcher, dice = Fetcher(), random.Random(3)
    cache = HeadstartCache(MIB, fetcher, SIZE, concurrency=8)
    asked = 0
    for _ in range(50):
        start = dice.randrange(1, SIZE - 1000)
        asked += len(cache._fetch(start, start + 1000))
    assert fetcher.fetched_bytes() == asked
    assert len(fetcher.calls) == 50


def test_read_ahead_starts_after_a_streak():
    fetcher = Fetcher()
    cache = HeadstartCache(MIB, fetcher, SIZE, concurrency=8)
    cache._fetch(0, 1000)
    assert fetcher.calls == [(0, 1000)]
    cache._fetch(1000, 2000)
    cache._fetch(2000, 3000)
    cache._fetch(3000, 4000)
    assert fetcher.fetched_bytes() >= MIB
    assert cache._fetch(4000, 5000) == DATA[4000:5000]
    # Read ahead, and not again.
    assert not [call for call in fetcher.calls if call[0] == 4000]


def test_read_ahead_is_limited():
    fetcher = Fetcher()
    cache = HeadstartCache(MIB, fetcher, SIZE, concurrency=8, max_bytes=2 * MIB)
    for start in range(0, 8 * MIB, MIB):
        cache._fetch(start, start + MIB)
    cache.close()
    assert max(end for _, end in fetcher.calls) <= 8 * MIB + 3 * MIB
    assert fetcher.most_running <= 9


def test_a_fetcher_of_one_thread_is_never_called_by_two():
    fetcher = Fetcher()
    cache = HeadstartCache(MIB, fetcher, SIZE, concurrency=1)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda start: cache._fetch(start, start + 70_000), range(0, SIZE, 70_000)))
    assert b"".join(found) == DATA
    assert fetcher.most_running == 1


def test_concurrent_readers_of_one_file(make):
    cache, failures = make(), []

    def read(seed: int) -> None:
        dice = random.Random(seed)
        start = dice.randrange(SIZE)
        for _ in range(40):
            if dice.random() < 0.2:
                start = dice.randrange(SIZE)
            end = min(SIZE, start + dice.randrange(1, 100_000))
            if cache._fetch(start, end) != DATA[start:end]:
                failures.append((start, end))
            start = end

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not failures


def test_an_error_surfaces_once_and_the_next_read_recovers():
    fetcher = Fetcher()
    fetcher.fail_at = 6 * MIB
    cache = HeadstartCache(MIB, fetcher, SIZE, concurrency=8)
    position = 0
    with pytest.raises(OSError, match="the wire is cut"):
        while position < SIZE:
            data = cache._fetch(position, position + MIB)
            assert data == DATA[position : position + MIB]
            position += len(data)
    assert position == 6 * MIB
    fetcher.fail_at = None
    while position < SIZE:
        data = cache._fetch(position, position + MIB)
        assert data == DATA[position : position + MIB]
        position += len(data)


def test_an_error_that_stays_is_raised_by_each_read_that_needs_it():
    fetcher = Fetcher()
    fetcher.fail_at = 100
    cache = HeadstartCache(MIB, fetcher, SIZE, concurrency=8)
    for _ in range(3):
        with pytest.raises(OSError, match="the wire is cut"):
            cache._fetch(0, 1000)
    assert cache._fetch(200, 300) == DATA[200:300]


def test_use_after_close(make):
    cache = make()
    cache._fetch(0, 10)
    cache.close()
    cache.close()
    with pytest.raises(ValueError, match="closed"):
        cache._fetch(10, 20)


def test_close_during_reads_is_an_error_for_them_and_does_not_wait():
    fetcher = Fetcher()
    cache = HeadstartCache(MIB, fetcher, SIZE, concurrency=8)
    for start in range(0, 4 * MIB, MIB):
        cache._fetch(start, start + MIB)
    fetcher.gate.clear()
    outcome = []

    def read() -> None:
        try:
            outcome.append(cache._fetch(SIZE - MIB, SIZE))
        except ValueError as error:
            outcome.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    while fetcher.running == 0:
        pass
    cache.close()  # returns while the fetcher still waits
    fetcher.gate.set()
    reader.join(60)
    assert isinstance(outcome[0], ValueError)


def test_a_fetcher_that_returns_less_is_an_error():
    fetcher = Fetcher()
    cache = HeadstartCache(MIB, fetcher, SIZE, concurrency=8)
    fetcher.data = DATA[:500]
    with pytest.raises(OSError, match="has the object changed"):
        cache._fetch(0, 1000)


def held_bytes():
    from headstart.fsspec import readahead

    process = readahead._this_process()
    assert process.take(0)  # counts what readers left that nobody closed
    return process.held_bytes


@pytest.mark.parametrize("closes", [True, False])
def test_the_end_of_a_reader_gives_the_memory_back(closes):
    gc.collect()
    before = held_bytes()
    cache = HeadstartCache(MIB, Fetcher(), SIZE, concurrency=8)
    for start in range(0, 4 * MIB, MIB):
        cache._fetch(start, start + MIB)
    assert held_bytes() > before
    if closes:
        cache.close()
    else:
        for part in cache._reader._state.parts:
            part.future.result()  # its thread holds the reader until then
        del cache, part
        gc.collect()
    assert held_bytes() == before


def test_limits_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        FetcherReader(Fetcher(), SIZE, concurrency=0)


# Files of other file systems


class Plain(AbstractFileSystem):
    """A file system that Headstart knows nothing of."""

    protocol = "plain"

    def info(self, path, **kwargs):
        return {"name": path, "size": SIZE, "type": "file"}

    def cat_file(self, path, start=None, end=None, **kwargs):
        return DATA[start:end]


def test_any_file_system_is_read_through_its_own_fetcher():
    with Plain().open("x", cache_type="headstart") as file:
        assert not file.cache.native
        assert file.cache._reader.concurrency == 1
        assert file.read() == DATA
        file.seek(100)
        assert file.read(7) == DATA[100:107]


@pytest.fixture
def path(cloud):
    name = f"{uuid.uuid4()}/object"
    cloud.write(name, DATA)
    return f"{BUCKET}/{name}"


def other(cloud, **options):
    return fsspec.filesystem(cloud.kind, skip_instance_cache=True, **cloud.foreign_options, **options)


def test_files_of_gcsfs_and_s3fs_are_read_natively(cloud, path):
    fs = other(cloud)
    assert type(fs).__module__.split(".")[0] == {"gs": "gcsfs", "s3": "s3fs"}[cloud.kind]
    with fs.open(path, cache_type="headstart", cache_options={"memory_bytes": "64MiB"}) as file:
        assert file.cache.native
        for start in range(0, SIZE, MIB):
            assert file.read(MIB) == DATA[start : start + MIB]
        assert file.read(1) == b""
        file.seek(5)
        assert file.read(10) == DATA[5:15]


def test_files_may_be_read_through_their_own_fetcher_by_choice(cloud, path):
    with other(cloud).open(path, cache_type="headstart", cache_options={"native": False}) as file:
        assert not file.cache.native
        assert file.read() == DATA


def test_keys_that_the_store_refuses_fall_back_to_the_file(cloud, path, monkeypatch):
    class Refused:
        size = SIZE

        def read_bytes_at(self, *args):
            raise PermissionError("403")

        def close(self):
            pass

    monkeypatch.setattr("headstart.fsspec.cache.open_native", lambda *args: Refused())
    with other(cloud).open(path, cache_type="headstart") as file:
        with pytest.warns(RuntimeWarning, match="own fetcher"):
            assert file.read(10) == DATA[:10]
        assert file.read(10) == DATA[10:20]


def test_http_files_are_read_natively(servers):
    servers["gs"].write("by-http", DATA)
    url = f"{servers['gs'].endpoint}/{BUCKET}/by-http"
    with fsspec.open(url, cache_type="headstart") as file:
        assert file.cache.native
        assert file.read() == DATA


def test_a_file_pickled_to_another_process_keeps_cache_and_options(cloud, path):
    options = {"native": False, "max_bytes": 5 * MIB}
    with other(cloud).open(path, cache_type="headstart", cache_options=options) as file:
        file.seek(MIB)
        blob = pickle.dumps(file)
        assert file.read(5) == DATA[MIB : MIB + 5]
    # In a process that has not imported the module.
    del fsspec.caching.caches["headstart"]
    forgotten = [name for name in fsspec.caching.caches if str(name).startswith("headstart")]
    for name in forgotten:
        del fsspec.caching.caches[name]
    try:
        with pickle.loads(blob) as copy:
            assert copy.cache.options["max_bytes"] == 5 * MIB
            assert copy.tell() == MIB
            assert copy.read(5) == DATA[MIB : MIB + 5]
            assert not copy.cache.native
    finally:
        fsspec.caching.register_cache(HeadstartCache, clobber=True)


def test_an_old_listing_is_an_error_and_not_wrong_bytes(cloud, path):
    fs = other(cloud)
    with fs.open(path, cache_type="headstart") as file:
        cloud.write(path.partition("/")[2], DATA[: MIB + 1])
        with pytest.raises(headstart.ObjectChanged, match="invalidate_cache"):
            file.read(10)


def test_local_files_of_fsspec_ignore_it(tmp_path):
    (tmp_path / "file").write_bytes(DATA)
    with fsspec.open(f"file://{tmp_path}/file", cache_type="headstart") as file:
        assert file.read() == DATA


def test_collecting_garbage_during_reads(cloud, path):
    """Files are dropped without being closed, while other threads read and the garbage is collected in a loop."""
    fs, stop = other(cloud), threading.Event()
    gc.collect()
    gc.freeze()  # what the imports made is not looked at in each round

    def collect() -> None:
        while not stop.wait(0.005):  # a loop without a pause leaves no time for the readers
            gc.collect()

    def read(seed: int) -> bool:
        dice = random.Random(seed)
        right = True
        for _ in range(5):
            file = fs.open(path, cache_type="headstart", cache_options={"native": bool(seed % 2)})
            start = dice.randrange(SIZE - MIB)
            file.seek(start)
            right &= file.read(MIB) == DATA[start : start + MIB]
            file.loop = file  # garbage that only the collector finds
        return right

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(read, range(6)))
    finally:
        stop.set()
        collector.join(60)
        gc.unfreeze()


def test_memory_files_are_untouched():
    fs = MemoryFileSystem()
    fs.pipe_file("/m", DATA)
    with fs.open("/m", cache_type="headstart") as file:
        assert file.read(3) == DATA[:3]
