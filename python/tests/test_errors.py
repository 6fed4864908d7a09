"""Errors are Python's, name what to do, and never contain secrets."""

from __future__ import annotations

import io
import traceback
from pathlib import Path

import obspec.exceptions
import pytest
from cloud import MIB, Sim, content, synthetic
from conftest import OddServer

import headstart


def test_missing(sim: Sim, store: headstart.Store) -> None:
    for missing in (headstart.Store(sim.url, **sim.options), store):
        for call in (
            lambda missing=missing: missing.head("nothing/here"),
            lambda missing=missing: missing.get("nothing/here"),
            lambda missing=missing: missing.get_range("nothing/here", start=0, end=10),
            lambda missing=missing: missing.get_ranges("nothing/here", starts=[0, 5], lengths=[1, 1]),
            lambda missing=missing: missing.open("nothing/here").read(),
            lambda missing=missing: missing.open("nothing/here").size,
            lambda missing=missing: missing.cat("nothing/here", -5),
            lambda missing=missing: list(missing.objects(["nothing/here"])),
            lambda missing=missing: missing.download("nothing/here", "/dev/shm/headstart-nothing"),
        ):
            with pytest.raises(FileNotFoundError, match="nothing/here") as caught:
                call()
            assert isinstance(obspec.exceptions.map_exception(caught.value), obspec.exceptions.NotFoundError)


def test_an_error_surfaces_once_and_the_next_read_recovers(tmp_path: Path) -> None:
    store = headstart.Store(f"file://{tmp_path}")
    file = store.open("late")
    with pytest.raises(FileNotFoundError):
        file.read(10)
    (tmp_path / "late").write_bytes(b"here now")
    assert file.read(4) == b"here"
    assert file.read() == b" now"


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, PermissionError), (403, PermissionError), (404, FileNotFoundError), (412, headstart.PreconditionError)],
)
def test_statuses(odd: OddServer, status: int, error: type[OSError]) -> None:
    store = headstart.Store(f"{odd.url}/status")
    with pytest.raises(error, match=f"status/{status}") as caught:
        store.get(str(status))
    assert isinstance(caught.value, OSError)


@pytest.mark.parametrize(
    ("status", "error"), [(401, PermissionError), (403, PermissionError), (404, FileNotFoundError), (400, OSError)]
)
def test_statuses_of_listings(odd: OddServer, status: int, error: type[OSError]) -> None:
    options = {"s3_endpoint": f"{odd.url}/status/{status}", "s3_anonymous": True, "s3_region": "us-east-1"}
    store = headstart.Store("s3://bucket", **options)
    for call in (lambda: list(store.list()), store.list_with_delimiter):
        with pytest.raises(error):
            call()


def test_refused_connections_and_timeouts(odd: OddServer) -> None:
    with pytest.raises(OSError, match=r"127\.0\.0\.1:9") as caught:
        headstart.open("http://127.0.0.1:9/nobody", fetch_retries=0).read()
    assert isinstance(caught.value, ConnectionError)


def test_silent_bodies_time_out(sim: Sim) -> None:
    if not sim.url.startswith("gs:"):
        pytest.skip("an option of gs://")
    import socket
    import threading

    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)

    connections: list[socket.socket] = []
    threading.Thread(target=accept, daemon=True).start()
    endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    options = {"gcs_endpoint": endpoint, "gcs_anonymous": True, "gcs_read_timeout": "300ms", "fetch_retries": 0}
    with pytest.raises(TimeoutError):
        headstart.open("gs://bench/silent", **options).read()
    listener.close()


def test_options() -> None:
    for options, said in [
        ({"cache_memory_byte": 1}, r"cache_memory_byte.*did you mean 'cache.memory_bytes'"),
        ({"mode": "fast"}, "expected none, fetch, adaptive or cached"),
        ({"fetch_concurrency": 0}, "1 to 4096"),
        ({"memory_bytes": "1KiB"}, "16MiB"),
        ({"fetch.hedge": "maybe"}, "on or off"),
    ]:
        with pytest.raises(ValueError, match=said):
            headstart.open("gs://bucket/key", gcs_anonymous=True, **options)
        with pytest.raises(ValueError, match=said):
            headstart.Store("gs://bucket", gcs_anonymous=True, **options)
    with pytest.raises(TypeError, match="mode: expected a string"):
        headstart.Store("gs://bucket", mode=["cached"])
    for url in ["not a url", "ftp://host/file", "gs://", "s3://b/../x", "s3://b/k?X-Amz-Signature=1", "file://host/x"]:
        with pytest.raises(ValueError, match=r"url|URL|bucket"):
            headstart.open(url)
    with pytest.raises(ValueError, match="names no object"):
        headstart.open("gs://bucket", gcs_anonymous=True)
    with pytest.raises(headstart.InvalidPathError):
        headstart.Store("memory:///").head("a/../b")


def test_every_option_can_be_a_keyword() -> None:
    names = [key.replace(".", "_") for key, _, _ in headstart.options()]
    assert len(names) == len(set(names))
    assert "workers" not in names
    store = headstart.Store(
        "memory:///", mode="cached", cache_page_bytes="128KiB", fetch_hedge=False, prefetch_max_age=5
    )
    shown = {setting["key"]: setting["value"] for setting in store.effective_config()}
    assert shown["cache.page_bytes"] == "128KiB"
    assert shown["fetch.hedge"] == "off"
    assert shown["prefetch.max_age"] == "5s"


def test_secrets_are_never_shown(odd: OddServer) -> None:
    secret = "hunter2hunter2"
    options = {"s3_access_key_id": "me", "s3_secret_access_key": secret, "s3_session_token": secret, "s3_region": "x"}
    store = headstart.Store("s3://bucket/prefix", s3_endpoint=f"{odd.url}/status/403", **options)
    file = store.open("key")
    shown = [repr(store), repr(file), str(store.effective_config()), str(store.stats())]
    for call in (lambda: store.head("key"), file.read, lambda: headstart.open("s3://b/k", nearly=1, **options)):
        with pytest.raises((OSError, ValueError)) as caught:
            call()
        shown.append("".join(traceback.format_exception(caught.value)))
    for bad in (f"s3://me:{secret}@bucket/key", f"http://me:{secret}@127.0.0.1/key"):
        with pytest.raises(ValueError, match="url") as caught:
            headstart.Store(bad)
        shown.append(str(caught.value))
    with pytest.raises(ValueError, match="service_account_key") as caught:
        headstart.open("gs://bucket/key", gcs_service_account_key=f'{{"private_key": "{secret}"')
    shown.append(str(caught.value))
    assert secret not in "".join(shown)


def test_existing_and_conditions(tmp_path: Path, sim: Sim) -> None:
    for store in (headstart.Store(f"file://{tmp_path}"), headstart.Store(f"{sim.url}/conditions", **sim.options)):
        store.put("a", b"1")
        with pytest.raises(FileExistsError) as caught:
            store.put("a", b"2", mode="create")
        assert isinstance(obspec.exceptions.map_exception(caught.value), obspec.exceptions.AlreadyExistsError)
        meta = store.head("a")
        with pytest.raises(headstart.NotModifiedError):
            store.get("a", options={"if_none_match": meta["e_tag"]})
        with pytest.raises(headstart.PreconditionError):
            store.get("a", options={"if_match": '"other"'})
        assert bytes(store.get("a").buffer()) == b"1"


def test_an_overwritten_object_is_an_error_of_its_own(sim: Sim) -> None:
    key = "overwritten"
    store = headstart.Store(sim.url, **sim.options)
    store.put(key, content(key, 0, 4 * MIB))
    file = store.open(key)
    assert file.read(1000) == content(key, 0, 1000)
    store.put(key, b"short")
    if sim.url.startswith("gs:"):
        # The simulated bucket keeps old versions, to which reads of GCS are pinned.
        assert file.read_bytes_at(2 * MIB, 2 * MIB + 10) == content(key, 2 * MIB, 2 * MIB + 10)
    else:
        with pytest.raises(headstart.ObjectChanged, match=key) as caught:
            file.read_at(2 * MIB, 3 * MIB)
        assert isinstance(caught.value, OSError)
        assert isinstance(caught.value, headstart.PreconditionError)


def test_unsupported(store: headstart.Store) -> None:
    with pytest.raises(io.UnsupportedOperation):
        store.open("data").write(b"x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown option of get"):
        store.get("data", options={"etag": "x"})  # type: ignore[typeddict-unknown-key]
    with pytest.raises(ValueError, match="one of 'end' and 'length'"):
        store.get_range("data", start=0)


def test_late_answers_are_only_late() -> None:
    """Answers that come seconds late are hedged: every byte is right."""
    server = Sim("gcs", "loopback", "stalls")
    try:
        key = synthetic(8 * MIB, "late")
        assert headstart.open(f"{server.url}/{key}", **server.options).read() == content(key, 0, 8 * MIB)
    finally:
        server.close()
