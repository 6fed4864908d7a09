"""Datasets over objects, and checkpoints, for PyTorch.

The datasets work without torch, under plain ``multiprocessing``. Workers may be forked or spawned.
"""

from __future__ import annotations

import json
import random
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, cast

import headstart

if TYPE_CHECKING:
    _Dataset: Any = object
    _IterableDataset: Any = object
else:
    try:
        from torch.utils.data import Dataset as _Dataset
        from torch.utils.data import IterableDataset as _IterableDataset
    except ImportError:  # without torch they are plain classes
        _Dataset = _IterableDataset = object


class ObjectDataset(_Dataset):
    """Objects by their place in a list: ``dataset[3]`` is the fourth object's bytes, or ``transform`` of them.

    Where a loader asks for a batch, all its objects are fetched at once. ``options`` are Headstart's.
    """

    def __init__(
        self, url: str, paths: Sequence[str], *, transform: Callable[[bytes], Any] | None = None, **options: Any
    ) -> None:
        self.url, self.paths, self.transform, self.options = url, paths, transform, options
        self._store = headstart.Store(url, **options)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return self._made(self._store.cat(self.paths[index]))

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return several items; PyTorch's loader calls it with a batch."""
        paths = [self.paths[index] for index in indices]
        nothing = [None] * len(paths)
        items = []
        for data in self._store.cat_ranges(paths, nothing, nothing):
            if isinstance(data, BaseException):
                raise data
            items.append(self._made(data))
        return items

    def _made(self, data: bytes) -> Any:
        return data if self.transform is None else self.transform(data)


class IterableObjectDataset(_IterableDataset):
    """Objects one after the other, fetched ahead of the consumer in bounded memory: pairs of path and bytes.

    Each worker of a ``DataLoader`` reads its own share of ``paths``, with its share of the memory; each rank of a
    distributed job a share of them (``rank``, ``world_size``). With a ``seed`` each epoch has another order, the same
    in all workers and ranks: call ``set_epoch``. ``transform`` gets the path and the bytes, and returns the item.
    """

    def __init__(
        self,
        url: str,
        paths: Sequence[str],
        *,
        transform: Callable[[str, bytes], Any] | None = None,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        **options: Any,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not below world_size {world_size}")
        self.url, self.paths, self.transform, self.options = url, paths, transform, options
        self.seed, self.rank, self.world_size, self.epoch = seed, rank, world_size, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        return self.share(*_worker())

    def share(self, worker: int, workers: int) -> Iterator[Any]:
        """Iterate over the share of one of several workers; loaders other than PyTorch's call it."""
        paths = self.share_of_paths(worker, workers)
        # `workers` divides the memory of the process.
        store = headstart.Store(self.url, **{"workers": workers, **self.options})
        for path, data in store.objects(paths):
            yield (path, bytes(data)) if self.transform is None else self.transform(path, bytes(data))

    def share_of_paths(self, worker: int, workers: int) -> list[str]:
        """Return the paths of one worker, in the order of this epoch."""
        order = list(range(len(self.paths)))
        if self.seed is not None:
            random.Random(f"{self.seed}-{self.epoch}").shuffle(order)
        return [self.paths[place] for place in order[self.rank + self.world_size * worker :: self.world_size * workers]]


def _worker() -> tuple[int, int]:
    """Return the number of this worker of a loader, and how many there are."""
    data = sys.modules.get("torch.utils.data")
    info = data.get_worker_info() if data is not None else None
    return (info.id, info.num_workers) if info is not None else (0, 1)


def load_checkpoint(url: str, *, map_location: Any = None, weights_only: bool = True, **options: Any) -> Any:
    """Load a checkpoint: what ``torch.save`` wrote, or a file of safetensors.

    The file is fetched in parallel while it is read, within Headstart's memory (``memory_bytes``), and never held as a
    whole beside the tensors. ``options`` are Headstart's; the others are ``torch.load``'s.
    """
    import torch

    with headstart.open(url, **options) as file:
        file.advise("sequential")
        if url.endswith(".safetensors"):
            return read_safetensors(file, lambda *tensor: _tensor(torch, map_location, *tensor))
        return torch.load(cast(IO[bytes], file), map_location=map_location, weights_only=weights_only)


def read_safetensors(
    file: Any, make: Callable[[str, Sequence[int], int, Callable[[Any], None]], Any]
) -> dict[str, Any]:
    """Read the tensors of a file in the order of their bytes.

    ``make(dtype, shape, size, fill)`` allocates a tensor of ``size`` bytes and has ``fill(buffer)`` read them into it.
    """
    header_bytes = struct.unpack("<Q", _exactly(file, 8))[0]
    header = json.loads(_exactly(file, header_bytes))
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, end = entry["data_offsets"]
        file.seek(8 + header_bytes + start)

        def fill(buffer: Any, name: str = name) -> None:
            view = memoryview(buffer).cast("B")
            if (got := file.readinto(view) if len(view) else 0) != len(view):
                raise EOFError(f"the file ends within {name!r}: {got} of {len(view)} bytes")

        tensors[name] = make(entry["dtype"], entry["shape"], end - start, fill)
    return {name: tensors[name] for name in header}


DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "BOOL": "bool",
}
"""safetensors' names of types, and torch's and numpy's."""


def _tensor(
    torch: Any, map_location: Any, dtype: str, shape: Sequence[int], size: int, fill: Callable[[Any], None]
) -> Any:
    data = torch.empty(size, dtype=torch.uint8)
    fill(data.numpy())
    tensor = data.view(getattr(torch, DTYPES[dtype])).reshape(shape)
    return tensor if map_location is None else tensor.to(map_location)


def _exactly(file: Any, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise EOFError(f"no file of safetensors: it ends after {len(data)} of {size} bytes")
    return data
