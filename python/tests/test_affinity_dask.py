"""The recipe for Dask in docs/engines.md: tasks go to the workers that have the files in their caches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import distributed
import pytest
from cloud import MIB, Sim, content, synthetic
from dask_tasks import read

from headstart import affinity

FILES = [synthetic(MIB // 4 + n, f"part-{n}") for n in range(40)]


def workers_of(client: distributed.Client) -> dict[str, str]:
    """The addresses of the workers by name: a worker keeps its name when it is started again."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return {str(worker["name"]): address for address, worker in workers.items()}


def placed(names: Iterable[str], sim: Sim) -> dict[str, str]:
    """The worker of each file."""
    tasks = [(affinity.key(path, store=sim.url), int(path.split("/")[1])) for path in FILES]
    return dict(zip(FILES, affinity.assign(names, tasks), strict=True))


def read_all(client: distributed.Client, sim: Sim) -> int:
    """Reads all files where they belong, checks every byte, and returns how many bytes the store has sent."""
    workers = workers_of(client)
    owners = placed(workers, sim)
    options = tuple(sim.options.items())
    sent = sim.wait_idle()["bytes_sent"]
    futures = {
        path: client.submit(read, sim.url, options, path, workers=[workers[owners[path]]], pure=False) for path in FILES
    }
    for path, future in futures.items():
        data, name = future.result(timeout=60)
        assert data == content(path, 0, int(path.split("/")[1]))
        assert name == owners[path]
    return sim.wait_idle()["bytes_sent"] - sent


@pytest.fixture
def cluster() -> Iterator[distributed.LocalCluster]:
    with distributed.LocalCluster(n_workers=4, threads_per_worker=2, processes=True, dashboard_address=None) as found:
        yield found


def test_files_are_read_where_they_are_cached(sim: Sim, cluster: distributed.LocalCluster) -> None:
    total = sum(int(path.split("/")[1]) for path in FILES)
    with distributed.Client(cluster) as client:
        client.wait_for_workers(4)
        before = placed(workers_of(client), sim)
        assert read_all(client, sim) == total
        assert read_all(client, sim) == 0

        gone = min(before.values())
        client.retire_workers([workers_of(client)[gone]])
        left = [name for name in workers_of(client) if name != gone]
        after = placed(left, sim)
        moved = [path for path in FILES if before[path] != after[path]]
        assert {path for path in FILES if before[path] == gone} <= set(moved)
        assert len(moved) <= len(FILES) // 4 + 5
        assert read_all(client, sim) == sum(int(path.split("/")[1]) for path in moved)
        assert read_all(client, sim) == 0
