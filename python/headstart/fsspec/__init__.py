"""Headstart for fsspec: file systems, and a cache for the files of other file systems.

    import headstart.fsspec

    headstart.fsspec.register("gs", "s3")              # fsspec.open("gs://…") is read by Headstart from now on
    fsspec.open("headstart::gs://bucket/key")          # without registering
    gcsfs_file_system.open(path, cache_type="headstart")   # a file of another file system

Importing this module makes `cache_type="headstart"` known.
"""

from __future__ import annotations

import fsspec

from .cache import HeadstartCache
from .file import HeadstartFile
from .filesystem import HeadstartFileSystem
from .options import SCHEMES, CarryError
from .protocols import (
    AzureFileSystem,
    ChainedHeadstartFileSystem,
    GoogleFileSystem,
    HttpFileSystem,
    LocalFileSystem,
    S3FileSystem,
)

__all__ = [
    "AzureFileSystem",
    "CarryError",
    "ChainedHeadstartFileSystem",
    "GoogleFileSystem",
    "HeadstartCache",
    "HeadstartFile",
    "HeadstartFileSystem",
    "HttpFileSystem",
    "LocalFileSystem",
    "S3FileSystem",
    "register",
]

CLASSES: dict[str, type[HeadstartFileSystem]] = {
    "gs": GoogleFileSystem,
    "s3": S3FileSystem,
    "az": AzureFileSystem,
    "http": HttpFileSystem,
    "file": LocalFileSystem,
}


_ALL: list[type[HeadstartFileSystem]] = [ChainedHeadstartFileSystem, *CLASSES.values()]
for _cls in _ALL:
    # The package's entry points say the same to programs that do not import this module.
    for _name in [_cls.protocol] if isinstance(_cls.protocol, str) else _cls.protocol:
        if _name.startswith("headstart"):
            fsspec.register_implementation(_name, _cls, clobber=True)


def register(*protocols: str) -> None:
    """Make Headstart the file system of `protocols` in this process: gs, s3, az, http, https, file and synonyms.

    File systems that exist already are not changed. Processes that are spawned, and not forked, register again.
    """
    for protocol in protocols:
        if protocol not in SCHEMES:
            raise ValueError(f"headstart reads {', '.join(SCHEMES)}; not {protocol!r}")
        fsspec.register_implementation(protocol, CLASSES[SCHEMES[protocol]], clobber=True)
