"""One run of the bench with a reader for Python: replays a trace in this process, checks every byte, prints one line of JSON.

    python read.py --trace FILE --endpoint http://127.0.0.1:PORT --bucket BUCKET --system gcsfs-adaptive [--limit-ms N]
    python read.py --versions

It prints `ready` when all is loaded and nothing has been sent, and begins when it gets a line on stdin.

The systems, as of gcsfs 2026.10.1:

- `gcsfs-adaptive`: what gcsfs does without being told. `GCSFile` takes the cache type "adaptive" where none is given:
  fsspec's `AdaptiveReadaheadCache`, with `concurrency` 4 and `max_prefetch_size` 256 MiB from gcsfs. It fetches ahead from
  the third sequential read on.
- `gcsfs-readahead`: `cache_type="readahead"`: each miss fetches what was asked for and 5 MiB more, before it returns.
- `gcsfs-none`: `cache_type="none"`: each read fetches what was asked for.

In all of them a fetch of 10 MiB or more is split into up to 4 requests, none below 5 MiB.

- `gcsfs-blockcache`: `cache_type="blockcache"`: blocks of 5 MiB, of which the 32 read last are kept.
- `s3fs`: what s3fs does without being told: `cache_type="readahead"` with 50 MiB more for each miss.
- `obstore`: `open_reader`, which buffers 1 MiB, and `get_range` for calls without a handle.
- `headstart-py`: `headstart.open`, and `Store.cat` for calls without a handle.
- `headstart-py-fsspec`: the same by `headstart.fsspec`.
- `headstart-py-cache`: files of gcsfs with `cache_type="headstart"`.

Two read whole objects in order, each by one call for all of them:

- `headstart-py-objects`: `Store.objects`.
- `obstore-pool`: `get` of obstore by `ThreadPoolExecutor(16).map`.
"""

import argparse
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

# gcsfs asks over gRPC what kind of bucket it has, to read zonal ones by another protocol. The simulated server speaks no
# gRPC: each open and each fetch would ask anew, and wait up to a minute for an answer. gcsfs's own switch leaves the class
# that reads ordinary buckets, which are meant here; where the kind is known, both make the same requests.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
# Settings that would override the measured defaults, or the endpoint.
for name in ("DEFAULT_GCSFS_CONCURRENCY", "STORAGE_EMULATOR_HOST"):
    os.environ.pop(name, None)

import fsspec.config
import gcsfs
import s3fs

import calls
from objects import Objects

# The options with which gcsfs opens a file.
GCSFS = {
    "gcsfs-adaptive": {},
    "gcsfs-readahead": {"cache_type": "readahead"},
    "gcsfs-none": {"cache_type": "none"},
    "gcsfs-blockcache": {"cache_type": "blockcache"},
    "headstart-py-cache": {"cache_type": "headstart"},
}

# Those that read all objects of a run by one call.
OF_OBJECTS = ["headstart-py-objects", "obstore-pool"]

SYSTEMS = [*GCSFS, "s3fs", "headstart-py", "headstart-py-fsspec", "obstore", *OF_OBJECTS]

# The threads of `obstore-pool`.
POOL = 16


def versions():
    names = ("gcsfs", "s3fs", "fsspec", "obstore")
    return {**{name: metadata.version(name) for name in names}, "python": sys.version.split()[0]}


class FsspecReader:
    """Opens files, and reads ranges of objects, by a file system of fsspec."""

    def __init__(self, fs, bucket, options):
        self._fs, self._bucket, self._options = fs, bucket, options

    def open(self, key):
        return self._fs.open(f"{self._bucket}/{key}", "rb", **self._options)

    def cat(self, key, start, end):
        return self._fs.cat_file(f"{self._bucket}/{key}", start=start, end=end)


class HeadstartReader:
    """The same by `headstart.Store`."""

    def __init__(self, endpoint, bucket):
        import headstart

        self._store = headstart.Store(f"gs://{bucket}", **{"gcs.endpoint": endpoint, "gcs.anonymous": "on"})

    def open(self, key):
        return self._store.open(key)

    def cat(self, key, start, end):
        return self._store.cat(key, start, end)

    def objects(self, keys):
        return (content for _, content in self._store.objects(keys))


class ObstoreReader:
    """The same by obstore."""

    def __init__(self, endpoint, bucket):
        import obstore
        from obstore.store import GCSStore

        # Its client takes the endpoint of an emulator from a key only.
        key = {"gcs_base_url": endpoint, "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
        self._obstore = obstore
        self._store = GCSStore(bucket, service_account_key=json.dumps(key), client_options={"allow_http": True})

    def open(self, key):
        return self._obstore.open_reader(self._store, key)

    def cat(self, key, start, end):
        return self._obstore.get_range(self._store, key, start=start, end=end)

    def objects(self, keys):
        with ThreadPoolExecutor(POOL) as pool:
            yield from pool.map(lambda key: self._obstore.get(self._store, key).bytes(), keys)


def reader_of(system, endpoint, bucket):
    """How `system` reads."""
    if system in ("headstart-py", "headstart-py-objects"):
        return HeadstartReader(endpoint, bucket)
    if system in ("obstore", "obstore-pool"):
        return ObstoreReader(endpoint, bucket)
    if system == "s3fs":
        return FsspecReader(s3fs.S3FileSystem(anon=True, endpoint_url=endpoint), bucket, {})
    if system == "headstart-py-fsspec":
        from headstart.fsspec import GoogleFileSystem

        return FsspecReader(GoogleFileSystem(token="anon", endpoint_url=endpoint), bucket, {})
    if system == "headstart-py-cache":
        import headstart.fsspec  # makes the cache known
    # gcsfs sends with aiohttp, which uses no proxy by default.
    return FsspecReader(gcsfs.GCSFileSystem(token="anon", endpoint_url=endpoint), bucket, GCSFS[system])


class Handle:
    """An open file, opened at its first read. Reads through it take turns, as a file has one position."""

    def __init__(self, open_file, changed):
        self._open, self._changed = open_file, changed
        self._file, self._lock = None, threading.Lock()
        self.seen, self.is_mixed, self.was_told = set(), False, False

    def read(self, ranges):
        with self._lock:
            try:
                return self._read(ranges)
            except Exception as error:
                if not self._changed(error):
                    raise
            self.was_told = True
            self.seen.clear()
            self._close()
            return self._read(ranges)

    def close(self):
        with self._lock:
            self._close()

    def _read(self, ranges):
        if self._file is None:
            self._file = self._open()
        pieces = []
        for start, end in ranges:
            self._file.seek(start)
            pieces.append(self._file.read(end - start))
        return pieces

    def _close(self):
        file, self._file = self._file, None
        if file is not None:
            file.close()


class Run:
    """The threads of a run, one a chain, and what they measure."""

    def __init__(self, chains, reader, endpoint, limit_s, by_one_call=False):
        self._reader, self._limit_s = reader, limit_s
        self._follow = self._objects_of if by_one_call else self._calls_of
        self._objects = Objects(endpoint)
        self._handles = {}
        for call in (call for chain in chains for call in chain.calls):
            if call.kind == "read" and call.handle is not None and call.handle not in self._handles:
                self._handles[call.handle] = self._handle(call.key)
        self._ended = {chain.after: threading.Event() for chain in chains if chain.after is not None}
        self._begin, self._lock = threading.Event(), threading.Lock()
        self._error, self._first_byte = None, None
        self._latencies, self._delivered, self._wrong, self._check_s = [], 0, 0, 0.0
        self._threads = [threading.Thread(target=self._thread, args=(chain,), daemon=True) for chain in chains]
        for thread in self._threads:
            thread.start()

    def measure(self):
        base = memory("VmRSS")
        forget_peak()
        cpu, started_us, self._started = time.process_time(), time.time_ns() // 1000, time.perf_counter()
        self._begin.set()
        for thread in self._threads:
            thread.join()
        elapsed, ended_us = time.perf_counter() - self._started, time.time_ns() // 1000
        cpu, peak = time.process_time() - cpu, memory("VmHWM")
        if self._error:
            raise self._error
        for handle in self._handles.values():
            handle.close()
        return {
            "started_us": started_us,
            "ended_us": ended_us,
            "elapsed_ms": round(elapsed * 1e3, 3),
            "first_byte_ms": None if self._first_byte is None else round(self._first_byte * 1e3, 3),
            "latencies_us": [round(took * 1e6) for took in self._latencies],
            "stalled_ms": round(sum(self._latencies) * 1e3, 3),
            "delivered_bytes": self._delivered,
            "wrong_bytes": self._wrong,
            "base_memory_bytes": base,
            "peak_memory_bytes": peak,
            # The check of every byte costs more in Python than some of the readers.
            "cpu_s": round(cpu - self._check_s, 6),
            "changes_told": sum(handle.was_told for handle in self._handles.values()),
            "changes_mixed": sum(handle.is_mixed for handle in self._handles.values()),
        }

    def _handle(self, key):
        def open_file():
            return self._reader.open(key)

        def changed(error):
            # A failed precondition or a missing generation. Other errors do not report a change.
            tells = isinstance(error, (FileExistsError, FileNotFoundError)) or getattr(error, "code", None) in (404, 412)
            tells = tells or type(error).__name__ == "ObjectChanged"
            return tells and self._objects.was_overwritten(key)

        return Handle(open_file, changed)

    def _thread(self, chain):
        self._begin.wait()
        try:
            self._follow(chain)
        except Exception as error:
            self._error = self._error or error
        finally:
            # Chains that wait for a call that was never made must not wait for ever.
            for call in chain.calls:
                self._end(call)

    def _objects_of(self, chain):
        """Reads the objects of all calls by one call of the reader."""
        began = time.perf_counter()
        for call, content in zip(chain.calls, self._reader.objects([call.key for call in chain.calls])):
            self._take(call, began, [content])
            if self._left_s() == 0:
                return
            began = time.perf_counter()

    def _calls_of(self, chain):
        if chain.after is not None:
            self._ended[chain.after].wait(self._left_s())
        for call in chain.calls:
            if call.wait_s:
                left_s = self._left_s()
                time.sleep(call.wait_s if left_s is None else min(call.wait_s, left_s))
            if self._error or self._left_s() == 0:
                return
            if call.kind == "overwrite":
                self._objects.overwrite(call.key)
            else:
                self._read(call)
            self._end(call)

    def _end(self, call):
        if call.n in self._ended:
            self._ended[call.n].set()

    def _left_s(self):
        if self._limit_s is None:
            return None
        return max(0.0, self._limit_s - (time.perf_counter() - self._started))

    def _read(self, call):
        handle = self._handles.get(call.handle)
        began = time.perf_counter()
        if handle is None:
            # A call without a handle is one call of the file system, which keeps no open file.
            pieces = [self._reader.cat(call.key, start, end) for start, end in call.ranges]
        else:
            pieces = handle.read(call.ranges)
        self._take(call, began, pieces, handle)
        if handle is not None and call.close:
            handle.close()

    def _take(self, call, began, pieces, handle=None):
        """Times and checks what was read since `began`."""
        ended = time.perf_counter()
        with self._lock:
            self._latencies.append(ended - began)
            if self._first_byte is None:
                self._first_byte = ended - self._started
        for (start, end), piece in zip(call.ranges, pieces):
            if len(piece) != end - start:
                raise RuntimeError(f"call {call.n}: the read of {start}..{end} of {call.key} gave {len(piece)} bytes")
            before = time.thread_time()
            generation, wrong, is_mixture = self._objects.judge(call.key, start, piece)
            check_s = time.thread_time() - before
            with self._lock:
                self._check_s += check_s
                self._delivered += len(piece)
                self._wrong += wrong
                if handle is not None:
                    handle.seen.update([] if generation is None else [generation])
                    handle.is_mixed |= is_mixture or len(handle.seen) > 1


def memory(field):
    """A field of this process's status in bytes; `None` where the kernel has no such file."""
    try:
        with open("/proc/self/status", encoding="utf-8") as status:
            line = next((line for line in status if line.startswith(f"{field}:")), None)
    except OSError:
        return None
    return None if line is None else int(line.split()[1]) * 1024


def forget_peak():
    """Resets the peak memory, if the kernel allows it."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="utf-8") as clear:
            clear.write("5")
    except OSError:
        pass


def arguments():
    parser = argparse.ArgumentParser(description="One run of the bench with a reader for Python.")
    parser.add_argument("--versions", action="store_true", help="print the versions of what is measured, and end")
    parser.add_argument("--trace", help="the trace to replay")
    parser.add_argument("--endpoint", help="where the server listens, without a slash at the end")
    parser.add_argument("--bucket")
    parser.add_argument("--system", choices=SYSTEMS)
    parser.add_argument("--limit-ms", type=float, help="no read begins later than this")
    parser.add_argument("--processes", type=int, default=1, help="among how many processes the chains are divided")
    parser.add_argument("--process", type=int, default=0, help="which of them this one is, from 0")
    given = parser.parse_args()
    if not given.versions and not (given.trace and given.endpoint and given.bucket and given.system):
        parser.error("--trace, --endpoint, --bucket and --system are needed")
    return given


def main():
    given = arguments()
    if given.versions:
        print(json.dumps(versions()))
        return 0
    # The user's files and the environment must not change defaults.
    fsspec.config.conf.clear()
    try:
        chains = calls.share(calls.chains(calls.read(given.trace)), given.processes, given.process)
        reader = reader_of(given.system, given.endpoint, given.bucket)
        limit_s = None if given.limit_ms is None else given.limit_ms / 1e3
        run = Run(chains, reader, given.endpoint, limit_s, given.system in OF_OBJECTS)
        print("ready", flush=True)
        if not sys.stdin.readline():
            return 0
        print(json.dumps(run.measure()), flush=True)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
