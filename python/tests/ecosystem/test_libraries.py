"""pandas, pyarrow, xarray, h5py, Dask and obspec-utils on real small files, through each way in."""

from __future__ import annotations

import io
import pickle
import uuid

import fsspec
import h5py
import numpy
import pandas
import pyarrow
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
import pytest
import xarray

import headstart
import headstart.arrow
import headstart.fsspec

from .data import content
from .servers import BUCKET

FRAME = pandas.DataFrame(
    {
        "number": numpy.arange(50_000),
        "square": numpy.arange(50_000, dtype="float64") ** 2,
        "text": [f"row {n % 97}" for n in range(50_000)],
    }
)
TABLE = pyarrow.Table.from_pandas(FRAME, preserve_index=False)


@pytest.fixture
def folder(cloud):
    return f"{BUCKET}/{uuid.uuid4()}"


@pytest.fixture
def fs(cloud):
    return headstart.fsspec.CLASSES[cloud.kind](**cloud.foreign_options)


@pytest.fixture
def registered():
    from fsspec.registry import _registry

    before = dict(_registry)
    headstart.fsspec.register("gs", "s3")
    yield
    _registry.clear()
    _registry.update(before)


@pytest.fixture
def parquet(cloud, folder):
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(TABLE, buffer, row_group_size=5_000)
    cloud.write(folder.partition("/")[2] + "/table.parquet", buffer.getvalue())
    return f"{folder}/table.parquet"


@pytest.fixture
def hdf5(cloud, folder):
    buffer = io.BytesIO()
    data = xarray.Dataset(
        {"temperature": (("time", "x"), numpy.arange(200 * 300, dtype="float32").reshape(200, 300))},
        coords={"time": numpy.arange(200), "x": numpy.linspace(0, 1, 300)},
    )
    encoding = {"temperature": {"chunksizes": (20, 100), "compression": "gzip"}}
    buffer.write(bytes(data.to_netcdf(engine="h5netcdf", encoding=encoding)))
    cloud.write(folder.partition("/")[2] + "/data.nc", buffer.getvalue())
    return f"{folder}/data.nc", data


def url_of(cloud, path):
    return f"{cloud.kind}://{path}"


# pandas


def test_pandas_by_registration(cloud, parquet, folder, registered):
    found = pandas.read_parquet(url_of(cloud, parquet), storage_options=cloud.foreign_options)
    pandas.testing.assert_frame_equal(found, FRAME)
    some = pandas.read_parquet(
        url_of(cloud, parquet),
        storage_options=cloud.foreign_options,
        columns=["square"],
        filters=[("number", ">=", 49_990)],
    )
    assert some["square"].tolist() == [float(n * n) for n in range(49_990, 50_000)]
    for name in ("table.csv", "table.csv.gz"):
        url = url_of(cloud, f"{folder}/{name}")
        FRAME.to_csv(url, index=False, storage_options=cloud.foreign_options)
        pandas.testing.assert_frame_equal(pandas.read_csv(url, storage_options=cloud.foreign_options), FRAME)
    FRAME.to_parquet(url_of(cloud, f"{folder}/written.parquet"), storage_options=cloud.foreign_options)
    written = pandas.read_parquet(url_of(cloud, f"{folder}/written.parquet"), storage_options=cloud.foreign_options)
    pandas.testing.assert_frame_equal(written, FRAME)


def test_pandas_from_a_file(cloud, parquet):
    with headstart.open(url_of(cloud, parquet), **cloud.options) as file:
        pandas.testing.assert_frame_equal(pandas.read_parquet(file), FRAME)


def test_pandas_by_a_chained_url(cloud, parquet):
    options = {cloud.kind: cloud.foreign_options}
    found = pandas.read_parquet(f"headstart::{url_of(cloud, parquet)}", storage_options=options)
    pandas.testing.assert_frame_equal(found, FRAME)


# pyarrow


def test_arrow_reads_and_writes(cloud, parquet, folder):
    fs = headstart.arrow.filesystem(url_of(cloud, folder), **cloud.foreign_options)
    assert pyarrow.parquet.read_table("table.parquet", filesystem=fs).equals(TABLE)
    pyarrow.parquet.write_table(TABLE, "again.parquet", filesystem=fs)
    assert pyarrow.parquet.read_table("again.parquet", filesystem=fs).equals(TABLE)
    with fs.open_input_stream("table.parquet") as stream, fs.open_input_file("table.parquet") as file:
        assert stream.read() == file.read()
    infos = fs.get_file_info(["table.parquet", "none"])
    assert [info.type for info in infos] == [pyarrow.fs.FileType.File, pyarrow.fs.FileType.NotFound]
    with pytest.raises(FileNotFoundError):
        fs.open_input_file("none")


def test_arrow_datasets(cloud, folder):
    fs = headstart.arrow.filesystem(f"{cloud.kind}://", **cloud.foreign_options)
    parts = TABLE.append_column("part", pyarrow.array(numpy.arange(50_000) % 3))
    pyarrow.dataset.write_dataset(
        parts, f"{folder}/set", filesystem=fs, format="parquet", partitioning=["part"], partitioning_flavor="hive"
    )
    for one in (fs, pickle.loads(pickle.dumps(fs))):
        found = pyarrow.dataset.dataset(f"{folder}/set", filesystem=one, partitioning="hive")
        assert found.count_rows() == 50_000
        chosen = found.to_table(filter=pyarrow.dataset.field("part") == 1, columns=["number"])
        assert sorted(chosen["number"].to_pylist()) == list(range(1, 50_000, 3))


def test_arrows_own_handler_and_its_urls(cloud, fs, parquet, folder, registered):
    arrow = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs))
    assert pyarrow.parquet.read_table(parquet, filesystem=arrow).equals(TABLE)
    pyarrow.parquet.write_table(TABLE, f"{folder}/handler.parquet", filesystem=arrow)
    assert pyarrow.parquet.read_table(f"{folder}/handler.parquet", filesystem=arrow).equals(TABLE)
    fsspec.config.conf[cloud.kind] = cloud.foreign_options
    try:
        found, path = pyarrow.fs.FileSystem.from_uri(f"fsspec+{url_of(cloud, parquet)}")
        assert pyarrow.parquet.read_table(path, filesystem=found).equals(TABLE)
    finally:
        del fsspec.config.conf[cloud.kind]
    with pytest.raises(ValueError, match="is no URL"):
        headstart.arrow.filesystem("/folder")


def test_processes_exit_after_a_read_by_arrow(tmp_path, run_script):
    """Arrow's threads let go of files and buffers after the read has returned, while the interpreter is finalised."""
    pyarrow.parquet.write_table(TABLE, tmp_path / "table.parquet", row_group_size=5_000)
    for _ in range(12):
        run_script(f"""
            import pyarrow.parquet, headstart
            assert len(pyarrow.parquet.read_table(headstart.open("file://{tmp_path}/table.parquet"))) == 50_000
        """)


def test_arrow_takes_buffers_without_a_copy(cloud, parquet):
    with headstart.open(url_of(cloud, parquet), **cloud.options) as file:
        assert pyarrow.parquet.read_table(pyarrow.PythonFile(file, mode="r")).equals(TABLE)


# HDF5


def test_xarray(cloud, hdf5, fs):
    path, data = hdf5
    opened = [headstart.open(url_of(cloud, path), **cloud.options), fs.open(path)]
    for file in opened:
        with xarray.open_dataset(file, engine="h5netcdf") as found:
            xarray.testing.assert_equal(found.load(), data)
    with headstart.open(url_of(cloud, path), **cloud.options) as file, xarray.open_dataset(file) as found:
        # The engine is found by the first bytes.
        assert float(found["temperature"][150, 7]) == 150 * 300 + 7
    opened[1].close()


def test_h5py(cloud, hdf5, fs):
    path, data = hdf5
    for file in (headstart.open(url_of(cloud, path), **cloud.options), fs.open(path)):
        with h5py.File(file, "r") as found:
            numpy.testing.assert_array_equal(found["temperature"][33:77, 10:20], data["temperature"][33:77, 10:20])


def test_hdf5_through_the_cache_of_another_file_system(cloud, hdf5):
    path, data = hdf5
    other = fsspec.filesystem(cloud.kind, **cloud.foreign_options)
    with other.open(path, cache_type="headstart") as file, xarray.open_dataset(file, engine="h5netcdf") as found:
        xarray.testing.assert_equal(found.load(), data)


def test_xarray_writes_and_reads_zarr(cloud, folder, hdf5):
    from headstart.zarr import HeadstartStore

    _, data = hdf5
    store = HeadstartStore(url_of(cloud, f"{folder}/data.zarr"), **cloud.options)
    data.drop_encoding().to_zarr(store, consolidated=False, zarr_format=3)
    with xarray.open_zarr(store, consolidated=False) as found:
        xarray.testing.assert_equal(found.load(), data)


# Dask


@pytest.fixture(scope="module")
def cluster():
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_dask_bytes_and_bags(cloud, folder, fs, cluster):
    import dask.bag

    for n in range(4):
        fs.pipe_file(f"{folder}/text-{n}", f"{n}\n".encode() * 1000)
    url = f"headstart+{url_of(cloud, folder)}/text-*"
    bag = dask.bag.read_text(url, storage_options=cloud.foreign_options)
    assert bag.map(int).sum().compute() == 6000


def test_dask_frames(cloud, parquet, cluster):
    frame = pytest.importorskip("dask.dataframe")
    found = frame.read_parquet(f"headstart+{url_of(cloud, parquet)}", storage_options=cloud.foreign_options)
    assert int(found["number"].sum().compute()) == int(FRAME["number"].sum())


def read_all(file):
    return bytes(file.read())


def test_dask_gets_files_stores_and_file_systems(cloud, parquet, fs, cluster):
    expected = fs.cat_file(parquet)
    with fs.open(parquet) as file, headstart.open(url_of(cloud, parquet), **cloud.options) as native:
        for one in (file, native):
            assert cluster.submit(read_all, one).result(timeout=60) == expected
            assert one.tell() == 0
    found = cluster.map(fs.cat_file, [parquet] * 4, [0, 10, 20, 30], [10, 20, 30, 40], pure=False)
    assert b"".join(cluster.gather(found)) == expected[:40]
    store = headstart.Store(f"{cloud.kind}://{BUCKET}", **cloud.options)
    key = parquet.partition("/")[2]
    assert cluster.submit(store.cat, key, 3, 9).result(timeout=60) == expected[3:9]


def test_dask_arrays_of_zarr(cloud, folder, cluster):
    import dask.array
    import zarr

    from headstart.zarr import HeadstartStore

    store = HeadstartStore(url_of(cloud, f"{folder}/array.zarr"), **cloud.options)
    array = zarr.create_array(store, shape=(100, 100), chunks=(25, 25), dtype="int64")
    array[:] = numpy.arange(10_000).reshape(100, 100)
    assert int(dask.array.from_zarr(zarr.open(store, mode="r")).sum().compute()) == sum(range(10_000))


# obspec-utils

SIZE = 3 * 1024 * 1024 + 9
DATA = content("obspec", SIZE)


@pytest.fixture
def key(cloud):
    name = f"{uuid.uuid4()}/object"
    cloud.write(name, DATA)
    return name


@pytest.mark.parametrize("reader", ["BufferedStoreReader", "EagerStoreReader", "BlockStoreReader"])
def test_obspec_utils_readers(cloud, key, reader):
    from obspec_utils import readers

    store = headstart.Store(f"{cloud.kind}://{BUCKET}", **cloud.options)
    with getattr(readers, reader)(store, key) as file:
        assert file.read(100) == DATA[:100]
        file.seek(-100, 2)
        assert file.read() == DATA[-100:]
        file.seek(1_000_000)
        assert file.read(200_000) == DATA[1_000_000:1_200_000]
        file.seek(0)
        assert file.readall() == DATA


def test_obspec_utils_wrappers_and_registry(cloud, key):
    from obspec_utils.registry import ObjectStoreRegistry
    from obspec_utils.wrappers import CachingReadableStore, SplittingReadableStore

    store = headstart.Store(f"{cloud.kind}://{BUCKET}", **cloud.options)
    for wrapper in (CachingReadableStore(store), SplittingReadableStore(store, request_size=1 << 20)):
        assert bytes(memoryview(wrapper.get(key).buffer())) == DATA
        assert bytes(memoryview(wrapper.get_range(key, start=10, end=30))) == DATA[10:30]
    registry = ObjectStoreRegistry({f"{cloud.kind}://{BUCKET}": store})
    found, path = registry.resolve(f"{cloud.kind}://{BUCKET}/{key}")
    assert bytes(memoryview(found.get_range(path, start=5, length=5))) == DATA[5:10]


def test_universal_pathlib(cloud, key, registered):
    upath = pytest.importorskip("upath")
    path = upath.UPath(f"{cloud.kind}://{BUCKET}/{key}", **cloud.foreign_options)
    assert path.read_bytes() == DATA
    assert path.exists()
    assert [child.name for child in path.parent.iterdir()] == ["object"]
