"""A scan by workers gives the plain scan's rows, goes on where it stopped, and repeats nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import FakeBackend, declared_ai, noisy, run, save_tiny_model

from fakescan import __version__
from fakescan.distributed import DistributedScan, Introduction, Job, Worker
from fakescan.distributed.parts import TRIES, Manifest, PartFolder
from fakescan.distributed.ray import Pool, plan_pool
from fakescan.distributed.worker import _is_reachable
from fakescan.pipeline import ScanOptions, scan
from fakescan.records import FakescanError, Finding, Measurement, Source, Status
from fakescan.sources.remote import RemoteSource

OLD = 1_700_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "photos"
    for number in range(23):
        path = top / f"{number % 3}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noisy(number) if number % 5 else declared_ai(number))
        os.utime(path, (OLD, OLD))
    (top / "0" / "12.png").write_bytes(noisy(12)[:90])
    os.utime(top / "0" / "12.png", (OLD, OLD))
    (top / "notes.txt").write_text("no picture")
    return top


class LocalEngine:
    """Workers in this process, of which every call and every manifest is remembered."""

    def __init__(self, *_: object, order: int = 1, stop_after: int | None = None) -> None:
        self.measured: list[int] = []
        self.order = order
        self.stop_after = stop_after
        self.is_closed = False

    def introduce(self, job: Job) -> Introduction:
        return Worker(job, 1).introduce()

    def measure(self, job: Job, manifests: Sequence[Manifest]) -> Generator[bool]:
        worker = Worker(job, 1)
        for manifest in manifests[:: self.order]:
            if len(self.measured) == self.stop_after:
                raise KeyboardInterrupt
            self.measured.append(manifest.number)
            yield worker.measure(manifest)

    def close(self) -> None:
        self.is_closed = True


def distribute(
    folder: Path,
    engine: LocalEngine,
    options: ScanOptions | None = None,
    *,
    size: int = 5,
) -> list[Finding]:
    """All findings of a distributed scan, with the parts beside the folder."""
    parts = folder.parent / "parts"
    running = DistributedScan([folder], options or ScanOptions(), engine, parts, manifest_size=size)
    running.find()
    for _ in running.measure():
        pass
    return list(running)


def parts_of(folder: Path) -> dict[str, int]:
    """The parts beside `folder`, with their modification times."""
    found = (folder.parent / "parts").glob("*.part.jsonl")
    return {path.name: path.stat().st_mtime_ns for path in found}


# Manifests


@pytest.mark.parametrize(
    "source",
    [
        Source("photos/a.jpg", 12, 1_700_000_000_000_000_001),
        Source("/\udcff\n\u2028 ä.png", 0, -1),
        Source("gone.png", problem=Status.NOT_FOUND),
    ],
)
def test_sources_come_back_as_they_were(source: Source, tmp_path: Path) -> None:
    parts = PartFolder(tmp_path)
    manifest = parts.write_manifest(1, [source] * 3, "settings", 2**62)
    assert parts.read_manifest(manifest) == [source] * 3


def test_a_manifest_is_named_by_all_that_its_part_hangs_on(tmp_path: Path) -> None:
    parts = PartFolder(tmp_path)
    source = Source("a.png", 5, 1_000)

    def name(one: Source = source, settings: str = "s", settled: int = 2_000) -> str:
        return parts.write_manifest(1, [one], settings, settled).name

    assert name() == name()
    others = [
        name(replace(source, path="b.png")),
        name(replace(source, size_bytes=6)),
        name(replace(source, modified_ns=1_001)),
        name(replace(source, problem=Status.PERMISSION_DENIED)),
        name(settings="t"),
    ]
    assert len({name(), *others}) == 6
    # What changed just now may change again without another size or time.
    assert name(settled=1_000) != name(settled=1_000)


# Parts


def a_part(folder: Path) -> tuple[PartFolder, Manifest, list[Measurement]]:
    parts = PartFolder(folder)
    manifest = parts.write_manifest(7, [Source("a"), Source("b"), Source("c")], "", 0)
    measurements = [Measurement(Status.OK, width=number) for number in range(3)]
    unfinished = parts.begin(manifest)
    assert unfinished is not None
    parts.finish(manifest, unfinished, measurements)
    return parts, manifest, measurements


def test_a_part_comes_back_as_it_was(tmp_path: Path) -> None:
    parts, manifest, measurements = a_part(tmp_path)
    assert parts.has_part(manifest)
    assert parts.read_part(manifest) == measurements
    parts.remove([manifest])
    assert not tmp_path.exists()


def test_a_part_has_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    parts = PartFolder(tmp_path)
    manifest = parts.write_manifest(1, [Source("a"), Source("b")], "", 0)
    unfinished = parts.begin(manifest)
    assert unfinished is not None

    def break_off() -> Iterator[Measurement]:
        yield Measurement(Status.OK)
        assert not parts.has_part(manifest)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parts.finish(manifest, unfinished, break_off())
    assert not list(tmp_path.glob("*.part.jsonl"))


def test_a_manifest_is_begun_a_few_times_at_most(tmp_path: Path) -> None:
    parts = PartFolder(tmp_path)
    manifest = parts.write_manifest(1, [Source("a")], "", 0)
    tries = [parts.begin(manifest) for _ in range(TRIES + 1)]
    assert len(set(tries)) == TRIES + 1
    assert tries[-1] is None
    parts.forget_tries(manifest)
    assert parts.begin(manifest) == tries[0]


def flip(data: bytes) -> bytes:
    place = data.index(b'"width":1')
    return data[: place + 8] + b"2" + data[place + 9 :]


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data.split(b"\n", 1)[1],
        lambda data: data + b"\n",
        lambda data: b"\0" * len(data),
        flip,
    ],
)
def test_damage_is_seen(tmp_path: Path, harm: Any) -> None:
    parts, manifest, _ = a_part(tmp_path)
    (path,) = tmp_path.glob("*.part.jsonl")
    path.write_bytes(harm(path.read_bytes()))
    assert not parts.has_part(manifest)
    with pytest.raises(FakescanError, match=r"missing or damaged; the same command"):
        parts.read_part(manifest)
    assert not path.exists()


def test_a_part_of_fewer_than_its_manifest_is_none(tmp_path: Path) -> None:
    parts, manifest, _ = a_part(tmp_path)
    assert not parts.has_part(replace(manifest, count=4))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FakescanError, match=r"--parts .*file/parts: Not a directory\."):
        PartFolder(tmp_path / "file" / "parts").create()


# The scan


@pytest.mark.parametrize("size", [1, 5, 23, 1_000])
@pytest.mark.parametrize("order", [1, -1])
def test_findings_are_those_of_the_plain_scan(
    folder: Path, fake_backend: FakeBackend, size: int, order: int
) -> None:
    engine = LocalEngine(order=order)
    assert distribute(folder, engine, size=size) == list(scan([folder]))
    assert sorted(engine.measured) == list(range(1, -(-23 // size) + 1))


def test_a_stopped_scan_goes_on_and_repeats_nothing(
    folder: Path, fake_backend: FakeBackend
) -> None:
    first = LocalEngine(stop_after=3)
    with pytest.raises(KeyboardInterrupt):
        distribute(folder, first)
    done = parts_of(folder)
    assert len(done) == 3
    second = LocalEngine()
    assert distribute(folder, second) == list(scan([folder]))
    assert (first.measured, second.measured) == ([1, 2, 3], [4, 5])
    assert done.items() <= parts_of(folder).items()
    third = LocalEngine()
    distribute(folder, third)
    assert third.measured == []


def test_what_changed_is_measured_again(folder: Path, fake_backend: FakeBackend) -> None:
    distribute(folder, LocalEngine())
    os.utime(folder / "1" / "10.png", (OLD, OLD + 1))  # the twelfth of the sources
    again = LocalEngine()
    assert distribute(folder, again) == list(scan([folder]))
    assert again.measured == [3]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (ScanOptions(max_false_positive_rate=0.05), 0),
        (ScanOptions(batch_size=3, workers=2), 0),
        (ScanOptions(decode_seconds=1.0), 0),
        (ScanOptions(crops=2), 5),
        (ScanOptions(max_pixels=500), 5),
        (ScanOptions(rescan=True), 5),
        (ScanOptions(isolate=True), 5),
    ],
)
def test_parts_of_other_settings_are_not_taken(
    folder: Path, fake_backend: FakeBackend, options: ScanOptions, count: int
) -> None:
    distribute(folder, LocalEngine())
    again = LocalEngine()
    assert distribute(folder, again, options) == list(scan([folder], options))
    assert len(again.measured) == count


def test_a_damaged_part_is_measured_again(folder: Path, fake_backend: FakeBackend) -> None:
    distribute(folder, LocalEngine())
    (damaged,) = (folder.parent / "parts").glob("0000002-*.part.jsonl")
    damaged.write_bytes(damaged.read_bytes()[:-9])
    again = LocalEngine()
    assert distribute(folder, again) == list(scan([folder]))
    assert again.measured == [2]


def test_what_cannot_be_measured_costs_nothing_else(
    folder: Path, fake_backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    measurements = Worker.measurements

    def end_at_the_third(worker: Worker, sources: Sequence[Source]) -> Iterator[Measurement]:
        if any(source.path.endswith("10.png") for source in sources):
            raise SystemExit  # as near to a process that ends as one process allows
        return measurements(worker, sources)

    class Restarting(LocalEngine):
        def measure(self, job: Job, manifests: Sequence[Manifest]) -> Generator[bool]:
            worker = Worker(job, 1)
            for manifest in manifests:
                # What a lost process leaves behind, its try included.
                unfinished = None
                while True:
                    self.measured.append(manifest.number)
                    try:
                        yield worker.measure(manifest)
                        break
                    except SystemExit:
                        unfinished = worker._parts.begin(manifest)
                        assert unfinished is not None

    monkeypatch.setattr(Worker, "measurements", end_at_the_third)
    engine = Restarting()
    with pytest.raises(
        FakescanError, match=r"^1 of 5 parts are missing.*07\.png to .*19\.png\..*--isolate"
    ):
        distribute(folder, engine)
    assert engine.measured == [1, 2, *[3] * (TRIES + 1), 4, 5]
    assert len(parts_of(folder)) == 4
    monkeypatch.undo()
    monkeypatch.setattr("fakescan.pipeline.load_detectors", lambda options: (fake_backend,))
    mended = LocalEngine()
    assert distribute(folder, mended) == list(scan([folder]))
    assert mended.measured == [3]


def test_nothing_found_is_no_work(tmp_path: Path, fake_backend: FakeBackend) -> None:
    (tmp_path / "photos").mkdir()
    engine = LocalEngine()
    assert distribute(tmp_path / "photos", engine) == []
    assert engine.measured == []


# Workers


def test_a_worker_that_would_measure_otherwise_does_not(
    folder: Path, fake_backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mixed(LocalEngine):
        def introduce(self, job: Job) -> Introduction:
            introduction = super().introduce(job)
            fake_backend.precision = "fp16"
            return introduction

    with pytest.raises(FakescanError, match="would measure otherwise"):
        distribute(folder, Mixed())
    assert not list((folder.parent / "parts").glob("*.try-*"))


def test_workers_run_the_same_program(folder: Path, fake_backend: FakeBackend) -> None:
    class Older(LocalEngine):
        def introduce(self, job: Job) -> Introduction:
            return replace(super().introduce(job), version="0.0.1")

    with pytest.raises(FakescanError, match=rf"run fakescan 0\.0\.1, and this is {__version__}"):
        distribute(folder, Older())


def test_storage_that_is_not_there_is_no_result(folder: Path, fake_backend: FakeBackend) -> None:
    class Elsewhere(LocalEngine):
        def measure(self, job: Job, manifests: Sequence[Manifest]) -> Generator[bool]:
            folder.rename(folder.with_name("unmounted"))
            return super().measure(job, manifests)

    with pytest.raises(FakescanError, match=r"sees none of 5 files such as .*photos/0/00\.png"):
        distribute(folder, Elsewhere())
    assert not parts_of(folder)


def test_a_file_deleted_before_its_turn_has_a_row(folder: Path, fake_backend: FakeBackend) -> None:
    class Deleting(LocalEngine):
        def measure(self, job: Job, manifests: Sequence[Manifest]) -> Generator[bool]:
            (folder / "1" / "01.png").unlink()
            return super().measure(job, manifests)

    found = distribute(folder, Deleting())
    assert [one.source.path[-6:] for one in found if one.status is Status.NOT_FOUND] == ["01.png"]


def test_a_manifest_whose_only_file_is_gone_has_a_row(
    folder: Path, fake_backend: FakeBackend
) -> None:
    gone = folder / "1" / "gone.png"
    worker = Worker(Job(ScanOptions(), folder, str(folder)), 1)
    (measurement,) = worker.measurements([Source(str(gone), 5, 0)])
    assert measurement.status is Status.NOT_FOUND
    elsewhere = RemoteSource.at("http://127.0.0.1:9/gone.png", 1.0)
    assert _is_reachable(elsewhere)
    (folder / "empty").mkdir()
    with pytest.raises(FakescanError, match="sees none of 1 files"):
        list(worker.measurements([Source(str(folder / "empty" / "a.png"), 5, 0)]))


def test_relative_paths_need_their_folder(tmp_path: Path, fake_backend: FakeBackend) -> None:
    job = Job(ScanOptions(), tmp_path, str(tmp_path / "gone"))
    worker = Worker(job, 1)
    assert list(worker.measurements([Source("/dev/null/a.png", problem=Status.NOT_FOUND)]))
    with pytest.raises(FakescanError, match=r"no folder .*gone, where a\.png would be"):
        list(worker.measurements([Source("a.png")]))


# Ray's pool


@pytest.mark.parametrize(
    ("nodes", "device", "pool"),
    [
        ([{"CPU": 2.0}], "auto", Pool(1, 2, 0)),
        ([{"CPU": 16.0}], "auto", Pool(4, 4, 0)),
        ([{"CPU": 10.0}], "auto", Pool(2, 5, 0)),
        ([{"CPU": 8.0}, {"CPU": 64.0}, {"memory": 1.0}], "cpu", Pool(18, 4, 0)),
        ([{"CPU": 16.0, "GPU": 1.0}], "auto", Pool(1, 16, 1)),
        ([{"CPU": 16.0, "GPU": 1.0}], "cpu", Pool(4, 4, 0)),
        (
            [{"CPU": 96.0, "GPU": 8.0}, {"CPU": 16.0}, {"CPU": 8.0, "GPU": 1.0}],
            "cuda",
            Pool(9, 8, 1),
        ),
        ([{"CPU": 2.0, "GPU": 8.0}], "auto", Pool(2, 1, 1)),
    ],
)
def test_nodes_are_divided_among_actors(
    nodes: list[dict[str, float]], device: str, pool: Pool
) -> None:
    assert plan_pool(nodes, device) == pool


@pytest.mark.parametrize(
    ("nodes", "device", "words"),
    [
        ([{"CPU": 2.0}], "cuda", "has no GPUs"),
        ([{"CPU": 2.0, "GPU": 1.0}], "cuda:1", "write cuda"),
        ([{"memory": 1.0}], "auto", "start workers"),
    ],
)
def test_what_nodes_cannot_give_is_said(
    nodes: list[dict[str, float]], device: str, words: str
) -> None:
    with pytest.raises(FakescanError, match=words):
        plan_pool(nodes, device)


# The command line


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch, fake_backend: FakeBackend) -> list[LocalEngine]:
    """Every engine that the command line made in place of Ray."""
    made: list[LocalEngine] = []

    def make(*arguments: object) -> LocalEngine:
        made.append(LocalEngine(*arguments))
        return made[-1]

    monkeypatch.setattr("fakescan.distributed.ray.RayEngine", make)
    return made


RAY = ("--engine", "ray", "--manifest-size", "5")


def test_reports_are_those_of_the_plain_scan(
    folder: Path, tmp_path: Path, engines: list[LocalEngine]
) -> None:
    outcomes = {}
    for name, flags in {"plain": ("--no-store",), "ray": RAY}.items():
        (tmp_path / name).mkdir()
        suffixes = (".csv", ".json", ".jsonl", ".html")
        reports = [tmp_path / name / f"out{suffix}" for suffix in suffixes]
        words = [word for report in reports for word in ("--report", report)]
        outcome = run("scan", folder, *words, *flags)
        table = run("scan", folder, *flags)
        lines = run("scan", folder, "--json", "--fail-on-ai", *flags)
        outcomes[name] = (outcome, table, lines, [report.read_bytes() for report in reports])
    assert outcomes["plain"] == outcomes["ray"]
    assert outcomes["ray"][0].code == 3
    assert outcomes["ray"][2].code == 1
    assert [len(engine.measured) for engine in engines] == [5, 0, 0]
    assert all(engine.is_closed for engine in engines)


def test_parts_lie_beside_the_store_or_where_told(
    folder: Path, tmp_path: Path, engines: list[LocalEngine]
) -> None:
    run("scan", folder, *RAY)
    run("scan", folder / "1", *RAY)
    kept = list((Path(os.environ["XDG_CACHE_HOME"]) / "fakescan" / "parts").glob("*/*.part.jsonl"))
    assert len(kept) == 5 + 2
    assert len({path.parent for path in kept}) == 2
    # A folder for parts within what is scanned is no part of it.
    outcome = run("scan", folder, *RAY, "--parts", folder / "parts")
    assert outcome.stderr == run("scan", folder, *RAY, "--parts", folder / "parts").stderr
    assert "1 file skipped" in outcome.stderr
    assert len(list((folder / "parts").glob("*.part.jsonl"))) == 5
    assert [len(engine.measured) for engine in engines] == [5, 2, 5, 0]
    outcome = run("scan", folder, *RAY, "--parts", tmp_path / "gone" / "parts", "--no-store")
    assert outcome.code == 3
    assert not (tmp_path / "gone" / "parts").exists()


def test_shards_lists_and_standard_input(
    folder: Path, tmp_path: Path, engines: list[LocalEngine]
) -> None:
    plain_rows = run("scan", folder, "--json", "--no-store").stdout.splitlines()
    halves = [
        run("scan", folder, "--json", *RAY, "--shard", f"{index}/2").stdout.splitlines()
        for index in (1, 2)
    ]
    assert all(halves)
    assert sorted(halves[0] + halves[1]) == sorted(plain_rows)
    listed = tmp_path / "list"
    listed.write_text(f"{folder}\n")
    assert run("scan", "--list", listed, "--json", *RAY).stdout.splitlines() == plain_rows
    piped = run("scan", "-", "--json", *RAY, stdin=os.fsencode(folder) + b"\n")
    assert piped.stdout.splitlines() == plain_rows


def test_isolated_workers(folder: Path, engines: list[LocalEngine]) -> None:
    rows = run("scan", folder, "--json", "--isolate", *RAY)
    assert rows.stdout == run("scan", folder, "--json", "--isolate", "--no-store").stdout
    assert engines[0].measured == [1, 2, 3, 4, 5]


def test_overlays_are_drawn_at_the_merge(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fakescan.distributed.ray.RayEngine", LocalEngine)
    model = save_tiny_model(tmp_path / "models")
    flags = ("--json", "--model", model, "--overlay", tmp_path / "overlays", "--overlay-all")
    by_workers = run("scan", folder, *flags, *RAY)
    overlays = {path.name: path.read_bytes() for path in (tmp_path / "overlays").iterdir()}
    assert len(overlays) == 22
    assert by_workers.stdout == run("scan", folder, *flags, "--no-store").stdout
    assert {one.name: one.read_bytes() for one in (tmp_path / "overlays").iterdir()} == overlays


def test_ctrl_c_says_that_the_same_command_goes_on(
    folder: Path, fake_backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LocalEngine(stop_after=2)
    monkeypatch.setattr("fakescan.distributed.ray.RayEngine", lambda address: engine)
    outcome = run("scan", folder, *RAY)
    assert outcome.code == 130
    assert outcome.stderr == (
        "Interrupted after 2 of 5 parts; the same command goes on from here.\n"
    )
    assert engine.is_closed
    engine.stop_after = None
    assert run("scan", folder, *RAY).code == 3
    assert engine.measured == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--parts", "x"), "--parts needs --engine ray."),
        (("--manifest-size", "5"), "--manifest-size needs --engine ray."),
        (("--ray-address", "auto"), "--ray-address needs --engine ray."),
        (("--engine", "ray", "--store", "x"), "leave out --store"),
        (("--engine", "ray", "--ray-address", "ray://head:10001"), "HOST:6379"),
    ],
)
def test_options_that_mean_nothing_are_one_line(
    folder: Path, fake_backend: FakeBackend, flags: tuple[str, ...], words: str
) -> None:
    outcome = run("scan", folder, *flags)
    assert outcome.code == 2
    assert len(outcome.stderr.splitlines()) == 1
    assert words in outcome.stderr


def test_ray_that_is_not_installed_is_one_line(
    folder: Path, fake_backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fakescan.distributed.ray.find_spec", lambda name: None)
    outcome = run("scan", folder, "--engine", "ray")
    assert (outcome.code, outcome.stderr) == (
        2,
        "fakescan: Ray is not installed: pip install '.[ray]' in fakescan's folder\n",
    )


def test_the_plain_scan_loads_nothing_of_this(folder: Path) -> None:
    script = "import sys; from fakescan.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script, "scan", str(folder), "--no-store"],
        capture_output=True,
        text=True,
    )
    loaded = done.stdout.splitlines()[-1].split()
    assert "fakescan.pipeline" in loaded
    assert not {"ray", "fakescan.distributed"} & set(loaded)
