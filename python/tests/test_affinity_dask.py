"""Workers of Dask read the files that ``headstart.affinity`` gives them, and the same ones again."""

from __future__ import annotations

import pytest

import headstart
from headstart import affinity

distributed = pytest.importorskip("distributed")

WORKERS = 4
FILES = 40
SIZE = 100_000


def content(n: int) -> bytes:
    period = bytes((n + at) % 251 for at in range(251))
    return (period * (SIZE // len(period) + 1))[:SIZE]


def read(url: str, path: str) -> tuple[str, bytes]:
    """Runs in a worker process: its name, and the file."""
    name = str(distributed.get_worker().name)
    return name, headstart.open(f"{url}/{path}").read()


def test_every_worker_gets_its_own_files_again(tmp_path) -> None:
    paths = [f"part-{n:02}" for n in range(FILES)]
    for n, path in enumerate(paths):
        (tmp_path / path).write_bytes(content(n))
    tasks = [(affinity.key(path, store="file://"), SIZE) for path in paths]
    with (
        distributed.LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(WORKERS)
        for _ in range(2):
            # As docs/cluster.md has it: the names are hashed, the addresses differ from start to start.
            workers = {str(info["id"]): address for address, info in client.scheduler_info()["workers"].items()}
            assert sorted(workers) == [str(n) for n in range(WORKERS)]
            assigned = affinity.assign(workers, tasks)
            reads = [
                client.submit(read, tmp_path.as_uri(), path, workers=[workers[name]], pure=False)
                for path, name in zip(paths, assigned, strict=True)
            ]
            readers, bodies = zip(*client.gather(reads), strict=True)
            # The names do not change, so the expected workers are known without a cluster, in both rounds.
            assert list(readers) == affinity.assign([str(n) for n in range(WORKERS)], tasks)
            assert list(bodies) == [content(n) for n in range(FILES)]
            assert set(readers) == set(workers)
            assert max(readers.count(name) for name in workers) <= -(-FILES * 115 // (100 * WORKERS))
