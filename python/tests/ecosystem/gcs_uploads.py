"""A proxy in front of fake-gcs-server that translates uploads and copies of the XML API, which it refuses, to JSON's.

`python gcs_uploads.py PORT SERVER_PORT` listens on PORT. All other requests pass unchanged. The client of
object_store, and so Headstart, writes to Google Cloud Storage by the XML API.
"""

from __future__ import annotations

import http.client
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_port: int
    parts: ClassVar[dict[str, dict[int, bytes]]] = {}

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = parse_qs(url.query, keep_blank_values=True)
        bucket, _, key = url.path.lstrip("/").partition("/")
        xml = key and bucket not in ("storage", "upload", "download", "_internal")
        if xml and self.command == "PUT" and "x-goog-copy-source" in self.headers:
            self.copy(bucket, key)
        elif xml and self.command == "PUT" and "partNumber" in query:
            self.parts[query["uploadId"][0]][int(query["partNumber"][0])] = body
            self.answer(200, b"", {"ETag": '"part"'})
        elif xml and self.command == "PUT":
            self.upload(bucket, key, body)
        elif xml and self.command == "POST" and "uploads" in query:
            upload = f"{key}-{len(self.parts)}"
            self.parts[upload] = {}
            text = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            self.answer(200, text.encode(), {})
        elif xml and self.command == "POST" and "uploadId" in query:
            parts = self.parts.pop(query["uploadId"][0])
            self.upload(bucket, key, b"".join(parts[n] for n in sorted(parts)), complete=True)
        elif xml and self.command == "DELETE" and "uploadId" in query:
            self.parts.pop(query["uploadId"][0], None)
            self.answer(204, b"", {})
        else:
            self.relay(*self.ask(self.command, self.path, body, dict(self.headers)))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = handle_any  # noqa: N815

    def upload(self, bucket: str, key: str, body: bytes, complete: bool = False) -> None:
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(unquote(key), safe='')}"
        if self.headers.get("x-goog-if-generation-match") == "0":  # the server ignores it
            there, _, _ = self.ask("GET", f"/storage/v1/b/{bucket}/o/{quote(unquote(key), safe='')}", b"", {})
            if there == 200:
                self.answer(412, b"", {})
                return
        status, headers, data = self.ask("POST", path, body, {"Content-Type": "application/octet-stream"})
        if status != 200:
            self.relay(status, headers, data)
            return
        made = json.loads(data)
        tag = {"ETag": made.get("etag") or '"new"', "x-goog-generation": str(made.get("generation", 1))}
        text = "<CompleteMultipartUploadResult><ETag>tag</ETag></CompleteMultipartUploadResult>" if complete else ""
        self.answer(200, text.encode(), tag)

    def copy(self, bucket: str, key: str) -> None:
        source_bucket, _, source = unquote(self.headers["x-goog-copy-source"]).lstrip("/").partition("/")
        target = quote(unquote(key), safe="")
        path = f"/storage/v1/b/{source_bucket}/o/{quote(source, safe='')}/rewriteTo/b/{bucket}/o/{target}"
        status, headers, data = self.ask("POST", path, b"{}", {"Content-Type": "application/json"})
        if status == 200:
            self.answer(200, b"<CopyObjectResult></CopyObjectResult>", {})
        else:
            self.relay(status, headers, data)

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server_port)
        headers = {name: value for name, value in headers.items() if name.lower() not in ("connection", "host")}
        connection.request(method, path, body, {**headers, "Host": f"127.0.0.1:{self.server_port}"})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), data

    def relay(self, status: int, headers: dict[str, str], data: bytes) -> None:
        skip = ("transfer-encoding", "connection", "date", "server")
        headers = {name: value for name, value in headers.items() if name.lower() not in skip}
        if self.command != "HEAD":
            headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
        self.answer(status, data, headers)

    def answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.command != "HEAD" and status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


if __name__ == "__main__":
    Proxy.server_port = int(sys.argv[2])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Proxy).serve_forever()
