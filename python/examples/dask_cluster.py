"""Reads a folder of Parquet files with Dask's worker processes: `python dask_cluster.py s3://bucket/folder`."""

from __future__ import annotations

import sys

import pandas
from dask import dataframe
from dask.distributed import Client, LocalCluster


def main(url: str) -> None:
    """Write four files, and sum a column."""
    # The workers know this protocol by the package's entry point: nothing is registered there.
    url = f"headstart+{url}"
    with LocalCluster(n_workers=2, processes=True, dashboard_address=None) as cluster, Client(cluster):
        for n in range(4):
            pandas.DataFrame({"n": range(1000)}).to_parquet(f"{url}/part-{n}.parquet")
        print("the sum is", dataframe.read_parquet(f"{url}/*.parquet")["n"].sum().compute())


if __name__ == "__main__":
    main(sys.argv[1])
