"""Ctrl-C, garbage collection and the GIL: nothing waits for what it must not wait for."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from cloud import KIB, MIB, Sim, content, synthetic
from conftest import OddServer, Run

import headstart

pytestmark = pytest.mark.alone

INTERRUPT = """
    import headstart, os, signal, sys, threading, time
    # The background jobs of a shell ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    url, call, options = sys.argv[1], sys.argv[2], eval(sys.argv[3])
    base, _, key = url.rpartition("/")
    store = headstart.Store(base, **options)
    file = headstart.open(url, **options)
    calls = {
        "read": lambda: file.read(),
        "readinto": lambda: file.readinto(bytearray(100)),
        "size": lambda: file.size,
        "get": lambda: store.get(key),
        "head": lambda: store.head(key),
        "objects": lambda: list(store.objects([key] * 10)),
        "cat_ranges": lambda: store.cat_ranges([key] * 10, [None] * 10, [None] * 10),
        "download": lambda: store.download(key, "/dev/shm/never"),
    }
    print("waiting", flush=True)
    sent = []
    threading.Timer(0.3, lambda: (sent.append(time.monotonic()), os.kill(os.getpid(), signal.SIGINT))).start()
    try:
        calls[call]()
    except KeyboardInterrupt:
        print("interrupted after", time.monotonic() - sent[0], flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("call", ["read", "readinto", "size", "get", "head", "objects", "cat_ranges", "download"])
def test_ctrl_c_ends_a_blocked_call_and_leaves_nothing_running(odd: OddServer, call: str) -> None:
    assert odd.in_progress() == 0
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", textwrap.dedent(INTERRUPT), f"{odd.url}/hang/{call}", call, "{}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "waiting"
    said = process.stdout.readline()
    assert said.startswith("interrupted after"), said
    assert float(said.split()[-1]) <= 0.15
    # The process lives on, but its requests do not.
    deadline = time.monotonic() + 1
    while odd.in_progress() > 0:
        assert time.monotonic() < deadline, "requests are still in progress"
        time.sleep(0.01)
    process.communicate("\n", timeout=10)
    assert process.returncode == 0


def test_a_file_can_be_read_after_ctrl_c(run_script: Run, odd: OddServer) -> None:
    script = f"""
        import headstart, os, signal, threading
        signal.signal(signal.SIGINT, signal.default_int_handler)
        file = headstart.open("{odd.url}/slow/0.6/100000")
        threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        try:
            file.read(10)
            print("not interrupted")
        except KeyboardInterrupt:
            assert file.tell() == 0
            assert file.read(10) == bytes(10)
            print("read after the interrupt")
    """
    assert run_script(script).stdout.strip() == "read after the interrupt"


def test_other_signals_run_their_handlers_and_the_read_goes_on(odd: OddServer) -> None:
    handled: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: handled.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        assert headstart.open(f"{odd.url}/slow/0.5/1000").read() == bytes(1000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(handled) >= 3


def test_interpreter_exit_while_reading(run_script: Run, odd: OddServer) -> None:
    script = f"""
        import headstart, threading, time, asyncio
        file = headstart.open("{odd.url}/hang/exit")
        threading.Thread(target=file.read, daemon=True).start()
        store = headstart.Store("{odd.url}/")
        async def main():
            store.get_async("hang/exit")
            await asyncio.sleep(0.1)
        asyncio.run(main())
        print("ended")
    """
    assert run_script(script, timeout=10).stdout.strip() == "ended"


def test_daemon_threads_that_wait_while_the_interpreter_exits(run_script: Run, odd: OddServer) -> None:
    """Their reads end in the middle of the exit, and they must not come back then."""
    script = f"""
        import atexit, time
        atexit.register(time.sleep, 0.6)
        import headstart, threading
        files = [headstart.open("{odd.url}/slow/0.3/1000000") for _ in range(8)]
        for file in files:
            threading.Thread(target=file.read, daemon=True).start()
        threading.Thread(target=headstart.open("{odd.url}/hang/exit").read, daemon=True).start()
        time.sleep(0.1)
        late = headstart.open("{odd.url}/slow/0/10")
        atexit.register(lambda: print("read at exit:", len(late.read())))
    """
    assert run_script(script, timeout=20).stdout.strip() == "read at exit: 10"


def test_garbage_collection_during_reads_from_many_threads(sim: Sim) -> None:
    """Files in reference cycles are closed by whatever thread collects them, in the middle of others' reads."""
    key = synthetic(8 * MIB, "garbage")
    store = headstart.Store(sim.url, **sim.options)
    stop = time.monotonic() + 4
    failures: list[BaseException] = []
    reads = [0]

    class Holder:
        def __init__(self) -> None:
            self.file = store.open(key)
            self.listing = store.list("synthetic")
            self.me = self

    def read(number: int) -> None:
        try:
            at = number * MIB
            while time.monotonic() < stop:
                holder = Holder()
                assert holder.file.read_bytes_at(at, at + 200 * KIB) == content(key, at, at + 200 * KIB)
                # Left open, and in flight, to the collector.
                holder.file.advise("will_need", [(0, 4 * MIB)])
                reads[0] += 1
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    collected = 0
    while any(thread.is_alive() for thread in threads):
        collected += gc.collect() > 0
        time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert not failures
    assert collected > 0
    assert reads[0] > 50


def test_dropping_a_file_in_flight_does_not_wait(odd: OddServer) -> None:
    file = headstart.open(f"{odd.url}/hang/drop")
    failures: list[ValueError] = []

    def read() -> None:
        try:
            file.read()
        except ValueError as failure:
            failures.append(failure)

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.2)
    began = time.monotonic()
    file.close()
    assert time.monotonic() - began < 0.05
    thread.join(timeout=5)
    assert not thread.is_alive(), "close does not end a read of another thread"
    assert len(failures) == 1


def test_the_gil_is_free_while_a_read_waits(odd: OddServer) -> None:
    ticks = [0]
    stop = threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    before = ticks[0]
    assert headstart.open(f"{odd.url}/slow/0.5/1000").read() == bytes(1000)
    assert ticks[0] - before > 100
    stop.set()
    thread.join()


def test_io_threads_run_no_python_code(run_script: Run, sim: Sim) -> None:
    """A profile function is called on every thread that runs Python code."""
    script = f"""
        import asyncio, headstart, sys, threading, os
        names = set()
        def note(*_):
            with open(f"/proc/self/task/{{threading.get_native_id()}}/comm") as comm:
                names.add(comm.read().strip())
        threading.setprofile_all_threads(note) if hasattr(threading, "setprofile_all_threads") else None
        threading.setprofile(note); sys.setprofile(note)
        store = headstart.Store("{sim.url}", **{sim.options!r})
        key = "{synthetic(MIB, "profile")}"
        async def main():
            await asyncio.gather(*[store.get_range_async(key, start=n, length=10) for n in range(50)])
        asyncio.run(main())
        store.open(key).read()
        store.download(key, "/dev/null" if False else "/dev/shm/headstart-profile", progress=lambda *_: None)
        sys.setprofile(None)
        os.remove("/dev/shm/headstart-profile")
        tasks = [open(f"/proc/self/task/{{n}}/comm").read().strip() for n in os.listdir("/proc/self/task")]
        assert any(name.startswith("headstart-io") for name in tasks), tasks
        print(sorted(name for name in names if name.startswith("headstart")))
    """
    assert run_script(script).stdout.strip() == "[]"
