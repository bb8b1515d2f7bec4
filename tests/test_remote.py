from __future__ import annotations

import io
import json
import os
import pickle
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import FakeBackend, noisy, plain, run
from loopback import LoopbackServer, dripping, endless, failing, serve
from test_archives import write_tar, write_zip
from test_offline import _SCAN, run_without_sockets

from fakescan import images
from fakescan.images import read_bytes
from fakescan.pipeline import ScanOptions, scan
from fakescan.records import Source, Status, Unreadable
from fakescan.sources import Shard, SourceFinder, failures, keys, remote, streams
from fakescan.sources.remote import RemoteSource
from fakescan.store import Store

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "PAUSES", (0.0, 0.0))
    for name in tuple(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with serve() as running:
        yield running


def find(*paths: str, seconds: float = 5.0, **options: Any) -> list[Source]:
    return list(SourceFinder(paths, remote_seconds=seconds, **options))


def read(url: str, seconds: float = 5.0, **options: Any) -> bytes | Status:
    (source,) = find(url, seconds=seconds)
    data = read_bytes(source.resolve(), **options)
    return data.status if isinstance(data, Unreadable) else data


def rows(*arguments: str | Path) -> list[dict[str, Any]]:
    outcome = run("scan", "--remote", *arguments, "--json", "--no-store")
    return [json.loads(line) for line in outcome.stdout.splitlines()]


# Nothing without the flag


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.png", "zip://a.png::s3://bucket/x.zip"])
def test_without_the_flag_a_url_is_one_line_and_opens_no_socket(tmp_path: Path, url: str) -> None:
    done = run_without_sockets(_SCAN, "scan", url, "--no-store")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "--remote" in done.stderr
    (tmp_path / "list").write_text(f"{url}\n")
    done = run_without_sockets(_SCAN, "scan", "--list", tmp_path / "list", "--json", "--no-store")
    assert done.returncode == 3
    assert json.loads(done.stdout)["status"] == "permission_denied"


def test_archives_here_open_no_socket(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", {"a.png": noisy(1)})
    done = run_without_sockets(_SCAN, "scan", tmp_path / "x.zip", "--json", "--no-store")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_from_python_too(fake_backend: FakeBackend) -> None:
    (finding,) = scan(["http://127.0.0.1:9/a.png"])
    assert finding.status is Status.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("url", "package"),
    [("https://h/a.png", "fsspec"), ("s3://b/a.png", "s3fs"), ("gs://b/a.png", "gcsfs")],
)
def test_a_missing_package_is_one_line(
    monkeypatch: pytest.MonkeyPatch, fake_backend: FakeBackend, url: str, package: str
) -> None:
    monkeypatch.setattr(sys.modules["fsspec.registry"], "_registry", {})
    monkeypatch.setitem(sys.modules, package, None)
    outcome = run("scan", "--remote", url)
    assert outcome.code == 2
    (line,) = outcome.stderr.splitlines()
    assert line.endswith(
        f"{package} is not installed: pip install '.[remote]' in fakescan's folder"
    )


# http


def test_findings_are_those_of_the_files(
    server: LoopbackServer, tmp_path: Path, fake_backend: FakeBackend
) -> None:
    files = {f"{n:02}.png": plain(6 * n) for n in range(30)} | {"broken.jpg": b"\xff\xd8\xff"}
    (tmp_path / "photos").mkdir()
    for name, data in files.items():
        (tmp_path / "photos" / name).write_bytes(data)
        server.answers[f"/photos/{name}"] = data
    urls = [f"{server.url}/photos/{name}" for name in files]
    (tmp_path / "urls").write_text("\n".join(urls))
    ours, plainly = rows("--list", tmp_path / "urls"), rows(tmp_path / "photos")
    assert [row["path"] for row in ours] == urls
    assert {row["modified_at"] for row in ours} == {"2025-01-01T10:00:00Z"}
    for row in (*ours, *plainly):
        del row["path"], row["modified_at"]
    assert ours == plainly


def test_a_url_is_a_source_whatever_its_name(server: LoopbackServer) -> None:
    server.answers["/image"] = noisy(1)
    assert read(f"{server.url}/image?id=3") == noisy(1)
    assert [source.path for source in find(f"{server.url}/image?id=3")] == [
        f"{server.url}/image?id=3"
    ]


def test_ranges_and_doubles(server: LoopbackServer) -> None:
    urls = (f"{server.url}/{{1..3}}.png", f"{server.url}/2.png")
    assert [source.path[-5:] for source in find(*urls)] == ["1.png", "2.png", "3.png"]
    parts = [[source.path for source in find(*urls, shard=Shard(n, 2))] for n in (1, 2)]
    assert sorted(parts[0] + parts[1]) == [source.path for source in find(*urls)]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (404, Status.NOT_FOUND),
        (410, Status.NOT_FOUND),
        (403, Status.PERMISSION_DENIED),
        (401, Status.PERMISSION_DENIED),
        (400, Status.READ_ERROR),
    ],
)
def test_refusals_are_statuses_at_once(
    server: LoopbackServer, status: int, expected: Status
) -> None:
    server.answers["/a.png"] = lambda handler: handler.status(status)
    assert read(f"{server.url}/a.png") is expected
    assert server.asked["GET /a.png"] == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(server: LoopbackServer, status: int) -> None:
    server.answers["/a.png"] = failing(2, noisy(1), status)
    assert read(f"{server.url}/a.png") == noisy(1)
    assert server.asked["GET /a.png"] == 3
    server.answers["/b.png"] = failing(3, noisy(1), status)
    assert read(f"{server.url}/b.png") is Status.READ_ERROR
    assert server.asked["GET /b.png"] == 3


def test_a_body_that_breaks_off_is_tried_again(server: LoopbackServer) -> None:
    def cut(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(b"x" * 10)
            handler.close_connection = True

    server.answers["/a.png"] = cut
    assert read(f"{server.url}/a.png") is Status.READ_ERROR
    assert server.asked["GET /a.png"] == 3


def test_nobody_there_is_a_row() -> None:
    with serve() as gone:
        url = gone.url
    assert read(f"{url}/a.png") is Status.READ_ERROR


def test_silence_is_a_row(server: LoopbackServer) -> None:
    server.answers["/a.png"] = server.hang
    begin = time.monotonic()
    assert read(f"{server.url}/a.png", seconds=0.2) is Status.READ_ERROR
    assert time.monotonic() - begin < 20


def test_a_drip_ends(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "ANSWER_SECONDS", 0.5)
    server.answers["/a.png"] = dripping
    assert read(f"{server.url}/a.png") is Status.READ_ERROR
    assert server.asked["GET /a.png"] == 1


def test_an_endless_file_is_too_large(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_METADATA_ALLOWANCE", 40 << 20)
    server.answers["/a.png"] = endless
    asked: list[int] = []
    assert read(f"{server.url}/a.png", max_pixels=1, reserve=asked.append) is Status.TOO_LARGE
    assert 40 << 20 <= sum(asked) <= 80 << 20


def test_a_file_longer_than_announced_is_read_and_reserved_for(server: LoopbackServer) -> None:
    data = noisy(1) + bytes(3_000_000)

    def lie(handler: Any) -> None:
        if handler.command == "HEAD":
            handler.file(b"short")
        else:
            handler.file(data)

    server.answers["/a.png"] = lie
    asked: list[int] = []
    assert read(f"{server.url}/a.png", reserve=asked.append) == data
    assert sum(asked) >= len(data)


def test_a_file_announced_larger_than_any_picture_is_not_asked_for(
    server: LoopbackServer,
) -> None:
    def huge(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 50))
        handler.end_headers()

    server.answers["/a.png"] = huge
    assert read(f"{server.url}/a.png") is Status.TOO_LARGE
    assert server.asked["GET /a.png"] == 0
    assert server.asked["HEAD /a.png"] == 1


def test_a_server_without_head(server: LoopbackServer) -> None:
    def answer(handler: Any) -> None:
        if handler.command == "HEAD":
            handler.status(405)
        else:
            handler.file(noisy(1))

    server.answers["/a.png"] = answer
    (finding,) = scan([f"{server.url}/a.png"], ScanOptions(remote=True), detectors=())
    assert (finding.status, finding.source.size_bytes) == (Status.OK, len(noisy(1)))


def test_names_that_are_quoted_arrive_as_given(server: LoopbackServer) -> None:
    seen: list[str] = []

    def answer(handler: Any) -> None:
        seen.append(handler.path)
        handler.file(noisy(1))

    server.answers["/a%20b%2Fc.png"] = answer
    assert read(f"{server.url}/a%20b%2Fc.png?X=a%2Bb%2F+c") == noisy(1)
    assert set(seen) == {"/a%20b%2Fc.png?X=a%2Bb%2F+c"}
    server.answers["/%C3%A4%20b.png"] = noisy(2)
    assert read(f"{server.url}/ä b.png") == noisy(2)


@pytest.mark.parametrize("url", ["http://", "http://[::1/a.png", "http://h:port/a.png"])
def test_what_is_no_url_is_a_row(url: str) -> None:
    assert isinstance(read(url), Status)


def test_sources_travel(server: LoopbackServer) -> None:
    server.answers["/a.png"] = noisy(1)
    (source,) = find(f"{server.url}/a.png")
    copy = pickle.loads(pickle.dumps(source.resolve()))
    assert copy == source.resolve()
    assert read_bytes(copy) == noisy(1)


# The store


def test_the_store_knows_a_version(
    server: LoopbackServer, tmp_path: Path, fake_backend: FakeBackend
) -> None:
    server.answers["/a.png"] = noisy(1)
    url = f"{server.url}/a.png"
    for requests in (1, 1, 2):
        with Store(tmp_path / "store") as store:
            (finding,) = scan([url], ScanOptions(remote=True), store=store)
            assert finding.status is Status.OK
        assert server.asked["GET /a.png"] == requests
        if server.asked["HEAD /a.png"] == 2:
            server.answers["/a.png"] = noisy(2)


def test_without_a_version_the_content_is_known(
    server: LoopbackServer, tmp_path: Path, fake_backend: FakeBackend
) -> None:
    weak = {"ETag": 'W/"1"', "Last_Modified": "never"}
    server.answers["/a.png"] = lambda handler: handler.file(noisy(1), **weak)
    url = f"{server.url}/a.png?X-Amz-Signature={SECRET}"
    for address in (f"{server.url}/a.png", url):
        server.asked.clear()
        fake_backend.batches.clear()
        for _ in range(2):
            with Store(tmp_path / "store") as store:
                assert next(scan([address], ScanOptions(remote=True), store=store)).score
        assert server.asked["GET /a.png"] == 2
    assert fake_backend.batches == []  # the second address has the first one's content
    assert SECRET.encode() not in (tmp_path / "store").read_bytes()


# Secrets


def test_secrets_reach_nothing(
    server: LoopbackServer, tmp_path: Path, tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = server.url.removeprefix("http://")
    server.answers |= {"/a.png": noisy(1, (40, 40)), "/b.png": lambda handler: handler.status(403)}
    server.answers["/c.png"] = server.hang
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("in/d.png", noisy(2, (40, 40)))
    server.answers["/x.zip"] = zipped.getvalue()
    urls = [
        f"http://user:{SECRET}@{host}/a.png",
        f"http://{host}/a.png?X-Amz-Signature={SECRET}&X-Amz-Date=3",
        f"http://user:{SECRET}@{host}/b.png?token={SECRET}",
        f"http://user:{SECRET}@{host}/c.png?token={SECRET}",
        f"http://user:{SECRET}/{host}@/e.png",
        f"http://user:{SECRET}@{host}/x.zip?token={SECRET}",
    ]
    outputs = [tmp_path / f"out.{end}" for end in ("csv", "json", "jsonl", "html")]
    reports = [part for path in outputs for part in ("--report", path)]
    overlays = ("--overlay", tmp_path / "overlays", "--overlay-all", "--store", tmp_path / "store")
    outcome = run(
        *("scan", "--remote", "--remote-seconds", "0.3", "--model", tiny_model),
        *(*reports, *overlays, *urls),
    )
    assert outcome.code == 3, outcome.stderr
    findings = json.loads(outputs[1].read_text())["findings"]
    assert [(row["path"], row["status"]) for row in findings] == [
        (f"http://{host}/a.png", "ok"),
        (f"http://{host}/a.png?X-Amz-Signature=...&X-Amz-Date=3", "ok"),
        (f"http://{host}/b.png?token=...", "permission_denied"),
        (f"http://{host}/c.png?token=...", "read_error"),
        ("http:///e.png", "not_found"),
        (f"zip://in/d.png::http://{host}/x.zip?token=...", "ok"),
    ]
    assert any("Authorization" in headers for headers in server.headers)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 4 + 2 + 1
    for path in written:
        assert SECRET.encode() not in path.read_bytes(), path
        assert SECRET not in path.name
    for text in (outcome.stdout, outcome.stderr, caplog.text):
        assert SECRET not in text
    shown = run("inspect", "--remote", urls[0], "--model", tiny_model)
    assert shown.code == 0
    assert SECRET not in shown.stdout + shown.stderr
    assert SECRET not in repr(find(*urls[:4]))


# Archives on servers


def test_members_of_remote_archives(server: LoopbackServer, tmp_path: Path) -> None:
    files = {f"{n:03}.jpg": noisy(n) for n in range(50)} | {"x.txt": b"no", "image": noisy(50)}
    server.answers["/x.zip"] = write_zip(tmp_path / "x.zip", files).read_bytes()
    server.answers["/x.tar"] = write_tar(tmp_path / "x.tar", files).read_bytes()
    for protocol in ("zip", "tar"):
        found = find(f"{server.url}/x.{protocol}")
        # In a zip, another request each would tell whether a nameless file is an image.
        expected = [name for name in files if name.endswith("jpg")]
        expected += ["image"] * (protocol == "tar")
        assert [source.path for source in found] == [
            f"{protocol}://{name}::{server.url}/x.{protocol}" for name in expected
        ]
        for source in found:
            assert read_bytes(pickle.loads(pickle.dumps(source))) == files[source.name]
    # All of it fits into a window each.
    assert server.asked["GET /x.tar"] == 1


def test_a_large_tar_is_read_once_for_its_headers_and_in_ranges(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(remote, "WINDOW_BYTES", 1 << 14)
    monkeypatch.setattr("fakescan.sources.archives.WINDOW_BYTES", 1 << 14)
    monkeypatch.setattr(remote, "WINDOWS_KEPT", 2)
    files = {f"{n}.png": noisy(n, (60, 60)) for n in range(20)}
    assert min(map(len, files.values())) > 8_000
    server.answers["/x.tar"] = write_tar(tmp_path / "x.tar", files).read_bytes()
    found = find(f"{server.url}/x.tar")
    indexing = server.asked["GET /x.tar"]
    assert indexing <= 21
    assert [read_bytes(source) for source in found] == list(files.values())
    assert server.asked["GET /x.tar"] - indexing <= 20


def test_a_member_that_fails_is_tried_again(server: LoopbackServer, tmp_path: Path) -> None:
    data = write_tar(tmp_path / "x.tar", {"a.png": noisy(1)}).read_bytes()
    server.answers["/x.tar"] = lambda handler: handler.file(data, ETag="", Last_Modified="")
    (source,) = find(f"{server.url}/x.tar")
    server.answers["/x.tar"] = failing(2, data)
    assert read_bytes(source) == noisy(1)


def test_a_range_is_never_longer_than_asked_for(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_tar(tmp_path / "x.tar", {"a.png": noisy(1), "b.png": noisy(2)}).read_bytes()

    def longer(handler: Any) -> None:
        first = int(handler.headers["Range"].removeprefix("bytes=").partition("-")[0])
        handler.send_response(206)
        handler.send_header("Content-Length", str(len(data) - first))
        handler.end_headers()
        handler.wfile.write(data[first:])

    server.answers["/x.tar"] = data
    sources = find(f"{server.url}/x.tar")
    monkeypatch.setattr(remote, "_WINDOWS", remote._Windows())
    server.answers["/x.tar"] = longer
    assert [read_bytes(source) for source in sources] == [noisy(1), noisy(2)]


def test_an_archive_that_changed_gives_no_mixture(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_tar(tmp_path / "x.tar", {"a.png": noisy(1), "b.png": noisy(2)}).read_bytes()

    def versioned(handler: Any) -> None:
        if handler.headers.get("If-Match", '"2"') != '"2"':
            handler.status(412)
        else:
            handler.file(data, ETag='"2"')

    server.answers["/x.tar"] = lambda handler: handler.file(data, ETag='"1"')
    sources = find(f"{server.url}/x.tar")
    server.answers["/x.tar"] = versioned
    monkeypatch.setattr(remote, "_WINDOWS", remote._Windows())
    assert [
        answer.status if isinstance(answer, Unreadable) else answer
        for answer in map(read_bytes, sources)
    ] == [Status.READ_ERROR] * 2


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_an_archive_that_can_not_be_read_is_a_row(server: LoopbackServer, name: str) -> None:
    def whole_only(handler: Any) -> None:
        handler.headers.replace_header("Range", "") if "Range" in handler.headers else None
        del handler.headers["Range"]
        handler.file(bytes(5000))

    url = f"{server.url}/{name}"
    for answer, status in (
        (None, Status.NOT_FOUND),
        (lambda handler: handler.status(403), Status.PERMISSION_DENIED),
        (b"no archive at all", Status.NOT_AN_IMAGE),
        (whole_only, Status.READ_ERROR),
    ):
        server.answers[f"/{name}"] = answer  # type: ignore[assignment]
        (source,) = find(url)
        assert (source.path, source.problem) == (url, status)
    server.answers[f"/{name}"] = noisy(1)
    assert read(url) == noisy(1)


def test_a_broken_remote_archive_keeps_what_came_before(
    server: LoopbackServer, tmp_path: Path
) -> None:
    files = {"a.png": noisy(1), "b.png": noisy(2)}
    data = write_tar(tmp_path / "x.tar", files).read_bytes()
    server.answers["/x.tar"] = data[: 512 + -(-len(noisy(1)) // 512) * 512 + 100]
    found = find(f"{server.url}/x.tar")
    assert [source.problem for source in found] == [None, Status.TRUNCATED]


# Other file systems, by way of fsspec's own in memory


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import fsspec

    monkeypatch.setitem(keys.REMOTE_PROTOCOLS, "memory", "memory")
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def test_a_folder_is_listed_by_the_bytes_of_its_keys(memory: Any) -> None:
    names = ["b.png", "a/z.png", "a/c/1.png", "é.png", "a.png", "Z.png", ".h.png", ".g/b.png"]
    for name in (*names, "notes.txt", "a/README", "a0/y.png"):
        memory.pipe(f"/top/{name}", noisy(1))
    expected = ["Z.png", "a.png", "a/c/1.png", "a/z.png", "a0/y.png", "b.png", "é.png"]
    for url in ("memory://top", "memory://top/"):
        finder = SourceFinder([url], remote_seconds=5)
        assert [source.path for source in finder] == [f"memory://top/{name}" for name in expected]
        assert finder.other_files == 2
    assert [source.path for source in find("memory://top", hidden=True)][:2] == [
        "memory://top/.g/b.png",
        "memory://top/.h.png",
    ]
    assert [read_bytes(source) for source in find("memory://top/a")] == [noisy(1)] * 2


def test_a_folder_that_can_not_be_listed_hides_no_others(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1.png", "b/2.png", "c/3.png"):
        memory.pipe(f"/top/{name}", noisy(1))
    real = type(memory).ls

    def ls(self: Any, path: str, detail: bool = True) -> Any:
        if path.rstrip("/").endswith("b"):
            raise PermissionError
        # Some servers list a folder's own marker in it.
        own = {"name": self._strip_protocol(path) + "/", "type": "directory", "size": 0}
        return [own, *real(self, path, detail)]

    monkeypatch.setattr(type(memory), "ls", ls)
    assert [(source.path, source.problem) for source in find("memory://top/")] == [
        ("memory://top/a/1.png", None),
        ("memory://top/b/", Status.PERMISSION_DENIED),
        ("memory://top/c/3.png", None),
    ]


def test_files_and_folders_that_are_named(memory: Any) -> None:
    memory.pipe("/top/a.png", noisy(1))
    memory.pipe("/top/nameless", noisy(2))
    assert [source.problem for source in find("memory://gone", "memory://gone/")] == [
        *(Status.NOT_FOUND, Status.NOT_FOUND),
    ]
    assert read("memory://top/a.png") == noisy(1)
    assert read("memory://top/nameless") == noisy(2)
    assert read("memory://top/gone.png") is Status.NOT_FOUND
    assert len(find("memory://top/a.png", "memory://top", "memory://top/a.png")) == 1


def test_archives_there(memory: Any, tmp_path: Path) -> None:
    for protocol, write in (("zip", write_zip), ("tar", write_tar)):
        data = write(tmp_path / "x", {"d/a.png": noisy(1), "d/b.png": noisy(2)}).read_bytes()
        memory.pipe(f"/top/x.{protocol}", data)
        url = f"memory://top/x.{protocol}"
        found = find(f"{protocol}://d/b.png::{url}", url)
        assert [read_bytes(source) for source in found] == [noisy(2), noisy(1)]


def test_what_a_library_raises_is_a_row(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe("/top/a.png", noisy(1))

    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError(f"nobody expects {SECRET}")

    for name in ("_open", "ls"):
        monkeypatch.setattr(type(memory), name, fail)
    assert read("memory://top/a.png") is Status.READ_ERROR
    (source,) = find("memory://top/")
    assert (source.path, source.problem) == ("memory://top/", Status.READ_ERROR)


def test_times_of_every_kind() -> None:
    from datetime import UTC, datetime

    from fakescan.sources.servers import Facts, facts_of

    moment = datetime(2025, 1, 1, 10, 0, 0, 250_000, UTC)
    expected = 1_735_725_600_250_000_000
    for info in (
        {"LastModified": moment},
        {"mtime": moment},
        {"updated": "2025-01-01T10:00:00.250Z"},
    ):
        assert facts_of(info) == Facts(modified_ns=expected)
    for value in ("", "yesterday", 3, datetime(2025, 1, 1), None):
        assert facts_of({"mtime": value, "size": "-1", "ETag": 'W/"1"'}) == Facts()
    assert facts_of({"size": 3, "blob_id": "a"}) == Facts(3, None, "a")


def test_only_tar_headers_are_held(server: LoopbackServer) -> None:
    """A walk over a large shard keeps one window, and the last few for others."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        entry = tarfile.TarInfo("a.png")
        entry.size = 80 << 20
        tar.addfile(entry, io.BytesIO(bytes(80 << 20)))
        tar.addfile(tarfile.TarInfo("b.png"))
    server.answers["/x.tar"] = stream.getvalue()
    assert len(find(f"{server.url}/x.tar")) == 2
    assert server.asked["GET /x.tar"] == 2


def test_a_remote_source_says_what_it_is() -> None:
    source = RemoteSource.at(f"https://u:{SECRET}@h/d/a%20b.DNG?x=.jpg", 5)
    assert source.name == "/d/a b.DNG"
    assert SECRET not in repr(source)
