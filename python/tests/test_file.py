"""``headstart.File``: an ``io.RawIOBase`` whose bytes are those of the object."""

from __future__ import annotations

import io
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cloud import KIB, MIB, Sim, content, synthetic

import headstart
from headstart._headstart import copied_bytes

SIZE = 3_000_017


def test_is_a_raw_file(local: Path) -> None:
    with headstart.open(f"file://{local}/data") as file:
        assert isinstance(file, io.RawIOBase)
        assert file.readable()
        assert file.seekable()
        assert not file.writable()
        assert not file.isatty()
        assert file.size == SIZE
        assert file.version["size"] == SIZE
        assert file.name.endswith("data")
        with pytest.raises(OSError, match=r"not supported|fileno"):
            file.fileno()
    assert file.closed


def test_reads_what_a_file_reads(local: Path) -> None:
    """Random operations, beside Python's own file."""
    generator = random.Random(7)
    with headstart.open(f"file://{local}/data") as file, (local / "data").open("rb", buffering=0) as own:
        for _ in range(400):
            match generator.randrange(6):
                case 0:
                    size = generator.choice([0, 1, 100, 65_536, 1_000_000])
                    assert file.read(size) == own.read(size)
                case 1:
                    target, other = bytearray(generator.randrange(200_000)), None
                    other = bytearray(len(target))
                    assert file.readinto(target) == own.readinto(other)
                    assert target == other
                case 2:
                    to = generator.randrange(SIZE + 1000)
                    assert file.seek(to) == own.seek(to)
                case 3:
                    back = generator.randrange(1000)
                    assert file.seek(-back, os.SEEK_END) == own.seek(-back, os.SEEK_END)
                case 4:
                    by = generator.randrange(-100, 10_000)
                    if own.tell() + by >= 0:
                        assert file.seek(by, os.SEEK_CUR) == own.seek(by, os.SEEK_CUR)
                case 5:
                    if generator.random() < 0.1:
                        assert file.read() == own.read()
            assert file.tell() == own.tell()


def test_buffered_reader_lines_and_pandas_like_use(local: Path) -> None:
    (local / "lines").write_bytes(b"".join(b"line %d\n" % n for n in range(50_000)))
    with io.BufferedReader(headstart.open(f"file://{local}/lines")) as buffered:
        lines = list(buffered)
    assert len(lines) == 50_000
    assert lines[777] == b"line 777\n"
    with io.TextIOWrapper(io.BufferedReader(headstart.open(f"file://{local}/lines"))) as text:
        assert sum(1 for _ in text) == 50_000


def test_past_the_end_and_empty(local: Path) -> None:
    (local / "empty").touch()
    with headstart.open(f"file://{local}/empty") as file:
        assert file.read() == b""
        assert file.read(10) == b""
        assert file.readinto(bytearray(3)) == 0
        assert file.size == 0
        assert bytes(file.read_at(0, 5)) == b""
    with headstart.open(f"file://{local}/data") as file:
        file.seek(SIZE + 5)
        assert file.read(10) == b""
        assert bytes(file.read_at(SIZE - 3, SIZE + 100)) == content("data", SIZE - 3, SIZE)
        with pytest.raises(ValueError, match="negative"):
            file.seek(-1)
        with pytest.raises(ValueError, match="whence"):
            file.seek(0, 9)


def test_use_after_close(local: Path) -> None:
    file = headstart.open(f"file://{local}/data")
    file.read(10)
    file.close()
    file.close()
    for use in (file.read, file.tell, lambda: file.seek(0), lambda: file.read_at(0, 1), lambda: file.size):
        with pytest.raises(ValueError, match="closed file"):
            use()


def test_over_the_simulated_cloud(sim: Sim) -> None:
    key = synthetic(20 * MIB)
    with headstart.open(f"{sim.url}/{key}", **sim.options) as file:
        at = 0
        while block := file.read(1 * MIB + 3):
            assert block == content(key, at, at + len(block))
            at += len(block)
        assert at == 20 * MIB
        assert file.read_bytes_at(5, 1000) == content(key, 5, 1000)
        for start in (0, 7 * MIB, 3, 19 * MIB):
            file.seek(start)
            assert file.read(64 * KIB) == content(key, start, start + 64 * KIB)
        stats = file.stats()
    assert stats["fetch"]["fetched_bytes"] > 20 * MIB
    sim.wait_idle()


def test_one_get_for_one_read(sim: Sim) -> None:
    sim.reset()
    key = synthetic(1 * MIB, "one")
    # A busy machine answers late, and late requests are hedged.
    with headstart.open(f"{sim.url}/{key}", fetch_hedge=False, **sim.options) as file:
        assert file.read() == content(key, 0, 1 * MIB)
    counts = sim.wait_idle()
    assert (counts["gets"], counts["heads"]) == (1, 0)


def test_a_known_version_needs_no_request(sim: Sim) -> None:
    store = headstart.Store(sim.url, **sim.options)
    key = synthetic(1000, "known")
    meta = store.head(key)
    sim.reset()
    file = store.open(key, size=meta["size"], e_tag=meta["e_tag"], version=meta["version"])
    assert file.size == 1000
    assert file.seek(-10, os.SEEK_END) == 990
    assert sim.counts()["gets"] + sim.counts()["heads"] == 0
    assert file.read() == content(key, 990, 1000)


def test_concurrent_reads_of_one_file_get_different_bytes(sim: Sim) -> None:
    key = synthetic(8 * MIB, "threads")
    file = headstart.open(f"{sim.url}/{key}", **sim.options)
    blocks: list[bytes] = []

    def read() -> None:
        while block := file.read(100_000):
            blocks.append(block)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = content(key, 0, 8 * MIB)
    assert sum(map(len, blocks)) == len(whole)
    assert sorted(blocks) == sorted(whole[at : at + 100_000] for at in range(0, len(whole), 100_000))


def test_positions_from_many_threads(sim: Sim) -> None:
    key = synthetic(64 * MIB, "positions")
    file = headstart.open(f"{sim.url}/{key}", **sim.options)

    def check(n: int) -> bool:
        start = (n * 7919 * KIB) % (63 * MIB)
        return bytes(file.read_at(start, start + 50_000)) == content(key, start, start + 50_000)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(check, range(200)))
    assert file.tell() == 0


@pytest.mark.parametrize("size", [10 * KIB, 1 * MIB, 10 * MIB])
def test_a_read_copies_its_bytes_once(sim: Sim, size: int) -> None:
    key = synthetic(40 * MIB, "copies")
    with headstart.open(f"{sim.url}/{key}", **sim.options) as file:
        before = copied_bytes()
        assert len(file.read(size)) == size
        assert copied_bytes() - before == size
        target = bytearray(size)
        assert file.readinto(target) == size
        assert copied_bytes() - before == 2 * size
        # No copy where one answer has all bytes; at most one where several have.
        before = copied_bytes()
        buffer = file.read_at(0, 10 * KIB)
        memoryview(buffer)
        assert copied_bytes() == before
        assert bytes(buffer) == content(key, 0, 10 * KIB)


def test_readinto_any_writable_memory(local: Path) -> None:
    import array

    import numpy as np

    with headstart.open(f"file://{local}/data") as file:
        floats = np.empty(1000, dtype=np.float64)
        assert file.readinto(floats) == 8000
        assert floats.tobytes() == content("data", 0, 8000)
        ints = array.array("i", bytes(400))
        assert file.readinto(ints) == 400
        assert ints.tobytes() == content("data", 8000, 8400)
        with pytest.raises(TypeError, match="writable"):
            file.readinto(b"read-only")  # type: ignore[arg-type]
        with pytest.raises(BufferError, match="contiguous"):
            file.readinto(np.empty((10, 10), dtype=np.uint8)[:, ::2])


def test_buffers_are_like_bytes(local: Path) -> None:
    with headstart.open(f"file://{local}/data") as file:
        buffer = file.read_buffer(1000)
    expected = content("data", 0, 1000)
    assert len(buffer) == 1000
    assert buffer == expected
    assert buffer == memoryview(expected)
    assert buffer != expected[:-1]
    assert buffer[0] == expected[0]
    assert buffer[-1] == expected[-1]
    assert bytes(buffer[10:20]) == expected[10:20]
    assert bytes(buffer[::7]) == expected[::7]
    assert memoryview(buffer).readonly
    assert buffer.to_bytes() == expected
    with pytest.raises(IndexError):
        buffer[1000]
    part = buffer[5:100]
    del buffer
    assert part == expected[5:100]


def test_advice(sim: Sim) -> None:
    key = synthetic(32 * MIB, "advice")
    with headstart.open(f"{sim.url}/{key}", **sim.options) as file:
        file.advise("random")
        file.advise("will_need", [(0, 1 * MIB), (30 * MIB, 31 * MIB)])
        assert bytes(file.read_at(30 * MIB, 31 * MIB)) == content(key, 30 * MIB, 31 * MIB)
        file.advise("dont_need", [(0, 1 * MIB)])
        file.advise("sequential")
        assert file.read(3 * MIB) == content(key, 0, 3 * MIB)
        for wrong in ("fast", "will_need"):
            with pytest.raises(ValueError, match="hint"):
                file.advise(wrong)  # type: ignore[arg-type]
    sim.wait_idle()


def test_a_generation_in_the_url(sim: Sim) -> None:
    if not sim.url.startswith("gs:"):
        pytest.skip("generations are Google's")
    store = headstart.Store(sim.url, **sim.options)
    store.put("versions", b"first")
    first = store.head("versions")["version"]
    store.put("versions", b"second")
    assert headstart.open(f"{sim.url}/versions#{first}", **sim.options).read() == b"first"
    assert headstart.open(f"{sim.url}/versions", **sim.options).read() == b"second"
