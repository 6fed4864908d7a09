"""Measures a client at an endpoint: `sequential` reads of 1 MiB, or `random` ones of 64 KiB. Prints MB/s as JSON.

Arguments: the endpoint, `boto3` or `pyarrow`, which reads, the key and size of the object, the seconds of a pass, and
how many passes over what the first one has read.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable

Read = Callable[[int, int], bytes]


def boto3(endpoint: str, key: str) -> Read:
    """One client; every read is a GET."""
    import boto3 as package
    import botocore.config

    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    config = botocore.config.Config(s3={"addressing_style": "path"})
    s3 = package.client("s3", endpoint_url=endpoint, config=config, **keys)
    s3.head_object(Bucket="bucket", Key=key)

    def read(start: int, end: int) -> bytes:
        return s3.get_object(Bucket="bucket", Key=key, Range=f"bytes={start}-{end - 1}")["Body"].read()

    return read


def pyarrow(endpoint: str, key: str) -> Read:
    """One file of Arrow's own S3 client."""
    from pyarrow import fs as package

    keys = {"access_key": "any", "secret_key": "any", "region": "us-east-1"}
    fs = package.S3FileSystem(endpoint_override=endpoint.removeprefix("http://"), scheme="http", **keys)
    file = fs.open_input_file(f"bucket/{key}")
    return lambda start, end: file.read_at(end - start, start)


def measure(read: Read, size: int, step: int, starts: list[int], seconds: float) -> tuple[float, int]:
    """Reads until the time is over; returns MB/s and the number of reads."""
    began = time.monotonic()
    done = reads = 0
    for start in starts:
        done += len(read(start, min(start + step, size)))
        reads += 1
        if time.monotonic() - began > seconds:
            break
    return done / 1e6 / (time.monotonic() - began), reads


def main(endpoint: str, client: str, pattern: str, key: str, size_text: str, seconds: str, passes: str) -> None:
    size = int(size_text)
    read = {"boto3": boto3, "pyarrow": pyarrow}[client](endpoint, key)
    step = 1 << 20 if pattern == "sequential" else 1 << 16
    starts = list(range(0, size, step))
    if pattern == "random":
        random.Random(20).shuffle(starts)
    for _ in range(int(passes)):
        rate, reads = measure(read, size, step, starts, float(seconds))
        starts = starts[:reads]
        print(json.dumps({"mb_per_s": rate, "reads": reads}))


if __name__ == "__main__":
    main(*sys.argv[1:])
