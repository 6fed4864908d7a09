"""Translates the storage options of gcsfs, s3fs and adlfs into options of Headstart.

Pure but for two look-ups: the type of a key file, and boto's own files of credentials (where boto is installed).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SCHEMES = {
    "gs": "gs",
    "gcs": "gs",
    "s3": "s3",
    "s3a": "s3",
    "az": "az",
    "abfs": "az",
    "abfss": "az",
    "http": "http",
    "https": "http",
    "file": "file",
    "local": "file",
}
"""The protocols of fsspec that are read natively, and the name of their translation."""


class CarryError(ValueError):
    """An option or a kind of credentials of another library that Headstart's client does not have."""


def translate(scheme: str, options: Mapping[str, Any], *, look_up: bool = True) -> dict[str, str]:
    """Return Headstart's options for `options`, which may be in the words of the usual library of `scheme`.

    Names with a dot, and names that no other library uses, are Headstart's own and pass through. An option that would
    change what is read or by whom, and cannot be translated, is a `CarryError`; tuning of the other library is
    dropped. `look_up` asks boto for the keys of S3 where none are given.
    """
    left = {name: value for name, value in options.items() if value is not None}
    result = _TRANSLATIONS[SCHEMES[scheme]](left)
    profile = left.pop("profile", None) if SCHEMES[scheme] == "s3" else None
    result.update({name: as_text(value) for name, value in left.items()})
    if look_up and SCHEMES[scheme] == "s3" and not {"s3.anonymous", "s3.access_key_id"} & result.keys():
        result = boto_options(profile) | result
    return result


def as_text(value: Any) -> str:
    """Return an option's value as the text that Headstart parses."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def listing_options(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options of the listings cache out of `options`."""
    result: dict[str, Any] = {
        name: options.pop(name)
        for name in ("use_listings_cache", "listings_expiry_time", "max_paths")
        if name in options
    }
    timeout = options.pop("cache_timeout", None)  # gcsfs's name
    if timeout is not None:
        result.update({"use_listings_cache": False} if timeout <= 0 else {"listings_expiry_time": timeout})
    return result


def _gcs(left: dict[str, Any]) -> dict[str, str]:
    result: dict[str, str] = {}
    _drop(
        left,
        "access check_connection consistency default_location secure_serialize block_size timeout requests_timeout",
    )
    _refuse(left, "session_kwargs version_aware", "gs://")
    project = left.pop("project", None)
    if payer := left.pop("requester_pays", False):
        payer = project if payer is True else payer
        if not payer:
            raise CarryError("requester_pays=True needs the project that pays: project=... or requester_pays='NAME'")
        result["gcs.user_project"] = str(payer)
    if endpoint := left.pop("endpoint_url", None):
        result["gcs.endpoint"] = str(endpoint)
    result.update(google_token(left.pop("token", None)))
    return result


def google_token(token: Any) -> dict[str, str]:
    """Headstart's options for gcsfs's `token`."""
    if token is None or token in ("google_default", "cloud"):
        return {}  # the client's own chain: key file, well-known file, metadata server
    if token == "anon":
        return {"gcs.anonymous": "on"}
    if isinstance(token, Mapping):
        if token.get("type") == "service_account":
            return {"gcs.service_account_key": json.dumps(dict(token))}
        raise CarryError("a token as a dict is read only where it is a service account's key; name the file instead")
    if isinstance(token, (str, os.PathLike)) and token not in ("cache", "browser", "token"):
        if not os.path.exists(token):
            return {"gcs.token": str(token)}
        kind = json.loads(Path(token).read_text()).get("type")
        name = "gcs.service_account" if kind == "service_account" else "gcs.application_credentials"
        return {name: os.fspath(token)}
    kind = repr(token) if isinstance(token, str) else f"of type {type(token).__name__}"
    raise CarryError(f"the token {kind} cannot be used by Headstart; name a key file, 'anon', or a bearer token")


def _s3(left: dict[str, Any]) -> dict[str, str]:
    result: dict[str, str] = {}
    _drop(left, "default_block_size default_fill_cache default_cache_type max_concurrency fixed_upload_size")
    _drop(left, "local_expiry_check cache_regions use_ssl")
    _refuse(left, "session version_aware s3_additional_kwargs", "s3://")
    client = dict(left.pop("client_kwargs", {}))
    names: dict[str, tuple[str, ...]] = {
        "s3.access_key_id": ("key", "username", "aws_access_key_id"),
        "s3.secret_access_key": ("secret", "password", "aws_secret_access_key"),
        "s3.session_token": ("token", "aws_session_token"),
        "s3.endpoint": ("endpoint_url",),
        "s3.region": ("region_name",),
    }
    for ours, theirs in names.items():
        for name in theirs:
            value = left.pop(name, None) or client.pop(name, None)
            if value is not None:
                result.setdefault(ours, str(value))
    client.pop("use_ssl", None)
    if client:
        raise CarryError(f"client_kwargs has {sorted(client)}, which Headstart does not have for s3://")
    if left.pop("anon", False):
        result["s3.anonymous"] = "on"
    if left.pop("requester_pays", False):
        result["s3.request_payer"] = "on"
    style = dict(left.pop("config_kwargs", {}) or {}).get("s3", {}).get("addressing_style")
    if style == "virtual":
        result["s3.virtual_hosted_style_request"] = "on"
    return result


def boto_options(profile: str | None) -> dict[str, str]:
    """Keys and region that boto finds in its files (`~/.aws`), which Headstart's client does not read."""
    environment = os.environ
    files = [
        environment.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        environment.get("AWS_CONFIG_FILE", "~/.aws/config"),
    ]
    named = profile or environment.get("AWS_PROFILE")
    if not named and ("AWS_ACCESS_KEY_ID" in environment or not any(Path(f).expanduser().exists() for f in files)):
        return {}
    try:
        from botocore.session import Session
    except ImportError:
        if named:
            raise CarryError(f"the profile {named!r} is read by botocore, which is not installed") from None
        return {}
    session = Session(profile=named)
    found = session.get_credentials()
    method = found.method if found else None
    return boto_keys(method, lambda: found.get_frozen_credentials(), session.get_config_variable("region"))


STATIC_METHODS = {"explicit", "env", "shared-credentials-file", "config-file"}
"""Where boto finds keys that never expire, by its own names."""

OWN_METHODS = {"iam-role", "container-role", "assume-role-with-web-identity"}
"""Boto's names of the sources that Headstart's client asks by itself."""


def boto_keys(method: str | None, frozen: Callable[[], Any], region: str | None) -> dict[str, str]:
    """Headstart's options for credentials that botocore found by `method`."""
    result = {"s3.region": region} if region else {}
    if method is None or method in OWN_METHODS:
        return result
    if method not in STATIC_METHODS:
        raise CarryError(f"credentials found by {method!r} expire and are refreshed only by boto")
    keys = frozen()
    result.update({"s3.access_key_id": keys.access_key, "s3.secret_access_key": keys.secret_key})
    if keys.token:
        result["s3.session_token"] = keys.token
    return result


AZURE_VARIABLES = {
    "account_name": "AZURE_STORAGE_ACCOUNT_NAME",
    "account_key": "AZURE_STORAGE_ACCOUNT_KEY",
    "sas_token": "AZURE_STORAGE_SAS_TOKEN",
    "client_id": "AZURE_STORAGE_CLIENT_ID",
    "client_secret": "AZURE_STORAGE_CLIENT_SECRET",
    "tenant_id": "AZURE_STORAGE_TENANT_ID",
}
"""adlfs's options, and the variables by which Headstart's client is given the same."""


def _azure(left: dict[str, Any]) -> dict[str, str]:
    _drop(
        left, "blocksize default_fill_cache default_cache_type max_concurrency assume_container_exists socket_timeout"
    )
    _drop(left, "timeout connection_timeout read_timeout location_mode")
    _refuse(left, "anon connection_string credential account_host request_session version_aware", "az://")
    for name, variable in AZURE_VARIABLES.items():
        if name in left and str(left.pop(name)) != os.environ.get(variable):
            raise CarryError(f"{name} of az:// is read from the environment only: set {variable}")
    return {}


def _http(left: dict[str, Any]) -> dict[str, str]:
    _drop(left, "simple_links same_scheme block_size cache_type cache_options")
    _refuse(left, "client_kwargs get_client headers auth encoded size_policy", "https://")
    return {}


def _file(left: dict[str, Any]) -> dict[str, str]:
    _drop(left, "auto_mkdir")
    return {}


_TRANSLATIONS: dict[str, Callable[[dict[str, Any]], dict[str, str]]] = {
    "gs": _gcs,
    "s3": _s3,
    "az": _azure,
    "http": _http,
    "file": _file,
}


def _drop(left: dict[str, Any], names: str) -> None:
    for name in names.split():
        left.pop(name, None)


def _refuse(left: dict[str, Any], names: str, scheme: str) -> None:
    for name in names.split():
        if left.pop(name, None):
            raise CarryError(f"Headstart has no {name!r} for {scheme}")
