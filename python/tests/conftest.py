"""What the tests share: servers, local files, and scripts that run in a process of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cloud import XTASK, Sim, content

import headstart

TESTS = Path(__file__).parent


@pytest.fixture(scope="session", params=["gcs", "s3"])
def sim(request: pytest.FixtureRequest) -> Iterator[Sim]:
    """The simulated cloud without delays, in both dialects."""
    if not XTASK:
        pytest.skip("TEST_XTASK is not set: run cargo xtask python")
    server = Sim(request.param)
    yield server
    server.close()


@pytest.fixture(scope="session")
def slow_sim() -> Iterator[Sim]:
    """The simulated cloud with the delays of Google Cloud Storage."""
    if not XTASK:
        pytest.skip("TEST_XTASK is not set: run cargo xtask python")
    server = Sim("gcs", "gcs")
    yield server
    server.close()


class OddServer:
    def __init__(self) -> None:
        command = [sys.executable, str(TESTS / "odd_server.py")]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def in_progress(self) -> int:
        """How many requests of clients are in progress."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.url}/open", timeout=10) as answer:
            return int(answer.read())


@pytest.fixture(scope="session")
def odd() -> Iterator[OddServer]:
    """A web server whose answers are silent, slow or refusing."""
    server = OddServer()
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A folder with one file, ``data``, of 3,000,017 bytes: those of the key ``data``."""
    (tmp_path / "data").write_bytes(content("data", 0, 3_000_017))
    return tmp_path


@pytest.fixture
def store(local: Path) -> headstart.Store:
    """The store of that folder."""
    return headstart.Store(f"file://{local}")


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_script() -> Run:
    """Runs a script in a process of its own and returns what it printed; fails if it fails or hangs."""

    def run(script: str, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        source = f"import sys; sys.path.insert(0, {str(TESTS)!r})\n" + textwrap.dedent(script)
        done = subprocess.run(
            [sys.executable, "-P", "-c", source, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run
