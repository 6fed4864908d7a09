"""What the scripts beside this one share."""

from __future__ import annotations

import os

BUCKET = "bucket"
REGION = "us-east-1"


def use_keys(key: str, secret: str) -> None:
    """Gives these keys to clients of S3. What the user has set for them, and proxies, do not count."""
    os.environ.update(AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret, AWS_DEFAULT_REGION=REGION)
    os.environ.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(variable, None)
        os.environ.pop(variable.upper(), None)


def same(what: str, got: object, expected: object) -> None:
    if got != expected:
        shown = [f"{len(it)} bytes" if isinstance(it, bytes) else repr(it)[:300] for it in (got, expected)]
        raise AssertionError(f"{what}: got {shown[0]}, expected {shown[1]}")
