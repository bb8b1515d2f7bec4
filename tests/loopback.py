"""A small web server on the loopback that can misbehave, and S3 there."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers by the server's table of paths; counts what it is asked."""

    protocol_version = "HTTP/1.1"
    server: LoopbackServer

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *arguments: Any) -> None:
        pass

    def _answer(self) -> None:
        plain = self.path.partition("?")[0]
        self.server.asked[f"{self.command} {plain}"] += 1
        self.server.headers.append(dict(self.headers))
        answer = self.server.answers.get(plain)
        try:
            if answer is None:
                self.status(404)
            elif isinstance(answer, bytes):
                self.file(answer)
            else:
                answer(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def status(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def file(self, data: bytes, **headers: str) -> None:
        """A file as good servers send it: with its version, whole or in ranges."""
        status, body = 200, data
        wanted = self.headers.get("Range")
        if wanted is not None:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            if int(first) >= len(data):
                self.status(416)
                return
            status, body = 206, data[int(first) : int(last) + 1 if last else None]
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(body) - 1}/{len(data)}"
        self.send_response(status)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        fields = {"ETag": f'"{hash(data)}"', "Last-Modified": "Wed, 01 Jan 2025 10:00:00 GMT"}
        for name, value in {**fields, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


class LoopbackServer(ThreadingHTTPServer):
    """`answers` by path: bytes, or a function of the handler. `asked` counts "GET /path"."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, bytes | Answer] = {}
        self.asked: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def hang(self, handler: Handler) -> None:
        """Say nothing until the test ends."""
        self.released.wait(60)
        handler.close_connection = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that hang up are a part of the tests


@contextmanager
def serve() -> Iterator[LoopbackServer]:
    with LoopbackServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()


def failing(times: int, data: bytes, status: int = 503) -> Answer:
    """Fails so many GETs, then sends the file."""
    left = [times]

    def answer(handler: Handler) -> None:
        if handler.command == "GET" and left[0]:
            left[0] -= 1
            handler.status(status)
        else:
            handler.file(data)

    return answer


def endless(handler: Handler) -> None:
    """Announces nothing, and sends for ever."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    while handler.command == "GET":
        handler.wfile.write(bytes(1 << 20))


def dripping(handler: Handler) -> None:
    """A byte now and then."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while handler.command == "GET":
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.05)
