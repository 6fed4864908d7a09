"""Fast reads from object storage: parallel ranges, read-ahead and caching.

>>> import headstart
>>> with headstart.open("gs://bucket/key") as file:  # an io.RawIOBase  # doctest: +SKIP
...     header = file.read(64)
>>> store = headstart.Store("s3://bucket/prefix", mode="cached")  # obspec's protocols  # doctest: +SKIP
"""

from ._file import AsyncFile, File, open, open_async
from ._headstart import (
    AlreadyExistsError,
    Buffer,
    GetResult,
    InvalidPathError,
    ListStream,
    NotModifiedError,
    NotSupportedError,
    ObjectChanged,
    ObjectIterator,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
    Upload,
    __version__,
    options,
)
from ._store import Store

__all__ = [
    "AlreadyExistsError",
    "AsyncFile",
    "Buffer",
    "File",
    "GetResult",
    "InvalidPathError",
    "ListStream",
    "NotModifiedError",
    "NotSupportedError",
    "ObjectChanged",
    "ObjectIterator",
    "PermissionDeniedError",
    "PreconditionError",
    "Store",
    "UnauthenticatedError",
    "Upload",
    "__version__",
    "open",
    "open_async",
    "options",
]
