"""Reads a table with pandas: `python pandas_frames.py s3://bucket/table.parquet`."""

from __future__ import annotations

import sys

import pandas

import headstart.fsspec


def main(url: str) -> None:
    """Write a table, and read some of its columns."""
    headstart.fsspec.register("gs", "s3", "az")  # the one line

    pandas.DataFrame({"n": range(100_000), "square": [n * n for n in range(100_000)]}).to_parquet(url)
    frame = pandas.read_parquet(url, columns=["square"])
    print(f"{len(frame)} rows, the last square is {frame['square'].iloc[-1]}")


if __name__ == "__main__":
    main(sys.argv[1])
