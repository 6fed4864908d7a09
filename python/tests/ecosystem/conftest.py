"""Fixtures of the tests beside other libraries: the servers run for the whole session."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from . import servers as server

# Processes that are spawned import the tests by the same names.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# gcsfs would ask Google which kind of bucket each is, for minutes.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"


class Servers(dict[str, server.Server]):
    """Servers by kind, each started when it is first asked for."""

    def __missing__(self, kind: str) -> server.Server:
        self[kind] = server.start(kind)
        return self[kind]


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    running = Servers()
    yield running
    for one in running.values():
        one.stop()


@pytest.fixture(params=["gs", "s3"])
def cloud(request: Any, servers: Servers) -> server.Server:
    """Each of the servers, one after the other."""
    return servers[request.param]


@pytest.fixture(autouse=True)
def no_noise() -> Iterator[None]:
    with warnings.catch_warnings():
        # moto and boto warn of their own ways; warnings of ours are checked where they belong.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="(boto|moto|botocore|gcsfs).*")
        yield
