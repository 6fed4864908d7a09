"""A web server whose answers are odd: silent, slow or refusing. Run as a program: prints its URL, and serves.

``/hang/…`` is never answered; ``/slow/SECONDS/SIZE`` after that time; ``/status/CODE`` with that status;
``/stall/SIZE`` begins and sends no more. ``/open`` answers with the number of requests in progress.
"""

from __future__ import annotations

import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    in_progress = 0
    lock = threading.Lock()

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        kind, *rest = self.path.strip("/").split("/")
        if kind == "open":
            self.answer(200, str(Handler.in_progress).encode())
            return
        with Handler.lock:
            Handler.in_progress += 1
        try:
            self.odd(kind, rest)
        finally:
            with Handler.lock:
                Handler.in_progress -= 1

    def odd(self, kind: str, rest: list[str]) -> None:
        if kind == "hang":
            self.wait_for_close()
        elif kind == "slow":
            time.sleep(float(rest[0]))
            self.answer_range(int(rest[1]))
        elif kind == "status":
            self.answer(int(rest[0]), b"")
        elif kind == "stall":
            self.send_response(200)
            self.send_header("Content-Length", rest[0])
            self.send_header("ETag", '"1"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"x")
                self.wait_for_close()
        else:
            self.answer(404, b"")

    def wait_for_close(self) -> None:
        """Returns when the client closes the connection."""
        self.rfile.read(1)
        self.close_connection = True

    def answer_range(self, size: int) -> None:
        body = bytes(size)
        asked = self.headers.get("Range")
        if asked is None:
            self.answer(200, body)
            return
        start, _, end = asked.removeprefix("bytes=").partition("-")
        first = int(start)
        last = min(int(end) if end else size - 1, size - 1)
        self.answer(206, body[first : last + 1], f"bytes {first}-{last}/{size}")

    def answer(self, status: int, body: bytes, content_range: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        if content_range is not None:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            socketserver.BaseServer.handle_error(self, request, client_address)  # type: ignore[arg-type]


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
