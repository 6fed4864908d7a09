"""Measures boto3 at an endpoint: `sequential` reads of 1 MiB, or `random` ones of 64 KiB. Prints MB/s as JSON.

Arguments: the endpoint, which of the two, the key and size of the object, the seconds of a pass, and how many passes
over what the first one has read.
"""

from __future__ import annotations

import json
import random
import sys
import time
from typing import Any

import boto3
import botocore.config

KEYS = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}


def read(s3: Any, key: str, size: int, step: int, starts: list[int], seconds: float) -> tuple[float, int]:
    """Reads until the time is over; returns MB/s and the number of reads."""
    began = time.monotonic()
    done = 0
    for number, start in enumerate(starts):
        end = min(start + step, size)
        answer = s3.get_object(Bucket="bucket", Key=key, Range=f"bytes={start}-{end - 1}")
        done += len(answer["Body"].read())
        if time.monotonic() - began > seconds:
            return done / 1e6 / (time.monotonic() - began), number + 1
    return done / 1e6 / (time.monotonic() - began), len(starts)


def main(endpoint: str, pattern: str, key: str, size_text: str, seconds_text: str, passes_text: str) -> None:
    size, seconds = int(size_text), float(seconds_text)
    config = botocore.config.Config(s3={"addressing_style": "path"})
    s3 = boto3.client("s3", endpoint_url=endpoint, config=config, **KEYS)
    s3.head_object(Bucket="bucket", Key=key)
    step = 1 << 20 if pattern == "sequential" else 1 << 16
    starts = list(range(0, size, step))
    if pattern == "random":
        random.Random(20).shuffle(starts)
    for _ in range(int(passes_text)):
        rate, reads = read(s3, key, size, step, starts, seconds)
        starts = starts[:reads]
        print(json.dumps({"mb_per_s": rate, "reads": reads}))


if __name__ == "__main__":
    main(*sys.argv[1:])
