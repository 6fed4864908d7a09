"""zarr's own suite for stores, and arrays through our store."""

from __future__ import annotations

import multiprocessing
import pickle
import uuid

import numpy
import pytest
import zarr
from zarr.core.buffer import Buffer, cpu
from zarr.testing.store import StoreTests

import headstart
from headstart.zarr import HeadstartStore

from .servers import BUCKET


class OurStoreTests(StoreTests[HeadstartStore, cpu.Buffer]):
    store_cls = HeadstartStore
    buffer_cls = cpu.Buffer

    # By another store than the tested one, as the suite wants it.

    def beside(self, store: HeadstartStore, key: str) -> tuple[headstart.Store, str]:
        root, prefix = headstart.zarr.split_url(store.url)
        return headstart.Store(root, **store.options), f"{prefix}/{key}"

    async def set(self, store: HeadstartStore, key: str, value: Buffer) -> None:
        other, path = self.beside(store, key)
        other.put(path, value.to_bytes())

    async def get(self, store: HeadstartStore, key: str) -> Buffer:
        other, path = self.beside(store, key)
        return self.buffer_cls.from_bytes(bytes(memoryview(other.get(path).buffer())))

    def test_store_repr(self, store: HeadstartStore) -> None:
        assert repr(store) == f"HeadstartStore('{store.url}')"

    def test_store_supports_writes(self, store: HeadstartStore) -> None:
        assert store.supports_writes

    def test_store_supports_listing(self, store: HeadstartStore) -> None:
        assert store.supports_listing


class TestLocal(OurStoreTests):
    @pytest.fixture
    def store_kwargs(self, tmp_path):
        return {"url": f"file://{tmp_path}"}


class TestS3(OurStoreTests):
    @pytest.fixture
    def store_kwargs(self, servers):
        return {"url": f"s3://{BUCKET}/zarr-{uuid.uuid4()}", **servers["s3"].options}


class TestGoogle(OurStoreTests):
    @pytest.fixture
    def store_kwargs(self, servers):
        return {"url": f"gs://{BUCKET}/zarr-{uuid.uuid4()}", **servers["gs"].options}


VALUES = numpy.arange(120 * 90, dtype="int32").reshape(120, 90)


@pytest.fixture
def array_url(cloud):
    url = f"{cloud.kind}://{BUCKET}/array-{uuid.uuid4()}.zarr"
    array = zarr.create_array(HeadstartStore(url, **cloud.options), shape=(120, 90), chunks=(40, 30), dtype="int32")
    array[:] = VALUES
    return url


def test_arrays_are_written_and_read(array_url, cloud):
    array = zarr.open(HeadstartStore(array_url, read_only=True, **cloud.options), mode="r")
    numpy.testing.assert_array_equal(array[:], VALUES)
    numpy.testing.assert_array_equal(array[35:77, 12:60], VALUES[35:77, 12:60])


def test_an_array_written_by_ours_is_read_by_zarrs_own_store(array_url, cloud):
    array = zarr.open(array_url, mode="r", storage_options=cloud.foreign_options)
    numpy.testing.assert_array_equal(array[:], VALUES)


def test_sharded_arrays_read_parts_of_objects(cloud):
    url = f"{cloud.kind}://{BUCKET}/shards-{uuid.uuid4()}.zarr"
    store = HeadstartStore(url, **cloud.options)
    array = zarr.create_array(store, shape=(120, 90), chunks=(20, 15), shards=(60, 45), dtype="int32")
    array[:] = VALUES
    numpy.testing.assert_array_equal(zarr.open(store, mode="r")[7:100, 20:80], VALUES[7:100, 20:80])


def read_in_child(array, results):
    results.put(numpy.array_equal(array[:], VALUES))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_array_opened_before_is_read_in_children(array_url, cloud, method):
    # zarr's own loop and threads do not survive a fork, so its child reads the store below it by the sync way.
    array = zarr.open(HeadstartStore(array_url, read_only=True, **cloud.options), mode="r")
    context = multiprocessing.get_context(method)
    results = context.Queue()
    target, arguments = (read_in_child, (array, results)) if method == "spawn" else (fork_child, (array, results))
    children = [context.Process(target=target, args=arguments) for _ in range(2)]
    for child in children:
        child.start()
    assert [results.get(timeout=60) for _ in children] == [True, True]
    for child in children:
        child.join(60)
        assert child.exitcode == 0


def fork_child(array, results):
    store = array.store
    results.put(store.get_sync("zarr.json") is not None and store.get_sync("c/0/0") is not None)


def test_a_pickled_store_keeps_its_options(cloud):
    store = HeadstartStore(f"{cloud.kind}://{BUCKET}/x", read_only=True, **cloud.options, mode="cached")
    copy = pickle.loads(pickle.dumps(store))
    assert copy == store
    assert copy.options == {**cloud.options, "mode": "cached"}
    assert copy.read_only


def test_a_url_is_needed():
    with pytest.raises(ValueError, match="is no URL"):
        HeadstartStore("/some/folder")
