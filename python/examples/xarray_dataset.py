"""Reads a NetCDF file and a zarr store with xarray: `python xarray_dataset.py s3://bucket/folder`."""

from __future__ import annotations

import sys

import numpy
import xarray

import headstart
from headstart.zarr import HeadstartStore


def main(url: str) -> None:
    """Write both, and read a part of each."""
    data = xarray.Dataset({"t": (("time", "x"), numpy.arange(20_000.0).reshape(100, 200))})

    headstart.Store(url).put("data.nc", bytes(data.to_netcdf(engine="h5netcdf")))
    with headstart.open(f"{url}/data.nc") as file, xarray.open_dataset(file, engine="h5netcdf") as found:
        print("NetCDF:", float(found["t"][50].mean()))

    store = HeadstartStore(f"{url}/data.zarr")
    data.to_zarr(store, zarr_format=3, consolidated=False)
    with xarray.open_zarr(store, consolidated=False) as found:
        print("zarr:", float(found["t"][50].mean()))


if __name__ == "__main__":
    main(sys.argv[1])
