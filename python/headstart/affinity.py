"""Which worker of a cluster reads which file, so that files are read where they are cached.

Rendezvous hashing with bounded load, as the crate ``headstart-affinity`` computes it in Rust: results depend on the
names and keys only, and are the same in every process and language.

>>> from headstart import affinity
>>> keys = [affinity.key(f"table/part-{n}.parquet", store="s3://bucket") for n in range(4)]
>>> affinity.assign(["worker-a", "worker-b"], [(key, 1) for key in keys])
['worker-b', 'worker-a', 'worker-b', 'worker-b']
"""

from collections.abc import Iterable

from ._headstart import AFFINITY_BALANCE, affinity_assign, affinity_key, affinity_ranking

__all__ = ["BALANCE", "assign", "key", "owner", "ranking"]

BALANCE: float = AFFINITY_BALANCE
"""How much more than the mean a worker may have."""


def key(path: str, *, store: str = "", version: str = "", start: int = 0) -> int:
    """The key of a file, or of its block at ``start`` where a large file is divided among workers.

    A new version may have another owner: its bytes are in no cache. Leave ``version`` empty where it is not known.
    """
    return affinity_key(store, path, version, start)


def ranking(workers: Iterable[str], key: int) -> list[str]:
    """All workers, from the owner of ``key`` to the last that would take it."""
    return affinity_ranking(list(workers), key)


def owner(workers: Iterable[str], key: int) -> str:
    """The worker that owns ``key``, whatever its load.

    Raises ``ValueError`` without workers.
    """
    ranked = ranking(workers, key)
    if not ranked:
        msg = "there is no worker to own the key"
        raise ValueError(msg)
    return ranked[0]


def assign(workers: Iterable[str], tasks: Iterable[tuple[int, int]], balance: float = BALANCE) -> list[str]:
    """The worker of each task, a key and its bytes: the first of the key's ranking that has room.

    No worker gets more than ``balance`` times the mean, but for the last of its tasks. Raises ``ValueError`` without
    workers, and for a balance below 1.
    """
    return affinity_assign(list(workers), list(tasks), balance)
