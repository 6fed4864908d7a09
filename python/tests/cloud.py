"""The simulated cloud of the Rust tests, as a server process, and what its objects contain."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.request
from typing import Any

import numpy as np

XTASK = os.environ.get("TEST_XTASK", "")
BUCKET = "bench"
FIRST_GENERATION = 1_700_000_000_000_000
GOLDEN = 0x9E37_79B9_7F4A_7C15
MASK = (1 << 64) - 1
KIB = 1 << 10
MIB = 1 << 20


def _mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58_476D_1CE4_E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D0_49BB_1331_11EB) & MASK
    return x ^ (x >> 31)


def content(key: str, start: int, end: int, version: int = FIRST_GENERATION) -> bytes:
    """The bytes of an object of the simulated cloud: every byte follows from its key, version and offset."""
    seed = _mix(version ^ GOLDEN)
    raw = key.encode()
    for at in range(0, len(raw), 8):
        seed = (_mix(seed ^ int.from_bytes(raw[at : at + 8].ljust(8, b"\0"), "little")) + GOLDEN) & MASK
    seed = _mix(seed ^ len(raw))
    first = start // 8
    count = (end + 7) // 8 - first
    with np.errstate(over="ignore"):
        states = np.uint64(seed) + np.arange(first, first + count, dtype=np.uint64) * np.uint64(GOLDEN)
    words = states ^ (states >> np.uint64(32))
    return words.astype("<u8").tobytes()[start - first * 8 : end - first * 8]


def synthetic(size: int, name: str = "a") -> str:
    """The key of an object that exists because of its name."""
    return f"synthetic/{size}/{name}"


class Sim:
    """A server process: ``url`` and ``options`` open its bucket."""

    def __init__(self, dialect: str = "gcs", profile: str = "loopback", workload: str | None = None) -> None:
        command = [XTASK, "serve", "--profile", profile, "--seed", "1", "--dialect", dialect]
        if workload is not None:
            command += ["--workload", workload]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.endpoint = self._process.stdout.readline().strip()
        assert re.match(r"http://127\.0\.0\.1:\d+", self.endpoint), self.endpoint
        if dialect == "gcs":
            self.url = f"gs://{BUCKET}"
            self.options: dict[str, Any] = {"gcs_endpoint": self.endpoint, "gcs_anonymous": True}
        else:
            self.url = f"s3://{BUCKET}"
            self.options = {"s3_endpoint": self.endpoint, "s3_anonymous": True, "s3_region": "us-east-1"}

    def _ask(self, path: str, method: str = "GET") -> bytes:
        request = urllib.request.Request(f"{self.endpoint}/_sim/{path}", method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            return answer.read()

    def counts(self) -> dict[str, int]:
        return json.loads(self._ask("log"))

    def reset(self) -> None:
        self._ask("reset", "POST")

    def overwrite(self, key: str) -> None:
        self._ask(f"overwrite?key={key}", "POST")

    def wait_idle(self, seconds: float = 2.0) -> dict[str, int]:
        """Counts, once no GET is in progress."""
        deadline = time.monotonic() + seconds
        while (counts := self.counts())["live"] > 0:
            assert time.monotonic() < deadline, counts
            time.sleep(0.01)
        return counts

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
