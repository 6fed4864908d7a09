"""Measures boto3 at an endpoint: sequential reads of 1 MiB, and random ones of 64 KiB. Prints MB/s as JSON.

Arguments: the endpoint, the size of the object, the seconds for each, and how many passes over what was read.
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


def rate(s3: Any, size: int, step: int, starts: list[int], seconds: float) -> tuple[float, int]:
    """Reads until the time is over; returns MB/s and the number of reads."""
    began = time.monotonic()
    done = 0
    for number, start in enumerate(starts):
        end = min(start + step, size)
        answer = s3.get_object(Bucket="bucket", Key="large", Range=f"bytes={start}-{end - 1}")
        done += len(answer["Body"].read())
        if time.monotonic() - began > seconds:
            return done / 1e6 / (time.monotonic() - began), number + 1
    return done / 1e6 / (time.monotonic() - began), len(starts)


def main(endpoint: str, size_text: str, seconds_text: str, passes_text: str) -> None:
    size, seconds = int(size_text), float(seconds_text)
    config = botocore.config.Config(s3={"addressing_style": "path"})
    s3 = boto3.client("s3", endpoint_url=endpoint, config=config, **KEYS)
    for number in range(int(passes_text)):
        sequential, reads = rate(s3, size, 1 << 20, list(range(0, size, 1 << 20)), seconds)
        print(json.dumps({"what": f"sequential 1 MiB, pass {number + 1}", "mb_per_s": sequential, "reads": reads}))
    pages = list(range(0, size, 1 << 16))
    random.Random(20).shuffle(pages)
    found, reads = rate(s3, size, 1 << 16, pages, seconds)
    print(json.dumps({"what": "random 64 KiB", "mb_per_s": found, "reads": reads}))


if __name__ == "__main__":
    main(*sys.argv[1:])
