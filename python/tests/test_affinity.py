"""``headstart.affinity`` gives the results of the crate, and of the algorithm written down in Python."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from headstart import affinity

VECTORS = Path(__file__).parents[2] / "crates" / "affinity" / "vectors.tsv"
MASK = (1 << 64) - 1


def fnv1a(state: int, data: bytes) -> int:
    for byte in data:
        state = ((state ^ byte) * 0x100000001B3) & MASK
    return state


def mix(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def score(worker: str, key: int) -> int:
    return mix(mix(fnv1a(0xCBF29CE484222325, worker.encode())) ^ key)


def test_vectors_are_reproduced() -> None:
    lines = [line for line in VECTORS.read_text().splitlines() if not line.startswith("#")]
    assert len(lines) >= 40
    for line in lines:
        workers, store, path, version, start, key, ranking = line.split("\t")
        assert affinity.key(path, store=store, version=version, start=int(start)) == int(key, 16), line
        assert affinity.ranking(workers.split(","), int(key, 16)) == ranking.split(","), line
        assert affinity.owner(workers.split(","), int(key, 16)) == ranking.split(",")[0], line


@pytest.mark.parametrize("seed", range(20))
def test_rankings_are_those_of_the_algorithm(seed: int) -> None:
    rng = random.Random(seed)
    workers = [f"worker-{n}" for n in range(rng.randrange(1, 30))]
    rng.shuffle(workers)
    key = rng.getrandbits(64)
    expected = sorted(workers, key=lambda worker: score(worker, key), reverse=True)
    assert affinity.ranking(workers, key) == expected


@pytest.mark.parametrize("seed", range(20))
def test_loads_are_balanced(seed: int) -> None:
    rng = random.Random(seed)
    workers = [f"worker-{n}" for n in range(rng.randrange(1, 20))]
    tasks = [(affinity.key(f"part-{n}"), 5) for n in range(rng.randrange(1, 400))]
    assigned = affinity.assign(workers, tasks)
    most = -(-len(tasks) * 115 // (100 * len(workers)))
    assert max(assigned.count(worker) for worker in workers) <= most
    order = list(range(len(tasks)))
    rng.shuffle(order)
    shuffled = affinity.assign(workers, [tasks[n] for n in order])
    assert [assigned[n] for n in order] == shuffled
    remaining = [worker for worker in workers if worker != workers[0]]
    if remaining:
        owners = [affinity.owner(workers, key) for key, _ in tasks]
        after = [affinity.owner(remaining, key) for key, _ in tasks]
        assert all(was == now for was, now in zip(owners, after, strict=True) if was != workers[0])


def test_mistakes_are_refused() -> None:
    with pytest.raises(ValueError, match="no worker"):
        affinity.assign([], [(1, 1)])
    with pytest.raises(ValueError, match="no worker"):
        affinity.owner([], 1)
    for balance in (0.99, float("nan")):
        with pytest.raises(ValueError, match="must be at least 1"):
            affinity.assign(["a"], [(1, 1)], balance)
    with pytest.raises(OverflowError):
        affinity.key("a", start=-1)
