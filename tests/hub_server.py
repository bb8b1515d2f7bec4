"""A hub on this machine: one repository, served as huggingface_hub asks for it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class Served:
    """A repository's files, which of them were asked for, and what every answer is instead."""

    files: dict[str, bytes]
    licence: str
    endpoint: str = ""
    fetched: list[str] = field(default_factory=list)
    refusal: tuple[int, str] | None = None

    def answer(self, path: str, *, with_body: bool) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers."""
        if self.refusal is not None:
            return self.refusal[0], b"{}", {"X-Error-Code": self.refusal[1]}
        if path.startswith("/api/models/org/name"):
            about = self.tree() if path.startswith("/api/models/org/name/tree/") else self.about()
            return 200, json.dumps(about).encode(), {}
        name = path.rsplit("/", 1)[1]
        if path != f"/org/name/resolve/{COMMIT}/{name}" or name not in self.files:
            return 404, b"{}", {"X-Error-Code": "RepoNotFound"}
        if with_body:
            self.fetched.append(name)
        headers = {"ETag": f'"{digest(self.files[name])}"', "X-Repo-Commit": COMMIT}
        return 200, self.files[name], headers

    def tree(self) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": name, "size": len(data), "oid": digest(data)}
            for name, data in self.files.items()
        ]

    def about(self) -> dict[str, Any]:
        siblings = [{"rfilename": name, "size": len(data)} for name, data in self.files.items()]
        return {
            "id": "org/name",
            "modelId": "org/name",
            "sha": COMMIT,
            "cardData": {"license": self.licence},
            "siblings": siblings,
            "private": False,
            "tags": [],
        }


@contextmanager
def serve(folder: Path, licence: str) -> Iterator[Served]:
    """Serve `folder` as the repository org/name."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    served = Served(files, licence)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(with_body=True)

        def do_HEAD(self) -> None:
            self.reply(with_body=False)

        def reply(self, *, with_body: bool) -> None:
            code, body, headers = served.answer(self.path.split("?")[0], with_body=with_body)
            self.send_response(code)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def digest(data: bytes) -> str:
    """A name for the data's version."""
    return hashlib.sha1(data).hexdigest()
