"""The file systems of each protocol, and of chained URLs."""

from __future__ import annotations

from typing import Any

from fsspec.implementations.chained import ChainedFileSystem

from .filesystem import HeadstartFileSystem
from .options import SCHEMES


class GoogleFileSystem(HeadstartFileSystem):
    """`gs://`, in the place of gcsfs."""

    protocol = ("gs", "gcs", "headstart+gs")
    scheme = "gs"


class S3FileSystem(HeadstartFileSystem):
    """`s3://`, in the place of s3fs."""

    protocol = ("s3", "s3a", "headstart+s3")
    scheme = "s3"


class AzureFileSystem(HeadstartFileSystem):
    """`az://`, in the place of adlfs."""

    protocol = ("az", "abfs", "abfss", "headstart+az")
    scheme = "az"


class HttpFileSystem(HeadstartFileSystem):
    """`http://` and `https://`: read only, and directories are not listed."""

    protocol = ("http", "https", "headstart+http", "headstart+https")
    scheme = "http"


class LocalFileSystem(HeadstartFileSystem):
    """`file://`, mostly for tests."""

    protocol = ("file", "local", "headstart+file")
    scheme = "file"
    root_marker = "/"


class ChainedHeadstartFileSystem(HeadstartFileSystem, ChainedFileSystem):
    """`headstart::gs://bucket/key`: any of the protocols above, without registering it."""

    protocol = "headstart"

    def __init__(
        self,
        fo: str | None = None,
        target_protocol: str | None = None,
        target_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if target_protocol not in SCHEMES:
            raise ValueError(f"headstart:: reads {', '.join(SCHEMES)}; not {target_protocol!r}")
        self.scheme = SCHEMES[target_protocol]
        super().__init__(**{**(target_options or {}), **options})

    def unstrip_protocol(self, name: str) -> str:
        """Return the URL of a path."""
        name = self._strip_protocol(name)
        return f"headstart::{name}" if "://" in name else f"headstart::{self.scheme}://{name}"
