"""Opens a file of another file system natively, where its credentials can be carried over.

gcsfs: no credentials (`anon`), Google's default credentials, a service account's key, a key file, a bearer token.
s3fs: no credentials, keys that were given or that boto found in the environment or its files, and the roles of
machines, containers and web identities. adlfs: what the environment says. http: no credentials. Everything else is
read through the file itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from fsspec.asyn import sync

import headstart

from .options import AZURE_VARIABLES, CarryError, boto_keys, google_token, translate


def native_url(file: Any, options: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the URL, and the options, with which Headstart reads the object of an fsspec file by itself.

    # Errors
    `CarryError`: the file has to be read through its own fetcher; the message says why.
    """
    fs = getattr(file, "fs", None)
    for module, name, carry in _CARRIERS:
        for cls in type(fs).__mro__:
            if cls.__name__ == name and cls.__module__.split(".")[0] == module.split(".")[0]:
                url, carried = carry(file, fs)
                return url, {**carried, **{key: str(value) for key, value in options.items()}}
    raise CarryError(f"{type(fs).__name__} has no native reader")


def _ours(file: Any, fs: Any) -> tuple[str, dict[str, str]]:
    bucket, key = fs._split(file.path)
    return f"{fs._store_url(bucket).rstrip('/')}/{key}", dict(fs._options)


def _gcsfs(file: Any, fs: Any) -> tuple[str, dict[str, str]]:
    if type(file).__name__ != "GCSFile":
        raise CarryError(f"{type(file).__name__} is not read over HTTP")
    options: dict[str, str] = {}
    credentials = fs.credentials
    token = credentials.token
    # `method` says what `token=None` came to.
    if token is None:
        token = {"anon": "anon", "cache": "cache"}.get(credentials.method)
    options.update(google_token(token))
    if fs._location != "https://storage.googleapis.com":
        options["gcs.endpoint"] = fs._location
    if fs.requester_pays:
        options["gcs.user_project"] = fs.project if fs.requester_pays is True else fs.requester_pays
    if fs.session_kwargs:
        raise CarryError("session_kwargs of gcsfs are its own")
    bucket, key, generation = fs.split_path(file.path)
    generation = getattr(file, "generation", None) or generation
    return f"gs://{bucket}/{key}" + (f"#{generation}" if generation else ""), options


def _s3fs(file: Any, fs: Any) -> tuple[str, dict[str, str]]:
    bucket, key, version = fs.split_path(file.path)
    if version or getattr(file, "version_id", None):
        raise CarryError("a version ID of S3 cannot be read natively")
    given = {
        "anon": fs.anon,
        "key": fs.key,
        "secret": fs.secret,
        "token": fs.token,
        "endpoint_url": fs.endpoint_url,
        "client_kwargs": dict(fs.client_kwargs),
        "config_kwargs": fs.config_kwargs,
        "requester_pays": fs.requester_pays,
        "s3_additional_kwargs": fs.s3_additional_kwargs,
    }
    options = translate("s3", given, look_up=False)
    if not (fs.anon or fs.key):
        fs.connect()  # the session may have a profile
        found = sync(fs.loop, fs.session.get_credentials)
        region = fs.session.get_config_variable("region")
        method = found.method if found else None
        options = boto_keys(method, lambda: sync(fs.loop, found.get_frozen_credentials), region) | options
    return f"s3://{bucket}/{key}", options


def _adlfs(file: Any, fs: Any) -> tuple[str, dict[str, str]]:
    container, key, version = fs.split_path(file.path)
    if version:
        raise CarryError("a version ID of Azure cannot be read natively")
    given = {name: getattr(fs, name, None) for name in (*AZURE_VARIABLES, "connection_string", "anon")}
    # adlfs makes a credential of its own out of the other values; only one that was given cannot be carried over.
    given.update({name: fs.storage_options.get(name) for name in ("credential", "account_host")})
    return f"az://{container}/{key}", translate("az", given)


def _http(file: Any, fs: Any) -> tuple[str, dict[str, str]]:
    if fs.client_kwargs or fs.kwargs or "get_client" in fs.storage_options or file.kwargs:
        raise CarryError("options of aiohttp's client cannot be carried over")
    if "?" in file.path or "#" in file.path:
        raise CarryError("a URL with a query is read by the library that knows what it means")
    return file.path, {}


def _local(file: Any, fs: Any) -> tuple[str, dict[str, str]]:
    return f"file://{os.path.abspath(file.path)}", {}


_CARRIERS = (
    ("headstart.fsspec", "HeadstartFileSystem", _ours),
    ("gcsfs", "GCSFileSystem", _gcsfs),
    ("s3fs", "S3FileSystem", _s3fs),
    ("adlfs", "AzureBlobFileSystem", _adlfs),
    ("fsspec", "HTTPFileSystem", _http),
    ("fsspec", "LocalFileSystem", _local),
)


def open_native(file: Any, options: Mapping[str, Any]) -> headstart.File:
    """Open the object of an fsspec file natively; see `native_url`."""
    url, carried = native_url(file, options)
    return headstart.open(url, **carried)
