"""Datasets under plain multiprocessing, and checkpoints; with torch itself where it is installed."""

from __future__ import annotations

import io
import json
import multiprocessing
import pickle
import struct
import uuid

import numpy
import pytest

import headstart
from headstart.torch import DTYPES, IterableObjectDataset, ObjectDataset, load_checkpoint, read_safetensors

from .data import content
from .servers import BUCKET

COUNT = 30


@pytest.fixture
def objects(cloud):
    folder = str(uuid.uuid4())
    paths = [f"{folder}/{n:02}" for n in range(COUNT)]
    for n, path in enumerate(paths):
        cloud.write(path, content(path, 1000 + n))
    return f"{cloud.kind}://{BUCKET}", paths, cloud.options


def test_map_style(objects):
    url, paths, options = objects
    dataset = ObjectDataset(url, paths, **options)
    assert len(dataset) == COUNT
    assert dataset[7] == content(paths[7], 1007)
    assert dataset.__getitems__([3, 1, 3]) == [content(paths[n], 1000 + n) for n in (3, 1, 3)]
    assert ObjectDataset(url, paths, transform=len, **options).__getitems__([0, 5]) == [1000, 1005]
    with pytest.raises(FileNotFoundError):
        ObjectDataset(url, ["none"], **options).__getitems__([0])
    copy = pickle.loads(pickle.dumps(dataset))
    assert (copy.options, copy[2]) == (dataset.options, dataset[2])


def test_iterable(objects):
    url, paths, options = objects
    found = list(IterableObjectDataset(url, paths, **options))
    assert found == [(path, content(path, 1000 + n)) for n, path in enumerate(paths)]
    lengths = list(IterableObjectDataset(url, paths, transform=lambda path, data: len(data), **options))
    assert lengths == [1000 + n for n in range(COUNT)]


def test_shares_of_workers_and_ranks_are_everything_once(objects):
    url, paths, options = objects
    seen = []
    for rank in range(3):
        dataset = IterableObjectDataset(url, paths, seed=7, rank=rank, world_size=3, **options)
        dataset.set_epoch(2)
        for worker in range(4):
            seen += [path for path, _ in dataset.share(worker, 4)]
    assert sorted(seen) == paths


def test_epochs_have_their_orders(objects):
    url, paths, options = objects
    dataset = IterableObjectDataset(url, paths, seed=1, **options)
    first = dataset.share_of_paths(0, 1)
    assert first != paths
    assert dataset.share_of_paths(0, 1) == first
    dataset.set_epoch(1)
    assert sorted(dataset.share_of_paths(0, 1)) == paths
    assert dataset.share_of_paths(0, 1) != first
    with pytest.raises(ValueError, match="below world_size"):
        IterableObjectDataset(url, paths, rank=2, world_size=2)


def read_share(results, dataset, worker, workers):
    results.put([(path, bytes(data)) for path, data in dataset.share(worker, workers)])


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers(objects, method):
    url, paths, options = objects
    dataset = IterableObjectDataset(url, paths, **options)
    assert len(list(dataset)) == COUNT  # read in the parent before
    context = multiprocessing.get_context(method)
    results = context.Queue()
    children = [context.Process(target=read_share, args=(results, dataset, worker, 4)) for worker in range(4)]
    for child in children:
        child.start()
    found = [item for _ in children for item in results.get(timeout=60)]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert sorted(found) == [(path, content(path, 1000 + n)) for n, path in enumerate(paths)]


# Checkpoints


def safetensors(tensors: dict[str, numpy.ndarray]) -> bytes:
    header, body = {"__metadata__": {"format": "pt"}}, b""
    names = {numpy_name: name for name, numpy_name in DTYPES.items()}
    for name, value in tensors.items():
        data = value.tobytes()
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"dtype": names[str(value.dtype)], "shape": list(value.shape), "data_offsets": offsets}
        body += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


TENSORS = {
    "weight": numpy.arange(300_000, dtype="float32").reshape(300, 1000),
    "bias": numpy.arange(7, dtype="int64"),
    "empty": numpy.zeros((0, 4), dtype="float16"),
    "scalar": numpy.array(3.5),
}


def as_array(dtype, shape, size, fill):
    buffer = bytearray(size)
    fill(buffer)
    return numpy.frombuffer(buffer, dtype=DTYPES[dtype]).reshape(shape)


def test_safetensors_are_read_in_place(cloud):
    path = f"{uuid.uuid4()}/model.safetensors"
    cloud.write(path, safetensors(TENSORS))
    with headstart.open(f"{cloud.kind}://{BUCKET}/{path}", **cloud.options) as file:
        found = read_safetensors(file, as_array)
    assert list(found) == list(TENSORS)
    for name, value in TENSORS.items():
        numpy.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype


@pytest.mark.parametrize("cut", [4, 20, -10])
def test_safetensors_that_are_cut_off(cut):
    with pytest.raises(EOFError):
        read_safetensors(io.BytesIO(safetensors({"weight": TENSORS["weight"]})[:cut]), as_array)


def test_checkpoints_with_torch(cloud):
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(value) for name, value in TENSORS.items()}, buffer)
    folder = str(uuid.uuid4())
    cloud.write(f"{folder}/model.pt", buffer.getvalue())
    cloud.write(f"{folder}/model.safetensors", safetensors(TENSORS))
    for name in ("model.pt", "model.safetensors"):
        found = load_checkpoint(f"{cloud.kind}://{BUCKET}/{folder}/{name}", map_location="cpu", **cloud.options)
        for key, value in TENSORS.items():
            assert torch.equal(found[key], torch.from_numpy(value))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("workers", [0, 4])
def test_loaders_of_torch(objects, method, workers):
    data = pytest.importorskip("torch.utils.data")
    url, paths, options = objects
    context = method if workers else None
    expected = sorted((path, content(path, 1000 + n)) for n, path in enumerate(paths))
    loader = data.DataLoader(
        IterableObjectDataset(url, paths, **options),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=context,
    )
    for _ in range(2):
        assert sorted(tuple(item) for item in loader) == expected
    loader = data.DataLoader(
        ObjectDataset(url, paths, **options),
        batch_size=8,
        num_workers=workers,
        multiprocessing_context=context,
        collate_fn=list,
    )
    assert [item for batch in loader for item in batch] == [content(path, 1000 + n) for n, path in enumerate(paths)]
