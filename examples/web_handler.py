"""A WSGI application that answers a posted picture with its record: POST /, the bytes as the body.

Usage: python examples/web_handler.py [PORT]
Then: curl --data-binary @picture.jpg http://127.0.0.1:8000/

Uploads come from strangers, so everything has a limit, and each picture is decoded in a process of
its own, which costs about half a second. Nothing of an upload outlives its answer. Put a server
before it that limits connections and the time that a body may take to arrive.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakescan import ScanOptions, scan, to_record
from fakescan.pipeline import load_detectors

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

MAX_BYTES = 32 << 20
MAX_AT_ONCE = 2
OPTIONS = ScanOptions(
    workers=1,
    max_pixels=64_000_000,
    isolate=True,
    decode_seconds=10.0,
    decode_memory=1024,
)


def make_application(
    options: ScanOptions = OPTIONS, max_bytes: int = MAX_BYTES
) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    """The application; it loads the models once and may be called by any number of threads."""
    detectors = load_detectors(options)
    places = threading.BoundedSemaphore(MAX_AT_ONCE)

    def look(body: bytes) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "upload")
            path.write_bytes(body)
            (finding,) = scan([path], options, detectors=detectors)
        record = to_record(finding)
        del record["path"], record["path_base64"], record["modified_at"]  # ours, not the upload's
        return record

    def answer(environment: WSGIEnvironment) -> tuple[str, dict[str, Any]]:
        if environment["REQUEST_METHOD"] != "POST":
            return "405 Method Not Allowed", {"error": "post the bytes of a picture"}
        try:
            length = int(environment.get("CONTENT_LENGTH") or "")
        except ValueError:
            return "411 Length Required", {"error": "the length must be told"}
        if not 0 < length <= max_bytes:
            return "413 Content Too Large", {"error": f"1 to {max_bytes} bytes, please"}
        if not places.acquire(timeout=30):
            return "503 Service Unavailable", {"error": "busy; try again later"}
        try:
            body = environment["wsgi.input"].read(length)
            if len(body) < length:
                return "400 Bad Request", {"error": "the body ended early"}
            return "200 OK", look(body)
        finally:
            places.release()

    def application(environment: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status, record = answer(environment)
        body = json.dumps(record, ensure_ascii=False).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [body]

    return application


def main() -> None:
    """Serve on this machine only."""
    from wsgiref.simple_server import make_server

    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    with make_server("127.0.0.1", port, make_application()) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
