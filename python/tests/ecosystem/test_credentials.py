"""Which credentials and options of gcsfs, s3fs, adlfs and http are carried over, and which are refused."""

from __future__ import annotations

import json

import fsspec
import pytest

import headstart
import headstart.fsspec
from headstart.fsspec.carry import native_url
from headstart.fsspec.options import CarryError, boto_keys, listing_options, translate


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    import os

    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "STORAGE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.fixture
def key_file(tmp_path):
    def make(kind):
        path = tmp_path / f"{kind}.json"
        path.write_text(json.dumps({"type": kind}))
        return str(path)

    return make


@pytest.mark.parametrize(
    ("scheme", "given", "expected"),
    [
        ("gs", {}, {}),
        ("gs", {"token": "google_default", "project": "p", "consistency": "md5"}, {}),
        ("gs", {"token": "anon"}, {"gcs.anonymous": "on"}),
        ("gs", {"token": "ya29.bearer"}, {"gcs.token": "ya29.bearer"}),
        ("gs", {"endpoint_url": "http://x"}, {"gcs.endpoint": "http://x"}),
        ("gs", {"requester_pays": True, "project": "p"}, {"gcs.user_project": "p"}),
        ("gs", {"requester_pays": "payer"}, {"gcs.user_project": "payer"}),
        (
            "gs",
            {"token": {"type": "service_account", "private_key": "k"}},
            {"gcs.service_account_key": '{"type": "service_account", "private_key": "k"}'},
        ),
        ("gs", {"mode": "cached", "prefetch.start_after": 3}, {"mode": "cached", "prefetch.start_after": "3"}),
        ("gs", {"fetch.hedge": False}, {"fetch.hedge": "off"}),
        ("s3", {}, {}),
        ("s3", {"anon": True}, {"s3.anonymous": "on"}),
        ("s3", {"key": "k", "secret": "s"}, {"s3.access_key_id": "k", "s3.secret_access_key": "s"}),
        ("s3", {"username": "k", "password": "s"}, {"s3.access_key_id": "k", "s3.secret_access_key": "s"}),
        (
            "s3",
            {
                "key": "k",
                "secret": "s",
                "token": "t",
                "client_kwargs": {"region_name": "r", "endpoint_url": "http://e"},
            },
            {
                "s3.access_key_id": "k",
                "s3.secret_access_key": "s",
                "s3.session_token": "t",
                "s3.region": "r",
                "s3.endpoint": "http://e",
            },
        ),
        ("s3", {"anon": True, "requester_pays": True}, {"s3.anonymous": "on", "s3.request_payer": "on"}),
        (
            "s3",
            {"anon": True, "config_kwargs": {"s3": {"addressing_style": "virtual"}}},
            {"s3.anonymous": "on", "s3.virtual_hosted_style_request": "on"},
        ),
        ("az", {"max_concurrency": 3}, {}),
        ("http", {"simple_links": False}, {}),
        ("file", {"auto_mkdir": True}, {}),
    ],
)
def test_what_is_translated(scheme, given, expected):
    assert translate(scheme, given) == expected


@pytest.mark.parametrize(
    ("scheme", "given", "message"),
    [
        ("gs", {"token": "browser"}, "'browser'"),
        ("gs", {"token": "cache"}, "'cache'"),
        ("gs", {"token": object()}, "of type object"),
        ("gs", {"token": {"refresh_token": "very-secret"}}, "name the file"),
        ("gs", {"session_kwargs": {"proxy": "p"}}, "session_kwargs"),
        ("gs", {"version_aware": True}, "version_aware"),
        ("gs", {"requester_pays": True}, "the project that pays"),
        ("s3", {"client_kwargs": {"verify": False}}, "verify"),
        ("s3", {"s3_additional_kwargs": {"SSE": "x"}}, "s3_additional_kwargs"),
        ("s3", {"profile": "nobody"}, "nobody"),
        ("az", {"account_key": "very-secret"}, "AZURE_STORAGE_ACCOUNT_KEY"),
        ("az", {"connection_string": "very-secret"}, "connection_string"),
        ("http", {"client_kwargs": {"headers": {}}}, "client_kwargs"),
    ],
)
def test_what_is_refused(scheme, given, message):
    with pytest.raises(Exception, match=message) as raised:
        translate(scheme, given)
    assert "very-secret" not in str(raised.value)


def test_key_files_by_their_type(key_file):
    service, user = key_file("service_account"), key_file("authorized_user")
    assert translate("gs", {"token": service}) == {"gcs.service_account": service}
    assert translate("gs", {"token": user}) == {"gcs.application_credentials": user}


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(ValueError, match=r"cache\.memory_bytes"):
        headstart.fsspec.GoogleFileSystem(**{"cache.memory_byte": "1GiB"}).store("bucket/x")


def test_options_of_the_listings_cache():
    options = {"use_listings_cache": False, "max_paths": 3, "mode": "none"}
    assert listing_options(options) == {"use_listings_cache": False, "max_paths": 3}
    assert options == {"mode": "none"}
    assert listing_options({"cache_timeout": 10}) == {"listings_expiry_time": 10}
    assert listing_options({"cache_timeout": 0}) == {"use_listings_cache": False}


# boto's own files, which Headstart's client does not read


@pytest.fixture
def aws_files(tmp_path, monkeypatch):
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id=d\naws_secret_access_key=ds\n[other]\naws_access_key_id=o\n"
        "aws_secret_access_key=os\naws_session_token=ot\n"
    )
    (tmp_path / "config").write_text("[default]\nregion=eu-west-1\n[profile other]\nregion=eu-north-1\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


DEFAULT = {"s3.access_key_id": "d", "s3.secret_access_key": "ds", "s3.region": "eu-west-1"}
OTHER = {
    "s3.access_key_id": "o",
    "s3.secret_access_key": "os",
    "s3.session_token": "ot",
    "s3.region": "eu-north-1",
}


def test_the_files_of_boto(aws_files, monkeypatch):
    assert translate("s3", {}) == DEFAULT
    assert translate("s3", {"profile": "other"}) == OTHER
    assert translate("s3", {"s3.region": "mine"}) == {**DEFAULT, "s3.region": "mine"}
    assert translate("s3", {"anon": True}) == {"s3.anonymous": "on"}
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert translate("s3", {}) == OTHER
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "environment")  # which the client reads by itself
    assert translate("s3", {}) == {}


@pytest.mark.parametrize("method", ["iam-role", "container-role", "assume-role-with-web-identity", None])
def test_roles_are_left_to_the_client(method):
    assert boto_keys(method, lambda: pytest.fail("asked for keys"), "r") == {"s3.region": "r"}


@pytest.mark.parametrize("method", ["sso", "assume-role", "custom-process", "login"])
def test_keys_that_only_boto_refreshes_are_refused(method):
    with pytest.raises(CarryError, match=method):
        boto_keys(method, lambda: pytest.fail("asked for keys"), None)


# Files of the other libraries


class File:
    """An fsspec file without a connection."""

    def __init__(self, fs, path, name="GCSFile", **attributes):
        self.fs, self.path, self.kwargs = fs, path, {}
        self.__dict__.update(attributes)
        self.__class__ = type(name, (File,), {})


def carried(fs, path, **kwargs):
    return native_url(File(fs, path, **kwargs), {})


def test_gcsfs():
    anonymous = fsspec.filesystem("gs", token="anon", skip_instance_cache=True)
    assert carried(anonymous, "b/k") == ("gs://b/k", {"gcs.anonymous": "on"})
    assert carried(anonymous, "b/k", generation="17")[0] == "gs://b/k#17"
    default = fsspec.filesystem("gs", skip_instance_cache=True)  # finds none here, and so does without
    assert default.credentials.method == "anon"
    assert carried(default, "b/k") == ("gs://b/k", {"gcs.anonymous": "on"})
    default.credentials.method = "google_default"
    assert carried(default, "b/k") == ("gs://b/k", {})
    default.credentials.method = "cache"
    with pytest.raises(CarryError):
        carried(default, "b/k")
    with pytest.raises(CarryError, match="ZonalFile"):
        carried(anonymous, "b/k", name="ZonalFile")
    emulator = fsspec.filesystem("gs", token="anon", endpoint_url="http://e", skip_instance_cache=True)
    assert carried(emulator, "b/k")[1]["gcs.endpoint"] == "http://e"


def test_s3fs(aws_files):
    given = fsspec.filesystem("s3", key="k", secret="s", endpoint_url="http://e", skip_instance_cache=True)
    expected = {"s3.access_key_id": "k", "s3.secret_access_key": "s", "s3.endpoint": "http://e"}
    assert carried(given, "b/k") == ("s3://b/k", expected)
    assert carried(fsspec.filesystem("s3", anon=True), "b/k") == ("s3://b/k", {"s3.anonymous": "on"})
    found = fsspec.filesystem("s3", skip_instance_cache=True)
    assert carried(found, "b/k") == ("s3://b/k", DEFAULT)
    other = fsspec.filesystem("s3", profile="other", skip_instance_cache=True)
    assert carried(other, "b/k") == ("s3://b/k", OTHER)
    with pytest.raises(CarryError, match="version"):
        carried(given, "b/k", version_id="v")


def test_adlfs(monkeypatch):
    pytest.importorskip("adlfs")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    fs = fsspec.filesystem("az", skip_instance_cache=True)
    assert carried(fs, "container/k") == ("az://container/k", {})
    other = fsspec.filesystem("az", account_name="account", account_key="b3RoZXI=", skip_instance_cache=True)
    with pytest.raises(CarryError, match="AZURE_STORAGE_ACCOUNT_KEY"):
        carried(other, "container/k")


def test_http_local_and_unknown_ones():
    http = fsspec.filesystem("http", skip_instance_cache=True)
    assert carried(http, "http://h/k") == ("http://h/k", {})
    for path in ("http://h/k?a=b", "http://h/k#f"):
        with pytest.raises(CarryError, match="query"):
            carried(http, path)
    with pytest.raises(CarryError, match="aiohttp"):
        carried(fsspec.filesystem("http", client_kwargs={"headers": {}}), "http://h/k")
    assert carried(fsspec.filesystem("file"), "/a/b") == ("file:///a/b", {})
    with pytest.raises(CarryError, match="MemoryFileSystem"):
        carried(fsspec.filesystem("memory"), "/a")


def test_ours():
    fs = headstart.fsspec.S3FileSystem(anon=True, mode="cached")
    assert carried(fs, "b/dir/k") == ("s3://b/dir/k", {"s3.anonymous": "on", "mode": "cached"})
