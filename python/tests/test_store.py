"""``headstart.Store``: obspec's protocols, lists of objects, downloads, and what asyncio adds."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import obspec
import pytest
from cloud import KIB, MIB, Sim, content, synthetic
from conftest import OddServer

import headstart


def of(sim: Sim, prefix: str = "") -> headstart.Store:
    return headstart.Store(f"{sim.url}/{prefix}" if prefix else sim.url, **sim.options)


def test_has_the_protocols_of_obspec() -> None:
    protocols = [
        "Get", "GetRange", "GetRanges", "Head", "List", "ListWithDelimiter", "Put", "Delete", "Copy", "Rename",
    ]  # fmt: skip
    for name in protocols:
        for variant in (name, f"{name}Async"):
            protocol = getattr(obspec, variant)
            for member in vars(protocol):
                if not member.startswith("_"):
                    assert callable(getattr(headstart.Store, member)), member


def test_get(sim: Sim) -> None:
    store, key = of(sim), synthetic(3 * MIB, "get")
    answer = store.get(key)
    assert answer.meta["path"] == key
    assert answer.meta["size"] == 3 * MIB
    assert isinstance(answer.meta["last_modified"], datetime)
    assert answer.meta["last_modified"].tzinfo is not None
    assert answer.range == (0, 3 * MIB)
    assert answer.buffer() == content(key, 0, 3 * MIB)
    with pytest.raises(RuntimeError, match="taken already"):
        answer.buffer()
    assert b"".join(bytes(chunk) for chunk in store.get(key)) == content(key, 0, 3 * MIB)
    for asked, (start, end) in [
        ((5, 10), (5, 10)),
        ([5, 10], (5, 10)),
        ({"offset": 3 * MIB - 7}, (3 * MIB - 7, 3 * MIB)),
        ({"suffix": 9}, (3 * MIB - 9, 3 * MIB)),
        ((3 * MIB - 1, 4 * MIB), (3 * MIB - 1, 3 * MIB)),
    ]:
        answer = store.get(key, options={"range": asked})  # type: ignore[typeddict-item]
        assert answer.range == (start, end)
        assert answer.bytes() == content(key, start, end)
    meta = store.head(key)
    assert store.get(key, options={"head": True}).meta == meta
    assert store.get(key, options={"if_match": meta["e_tag"]}).buffer() == content(key, 0, 3 * MIB)
    with pytest.raises(headstart.NotModifiedError):
        store.get(key, options={"if_modified_since": datetime(2100, 1, 1, tzinfo=UTC)})


def test_ranges(sim: Sim) -> None:
    store, key = of(sim), synthetic(3 * MIB, "ranges")
    assert store.get_range(key, start=7, end=70) == content(key, 7, 70)
    assert store.get_range(key, start=7, length=70) == content(key, 7, 77)
    starts = [0, 100_000, 5, 2 * MIB]
    for ends in ({"lengths": [10, 20, 30, 40]}, {"ends": [start + 10 * n for n, start in enumerate(starts, 1)]}):
        buffers = store.get_ranges(key, starts=starts, **ends)  # type: ignore[arg-type]
        assert list(buffers) == [content(key, start, start + 10 * n) for n, start in enumerate(starts, 1)]
    assert store.get_ranges(key, starts=[], ends=[]) == []
    with pytest.raises(ValueError, match="as many"):
        store.get_ranges(key, starts=[1, 2], ends=[3])


def test_cat_slices_as_python_does(sim: Sim, tmp_path: Path) -> None:
    files = headstart.Store(f"file://{tmp_path}")
    for store, key in [(of(sim), synthetic(1000, "cat")), (files, "cat")]:
        whole = content(key, 0, 1000)
        if store is files:
            store.put("cat", whole)
        store.put("empty", b"")
        points = [None, 0, 1, 500, 999, 1000, 1001, -1, -500, -1000, -1001]
        slices = [(start, end) for start in points for end in points]
        for start, end in slices:
            found = store.cat(key, start, end)
            assert type(found) is bytes
            assert found == whole[start:end], (start, end)
            assert store.cat("empty", start, end) == b""
        many = store.cat_ranges([key] * len(slices), [start for start, _ in slices], [end for _, end in slices])
        assert many == [whole[start:end] for start, end in slices]
        missing, found = store.cat_ranges(["missing", key], [0, 1], [5, 2])
        assert isinstance(missing, FileNotFoundError)
        assert found == whole[1:2]


def test_one_get_for_one_cat(sim: Sim) -> None:
    # A busy machine answers late, and late requests are hedged.
    store, key = headstart.Store(sim.url, fetch_hedge=False, **sim.options), synthetic(100 * KIB, "cat-gets")
    for start, end in [(None, None), (10, 20), (10, None), (-10, None)]:
        sim.reset()
        store.cat(key, start, end)
        counts = sim.wait_idle()
        assert (counts["gets"], counts["heads"]) == (1, 0), (start, end)


def test_write_list_copy_rename_delete(sim: Sim, tmp_path: Path) -> None:
    for store in (of(sim, "folder"), headstart.Store(f"file://{tmp_path}"), headstart.Store("memory:///folder")):
        for name in ("a/1", "a/2", "a/b/3", "c"):
            result = store.put(name, name.encode())
            assert set(result) == {"e_tag", "version"}
        listed = [meta["path"] for metas in store.list() for meta in metas]
        assert sorted(listed) == ["a/1", "a/2", "a/b/3", "c"]
        assert sorted(meta["path"] for metas in store.list("a/") for meta in metas) == ["a/1", "a/2", "a/b/3"]
        offset = [meta["path"] for metas in store.list("a", offset="a/1") for meta in metas]
        assert sorted(offset) == ["a/2", "a/b/3"]
        level = store.list_with_delimiter("a")
        assert list(level["common_prefixes"]) == ["a/b"]
        assert sorted(meta["path"] for meta in level["objects"]) == ["a/1", "a/2"]
        assert list(store.list_with_delimiter()["common_prefixes"]) == ["a"]
        store.copy("c", "d")
        store.rename("d", "e")
        assert bytes(store.get("e").buffer()) == b"c"
        with pytest.raises(FileNotFoundError):
            store.head("d")
        store.delete("e")
        store.delete(["a/1", "a/2", "a/b/3", "c"])
        assert list(store.list()) == []


def test_put_takes_what_obspec_says(sim: Sim, tmp_path: Path) -> None:
    whole = content("data", 0, 12 * MIB + 5)
    path = tmp_path / "data"
    path.write_bytes(whole)

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(whole), 1_000_003):
            yield whole[at : at + 1_000_003]

    for store in (of(sim, "put"), headstart.Store(f"file://{tmp_path}/out")):
        for file in (whole, bytearray(whole), memoryview(whole), path, pieces(), list(pieces()), io.BytesIO(whole)):
            store.put("whole", file)
            assert store.get("whole").buffer() == whole
        store.put("whole", path, use_multipart=False)
        assert store.head("whole")["size"] == len(whole)
        store.put("small", b"small", use_multipart=True)
        assert bytes(store.get("small").buffer()) == b"small"
        store.put("nothing", b"")
        assert store.head("nothing")["size"] == 0
        with path.open("rb") as opened:
            store.put("whole", opened, chunk_size=6 * MIB, max_concurrency=2)
        assert store.get("whole").buffer() == whole
        store.put("copied", store.get("whole"))
        assert store.get("copied").buffer() == whole
        store.put("file", store.open("whole"))
        assert store.get("file").buffer() == whole

        def failing() -> Iterator[bytes]:
            yield whole
            raise RuntimeError("the source failed")

        with pytest.raises(RuntimeError, match="the source failed"):
            store.put("failed", failing())
        with pytest.raises(FileNotFoundError):
            store.head("failed")


def test_attributes(sim: Sim) -> None:
    store = of(sim)
    store.put("attributes", b"x", attributes={"Content-Type": "text/plain", "Cache-Control": "no-cache"})
    shown = store.get("attributes").attributes
    assert shown["Content-Type"] == "text/plain"


@pytest.mark.parametrize("ordered", [True, False])
def test_objects(sim: Sim, ordered: bool) -> None:
    store = of(sim)
    keys = [synthetic(1000 + 100 * n, f"objects{n}") for n in range(300)]
    found = dict(store.objects(iter(keys), ordered=ordered))
    assert [content(key, 0, 1000 + 100 * n) for n, key in enumerate(keys)] == [bytes(found[key]) for key in keys]
    if ordered:
        assert list(found) == keys
    assert list(store.objects([])) == []


def test_objects_go_on_after_errors_or_stop(sim: Sim) -> None:
    store = of(sim)
    keys = [synthetic(10, "good"), "missing", synthetic(20, "good")]
    results = list(store.objects(keys, on_error="return"))
    assert [path for path, _ in results] == keys
    assert isinstance(results[1][1], FileNotFoundError)
    assert bytes(results[2][1]) == content(keys[2], 0, 20)
    iterator = store.objects(keys)
    assert next(iterator)[0] == keys[0]
    with pytest.raises(FileNotFoundError):
        next(iterator)
    with pytest.raises(ValueError, match="on_error"):
        store.objects(keys, on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="paths"):
        store.objects(5)  # type: ignore[arg-type]


def test_objects_of_an_endless_iterator_stay_within_the_memory(sim: Sim) -> None:
    store = headstart.Store(sim.url, memory_bytes="64MiB", **sim.options)

    def endless() -> Iterator[str]:
        n = 0
        while True:
            yield synthetic(1 * MIB, f"endless{n}")
            n += 1

    iterator = store.objects(endless())
    for _ in range(200):
        path, buffer = next(iterator)
        assert bytes(buffer[:100]) == content(path, 0, 100)
    assert store.stats()["budget"]["peak_bytes"] <= 64 * MIB
    del iterator
    sim.wait_idle()


def test_download(sim: Sim, tmp_path: Path) -> None:
    store, key = of(sim), synthetic(30 * MIB, "download")
    reports: list[tuple[int, int]] = []
    done = store.download(key, tmp_path / "file", lambda *report: reports.append(report))
    assert (tmp_path / "file").read_bytes() == content(key, 0, 30 * MIB)
    assert done["version"]["size"] == 30 * MIB
    assert reports[-1] == (30 * MIB, 30 * MIB)
    assert reports == sorted(reports)
    opened = io.BytesIO()
    reports.clear()
    assert store.download(key, opened, lambda *report: reports.append(report)) is None
    assert opened.getvalue() == content(key, 0, 30 * MIB)
    assert reports[-1] == (30 * MIB, 30 * MIB)
    with pytest.raises(FileNotFoundError, match="directory does not exist"):
        store.download(key, tmp_path / "no" / "file")
    with pytest.raises(ZeroDivisionError):
        store.download(key, tmp_path / "failing", lambda *_: 1 // 0)


def test_warm_and_cache(sim: Sim) -> None:
    store, key = headstart.Store(sim.url, mode="cached", **sim.options), synthetic(2 * MIB, "warm")
    assert store.warm(key) >= 2 * MIB
    sim.reset()
    assert store.get_range(key, start=5, end=1 * MIB) == content(key, 5, 1 * MIB)
    assert store.open(key).read(1000) == content(key, 0, 1000)
    assert sim.counts()["gets"] == 0
    assert store.stats()["cache"]["hits"] > 0
    assert of(sim).warm(key) == 0
    store.close()


def test_equal_stores_share_connections_and_pages(sim: Sim) -> None:
    options = {"mode": "cached", "cache_page_bytes": "32KiB", **sim.options}
    key = synthetic(1 * MIB, "shared")
    assert headstart.open(f"{sim.url}/{key}", **options).read() == content(key, 0, MIB)
    sim.reset()
    assert headstart.open(f"{sim.url}/{key}", **options).read() == content(key, 0, MIB)
    assert headstart.Store(sim.url, **options).cat(key) == content(key, 0, MIB)
    assert sim.counts()["gets"] == 0


def test_the_environment_has_options(sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_MEMORY_BYTES", "96MiB")
    store = headstart.Store(sim.url, **sim.options)
    assert store.stats()["budget"]["limit_bytes"] == 96 * MIB
    other = headstart.Store(f"{sim.url}/other", mode="cached", **sim.options)
    # Both are within one budget: the cache's memory is taken from it.
    budget = store.stats()["budget"]
    assert other.stats()["budget"]["limit_bytes"] == 96 * MIB
    assert budget["used_bytes"] >= 32 * MIB
    assert {s["key"]: s["source"] for s in store.effective_config()}["memory_bytes"] == "environment"
    monkeypatch.setenv("HEADSTART_MODE", "sometimes")
    with pytest.raises(ValueError, match="HEADSTART_MODE"):
        headstart.Store(sim.url, **sim.options)


def test_many_stores_with_caches_share_the_memory(sim: Sim) -> None:
    """Stores that are used divide the memory; the caches of those that nobody uses make room."""
    key = synthetic(100 * KIB, "caches")
    for n in range(30):
        store = headstart.Store(sim.url, mode="cached", memory_bytes="128MiB", prefetch_max_age=n, **sim.options)
        assert store.cat(key) == content(key, 0, 100 * KIB)
        budget = store.stats()["budget"]
        assert budget["limit_bytes"] == 128 * MIB
        assert budget["used_bytes"] <= 128 * MIB
    options = {"mode": "cached", "memory_bytes": "128MiB", **sim.options}
    used = [headstart.Store(sim.url, prefetch_max_age=100, **options)]

    def use_more() -> None:
        for n in range(30):
            used.append(headstart.Store(sim.url, prefetch_max_age=101 + n, **options))

    with pytest.raises(ValueError, match="no memory for a cache"):
        use_more()
    assert len(used) >= 2


def test_asyncio(sim: Sim, tmp_path: Path) -> None:
    store, key = of(sim, "async"), synthetic(3 * MIB, "async")
    root = of(sim)

    async def pieces() -> AsyncIterator[bytes]:
        for n in range(4):
            await asyncio.sleep(0)
            yield bytes([n]) * 3 * MIB

    async def main() -> None:
        assert (await root.head_async(key))["size"] == 3 * MIB
        answer = await root.get_async(key)
        assert await answer.buffer_async() == content(key, 0, 3 * MIB)
        assert b"".join([bytes(chunk) async for chunk in await root.get_async(key)]) == content(key, 0, 3 * MIB)
        ranges = [root.get_range_async(key, start=n * KIB, length=KIB) for n in range(500)]
        for n, buffer in enumerate(await asyncio.gather(*ranges)):
            assert buffer == content(key, n * KIB, (n + 1) * KIB)
        assert await root.get_ranges_async(key, starts=[1], ends=[5]) == [content(key, 1, 5)]
        assert await root.cat_async(key, -5) == content(key, 3 * MIB - 5, 3 * MIB)
        assert await root.cat_ranges_async([key], [0], [3]) == [content(key, 0, 3)]
        await store.put_async("a", b"a")
        await store.put_async("b", pieces())
        assert (await store.head_async("b"))["size"] == 12 * MIB
        await store.put_async("c", io.BytesIO(b"c" * 6 * MIB))
        (tmp_path / "d").write_bytes(b"d")
        await store.put_async("d", tmp_path / "d")
        assert sorted([meta["path"] async for metas in store.list_async() for meta in metas]) == ["a", "b", "c", "d"]
        assert len((await store.list_with_delimiter_async())["objects"]) == 4
        await store.copy_async("a", "e")
        await store.rename_async("e", "f")
        await store.delete_async(["a", "b", "c", "d", "f"])
        found = [path async for path, _ in root.objects([key, key])]
        assert found == [key, key]
        async with await headstart.open_async(f"{sim.url}/{key}", **sim.options) as file:
            assert await file.read(10) == content(key, 0, 10)
            assert await file.seek(-3, 2) == 3 * MIB - 3
            assert await file.read() == content(key, 3 * MIB - 3, 3 * MIB)
            assert await file.read_at(5, 9) == content(key, 5, 9)
            assert await file.size() == 3 * MIB
        done = await root.download_async(key, tmp_path / "file")
        assert done["version"]["size"] == 3 * MIB
        with pytest.raises(FileNotFoundError):
            await root.head_async("missing")

    asyncio.run(main())


def test_asyncio_cancellation_aborts_the_request(odd: OddServer) -> None:
    store = headstart.Store(odd.url)

    async def main() -> None:
        task = asyncio.ensure_future(store.get_async("hang/cancel"))
        await asyncio.sleep(0.2)
        assert await asyncio.to_thread(odd.in_progress) == 1
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while await asyncio.to_thread(odd.in_progress) > 0:
            assert time.monotonic() - began < 1
            await asyncio.sleep(0.01)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.head_async("hang/timeout"), 0.1)

    asyncio.run(main())


def test_asyncio_loops_that_are_closed_or_missing(odd: OddServer, store: headstart.Store) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        store.head_async("data")

    async def leave() -> None:
        remote = headstart.Store(odd.url)
        remote.head_async("slow/0.2/10")

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    time.sleep(0.4)

    async def again() -> int:
        return (await store.head_async("data"))["size"]

    for _ in range(20):
        assert asyncio.run(again()) == 3_000_017


def test_asyncio_from_many_loops_in_threads(store: headstart.Store) -> None:
    from concurrent.futures import ThreadPoolExecutor

    async def read(number: int) -> bytes:
        buffers = [store.get_range_async("data", start=number + n, length=100) for n in range(50)]
        return b"".join(bytes(buffer) for buffer in await asyncio.gather(*buffers))

    with ThreadPoolExecutor(8) as pool:
        for number, found in enumerate(pool.map(lambda number: asyncio.run(read(number)), range(40))):
            assert found == b"".join(content("data", number + n, number + n + 100) for n in range(50))
