"""A file system for pyarrow: ``pyarrow.parquet.read_table("key", filesystem=filesystem("gs://bucket"))``."""

from __future__ import annotations

from typing import Any

from pyarrow import PythonFile
from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem, SubTreeFileSystem

from .fsspec import CLASSES
from .fsspec.options import SCHEMES


class HeadstartHandler(FSSpecHandler):
    """pyarrow's handler of fsspec, with one request less for each file that is opened."""

    def get_type_name(self) -> str:
        """Return pyarrow's name for the kind of file system."""
        return f"headstart+{self.fs.scheme}"

    def open_input_file(self, path: str) -> PythonFile:
        """Open a file for random reads."""
        return PythonFile(self.fs.open(path, mode="rb"), mode="r")

    def open_input_stream(self, path: str) -> PythonFile:
        """Open a file that is read from its beginning to its end."""
        file = self.fs.open(path, mode="rb")
        file.advise("sequential")
        return PythonFile(file, mode="r")


def filesystem(url: str, **options: Any) -> FileSystem:
    """Return a ``pyarrow.fs.FileSystem`` of the objects below ``url``; paths are relative to it.

    ``options`` are those of the file systems in ``headstart.fsspec``. It is read by Headstart in the processes that
    it is pickled to, too.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"{url!r} is no URL of {', '.join(SCHEMES)}")
    fs = PyFileSystem(HeadstartHandler(CLASSES[SCHEMES[scheme]](**options)))
    base = url if scheme in ("http", "https") else rest
    return SubTreeFileSystem(base.rstrip("/"), fs) if base.strip("/") else fs
