from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    BRIGHT,
    CARD,
    DARK,
    GREY,
    HEAVY_MODULES,
    FakeBackend,
    Spawn,
    declared_ai,
    noisy,
    plain,
    run,
    save_tiny_model,
)

from fakescan import __version__, pipeline
from fakescan.records import Source

PICTURES = Path(__file__).parent / "pictures"

COMMANDS = ("scan", "inspect", "train", "evaluate", "models")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "photos"
    top.mkdir()
    return top


@pytest.fixture
def three(folder: Path) -> Path:
    """One picture that the model calls AI, one uncertain, one real."""
    for name, level in (("ai", BRIGHT), ("between", GREY), ("real", DARK)):
        (folder / f"{name}.png").write_bytes(plain(level))
    return folder


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong beforehand is said before a model is loaded or a file read."""
    monkeypatch.setattr(pipeline, "load_detectors", lambda *a: pytest.fail("loaded a model"))
    monkeypatch.setattr(Source, "open", lambda source: pytest.fail("opened a file"))


# Help and start


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_has_help(command: str, flag: str) -> None:
    outcome = run(command, flag)
    assert outcome.code == 0
    assert f"fakescan {command}" in outcome.stdout
    assert "--help" in outcome.stdout


def test_help_names_every_command_and_the_exit_codes() -> None:
    text = run("--help").stdout
    assert all(re.search(rf"^\s+{command}\s", text, re.MULTILINE) for command in COMMANDS)
    assert "130 interrupted" in " ".join(run("scan", "--help").stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import fakescan",
        "import fakescan.cli",
        "import sys; sys.argv = ['fakescan', '--help']; import fakescan.cli; fakescan.cli.main()",
        "import sys; sys.argv = ['x', 'scan', '-h']; import fakescan.cli; fakescan.cli.main()",
        "import sys; sys.argv = ['x', 'train', '-h']; import fakescan.cli; fakescan.cli.main()",
        "import sys; sys.argv = ['x', '--version']; import fakescan.cli; fakescan.cli.main()",
    ],
)
def test_starting_loads_nothing_heavy(code: str) -> None:
    script = f"""
import sys
try:
    exec({code!r})
except SystemExit:
    pass
print(*sorted(set({HEAVY_MODULES!r}) & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stderr.decode().strip() == ""


def test_version_names_program_and_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run("--version").stdout == f"fakescan {__version__} (models: none)\n"
    monkeypatch.setenv("FAKESCAN_WEIGHTS", str(tmp_path))
    save_tiny_model(tmp_path)
    outcome = run("--version")
    assert outcome.stdout == f"fakescan {__version__} (models: brightness 1.0.0)\n"
    assert outcome.code == 0


def test_models_are_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKESCAN_WEIGHTS", str(tmp_path))
    save_tiny_model(tmp_path)
    outcome = run("models")
    assert outcome.code == 0
    assert "brightness" in outcome.stdout
    assert CARD.domain.description in outcome.stdout


# Exit codes


def test_done(three: Path, fake_backend: FakeBackend) -> None:
    assert run("scan", three).code == 0


def test_an_empty_folder_is_done_and_says_so(folder: Path, fake_backend: FakeBackend) -> None:
    outcome = run("scan", folder)
    assert (outcome.code, outcome.stdout) == (0, "")
    assert "No images found." in outcome.stderr


def test_fail_on_ai(three: Path, fake_backend: FakeBackend) -> None:
    assert run("scan", three, "--fail-on-ai").code == 1
    (three / "ai.png").unlink()
    assert run("scan", three, "--fail-on-ai").code == 0


def test_an_interruption_while_models_load_is_said(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "scan", interrupt)
    outcome = run("scan", three)
    assert (outcome.code, outcome.stderr) == (130, "fakescan: interrupted\n")


def test_an_edit_is_not_what_fail_on_ai_asks_for() -> None:
    retouched = PICTURES / "generators" / "retouched.jpg"
    outcome = run("scan", retouched, "--fail-on-ai", "--json")
    assert [row["verdict"] for row in rows(outcome.stdout)] == ["ai_edit"]
    assert outcome.code == 0


def test_a_table_with_no_space_for_it_is_one_line(tmp_path: Path) -> None:
    declared = PICTURES / "generators" / "declared.webp"
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m fakescan scan "{declared}" --no-store >/dev/full', sys.executable],
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == b"fakescan: no space is left where the output goes"


def test_ai_found_outranks_unreadable_files(three: Path, fake_backend: FakeBackend) -> None:
    (three / "broken.png").write_bytes(b"")
    assert run("scan", three, "--fail-on-ai").code == 1
    assert run("scan", three).code == 3


def test_a_missing_path_is_a_row_and_exit_code_3(tmp_path: Path, fake_backend: FakeBackend) -> None:
    outcome = run("scan", tmp_path / "gone.png", "--json")
    assert outcome.code == 3
    (row,) = rows(outcome.stdout)
    assert (row["status"], row["verdict"]) == ("not_found", None)
    assert "1 not_found" in outcome.stderr
    assert "Next:" not in run("scan", tmp_path / "missing.png", "--no-store").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--report", "gone/out.csv"], "folder gone doesn't exist"),
        (["--report", "photos"], "suffixes .csv"),
        (["--report", "out.xlsx"], "suffixes .csv"),
        (["--report", "out.csv", "--report", "./out.csv"], "named twice"),
        (["input.csv", "--report", "input.csv"], "is also to be scanned"),
        (["input.csv", "--report", "linked.csv"], "is also to be scanned"),
        (["zip://a.png::input.csv", "--report", "input.csv"], "is also to be scanned"),
        (["--list", "input.csv", "--report", "linked.csv"], "is also a --list"),
        (["--list", "input.csv", "--store", "linked.csv"], "is also a --list"),
        (["photos/ai.png", "--store", "photos/ai.png"], "is also to be scanned"),
        (["--report", "out.json", "--store", "out.json"], "named twice"),
        (["--report", "out.json", "--overlay", "out.json"], "also --overlay"),
        (["--report", "n" * 252 + ".csv"], "its name is too long"),
    ],
)
def test_a_report_that_cannot_be_is_said_before_anything_is_read(
    three: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(three.parent)
    Path("input.csv").write_text("mine")
    Path("linked.csv").symlink_to("input.csv")
    forbid_reading(monkeypatch)
    outcome = run("scan", "photos", *arguments)
    assert outcome.code == 2
    assert message in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1
    assert outcome.stdout == ""
    assert Path("input.csv").read_text() == "mine"
    assert not Path("out.csv").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["scan"],
        ["scan", ".", "--batch-size", "0"],
        ["scan", ".", "--max-fpr", "0.6"],
        ["scan", ".", "--unknown"],
        ["scan", ".", "--backend", "abacus"],
        ["fly"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert "Traceback" not in outcome.stderr
    assert outcome.stderr or "Usage" in outcome.stdout


def test_weights_that_are_not_the_cards_are_one_line(three: Path, tiny_model: Path) -> None:
    with tiny_model.open("ab") as file:
        file.write(b"x")
    outcome = run("scan", three, "--model", tiny_model)
    assert outcome.code == 2
    assert re.fullmatch(r"fakescan: .*SHA-256 .* is not the card's .*\n", outcome.stderr)


def test_a_card_of_an_unknown_architecture_is_one_line(three: Path, tiny_model: Path) -> None:
    card = tiny_model.with_suffix(".json")
    document = json.loads(card.read_text())
    document["architecture"]["name"] = "perceptron"
    card.write_text(json.dumps(document))
    outcome = run("scan", three, "--model", tiny_model)
    assert outcome.code == 2
    assert outcome.stderr.startswith("fakescan: unknown architecture 'perceptron'")
    assert len(outcome.stderr.splitlines()) == 1


def test_an_unknown_model_is_one_line(three: Path) -> None:
    outcome = run("scan", three, "--model", "gone")
    assert (outcome.code, outcome.stdout) == (2, "")
    assert outcome.stderr == (
        "fakescan: there is no model 'gone'; known: none, or a .safetensors file\n"
    )


def test_a_rate_below_what_was_measured_is_one_line(three: Path, tiny_model: Path) -> None:
    outcome = run("scan", three, "--model", tiny_model, "--max-fpr", "0.0001")
    assert outcome.code == 2
    assert "can promise no less than 0.005" in outcome.stderr


# Output


def test_json_lines_are_all_that_standard_output_gets(
    three: Path, fake_backend: FakeBackend
) -> None:
    outcome = run("scan", three, "--json")
    found = rows(outcome.stdout)
    assert [(os.path.basename(row["path"]), row["verdict"]) for row in found] == [
        ("ai.png", "ai"),
        ("between.png", "uncertain"),
        ("real.png", "real"),
    ]
    assert all(row["schema_version"] == 1 for row in found)
    assert "3 files: 1 AI, 0 edited with AI, 1 no sign of AI, 1 uncertain." in outcome.stderr


def test_reports_leave_standard_output_empty(
    three: Path, tmp_path: Path, fake_backend: FakeBackend
) -> None:
    paths = [tmp_path / f"out.{suffix}" for suffix in ("csv", "json", "jsonl")]
    flags = [flag for path in paths for flag in ("--report", path)]
    outcome = run("scan", three, *flags)
    assert (outcome.code, outcome.stdout) == (0, "")
    with paths[0].open(newline="", encoding="utf-8") as file:
        verdicts = [row["verdict"] for row in csv.DictReader(file)]
    assert verdicts == ["ai", "uncertain", "real"]
    document = json.loads(paths[1].read_text())
    assert [row["verdict"] for row in document["findings"]] == verdicts
    assert document["models"][0]["name"] == "brightness"
    assert document["settings"]["max_false_positive_rate"] == 0.01
    assert [row["verdict"] for row in rows(paths[2].read_text())] == verdicts


def test_the_table_of_a_few_files_answers_on_each(three: Path, fake_backend: FakeBackend) -> None:
    outcome = run("scan", three)
    places = [outcome.stdout.index(f"{name}.png") for name in ("ai", "between", "real")]
    assert places == sorted(places)
    assert "--report out.csv" in outcome.stderr


def test_the_table_of_many_files_shows_what_was_flagged(
    three: Path, fake_backend: FakeBackend
) -> None:
    for number in range(10):
        (three / f"more-{number}.png").write_bytes(plain(DARK))
    outcome = run("scan", three)
    assert "ai.png" in outcome.stdout
    assert "real.png" not in outcome.stdout


def test_a_report_inside_the_folder_is_never_scanned(
    three: Path, fake_backend: FakeBackend
) -> None:
    report = three / "out.jsonl"
    for _ in range(2):
        assert run("scan", three, "--report", report).code == 0
        assert len(rows(report.read_text())) == 3
    assert "not images" not in run("scan", three, "--report", report).stderr


def test_two_scans_of_the_same_files_are_equal(
    three: Path, tmp_path: Path, fake_backend: FakeBackend
) -> None:
    reports = []
    for number, flags in enumerate(([], [], ["--no-store"], ["--rescan", "--batch-size", "1"])):
        report = tmp_path / f"{number}.csv"
        run("scan", three, "--report", report, *flags)
        reports.append(report.read_bytes())
    assert len(set(reports)) == 1


def test_without_a_model_metadata_still_decides(folder: Path) -> None:
    (folder / "a.png").write_bytes(declared_ai())
    outcome = run("scan", folder, "--json")
    (row,) = rows(outcome.stdout)
    assert (row["verdict"], row["reason"], row["score"]) == ("ai", "declared_ai", None)
    assert "No model is installed" in outcome.stderr


@pytest.mark.parametrize(
    "name",
    ["new\nline.png", "quo\"te's.png", "=cmd.png", "\udcff\udcfe.png", "tab\t.png", "[bold].png"],
)
def test_odd_names_survive_every_output(
    folder: Path, tmp_path: Path, fake_backend: FakeBackend, name: str
) -> None:
    (folder / name).write_bytes(plain(BRIGHT))
    (row,) = rows(run("scan", folder, "--json").stdout)
    shown = str(folder / name).encode("utf-8", "replace").decode().replace("?", "\ufffd")
    assert row["path"] == shown
    report = tmp_path / "out.csv"
    assert run("scan", folder, "--report", report).code == 0
    with report.open(newline="", encoding="utf-8") as file:
        (cells,) = csv.DictReader(file)
    assert cells["path"] == shown
    assert run("scan", folder).code == 0
    assert run("inspect", folder / name).code == 0


def test_options_reach_the_scan(three: Path, fake_backend: FakeBackend) -> None:
    (three / ".hidden.png").write_bytes(plain())
    (three / "linked").symlink_to(three.parent / "other")
    (three.parent / "other").mkdir()
    (three.parent / "other" / "far.png").write_bytes(plain())

    def names(*flags: str) -> set[str]:
        found = rows(run("scan", three, "--json", "--no-store", *flags).stdout)
        return {os.path.basename(row["path"]) for row in found}

    assert names("--hidden") - names() == {".hidden.png"}
    assert names("--follow-links") - names() == {"far.png"}
    fake_backend.batches.clear()
    assert len(names("--batch-size", "2", "--workers", "1")) == 3
    assert fake_backend.batches == [2, 1]
    found = rows(run("scan", three, "--json", "--max-pixels", "100").stdout)
    assert {row["status"] for row in found} == {"too_large"}
    loose = rows(run("scan", three, "--json", "--max-fpr", "0.05").stdout)
    assert {row["model"]["threshold_ai"] for row in loose} == {0.6}


def test_the_number_of_windows_is_an_option(folder: Path, fake_backend: FakeBackend) -> None:
    (folder / "a.png").write_bytes(noisy(1, (96, 96)))
    for crops in (1, 4):
        (row,) = rows(run("scan", folder, "--json", "--crops", str(crops)).stdout)
        assert len(row["model"]["crops"]) == crops


# Paths on standard input


def test_paths_on_standard_input(three: Path, fake_backend: FakeBackend) -> None:
    text = "\n".join(str(three / name) for name in ("real.png", "ai.png")) + "\n"
    found = rows(run("scan", "-", "--json", stdin=text.encode()).stdout)
    assert [os.path.basename(row["path"]) for row in found] == ["real.png", "ai.png"]


def test_a_url_in_a_list_costs_no_other_row(
    three: Path, tmp_path: Path, fake_backend: FakeBackend
) -> None:
    lines = ["https://h/a.jpg", str(three / "ai.png")]
    (tmp_path / "list").write_text("\n".join(lines))
    outcome = run("scan", "--list", tmp_path / "list", "--json")
    assert outcome.code == 3
    assert [(row["path"], row["status"]) for row in rows(outcome.stdout)] == [
        (lines[0], "permission_denied"),
        (lines[1], "ok"),
    ]


def test_lists_may_end_their_lines_as_windows_does(
    three: Path, tmp_path: Path, fake_backend: FakeBackend
) -> None:
    (three / "odd.png\r").write_bytes(plain())
    names = ("real.png", "ai.png", "odd.png\r")
    (tmp_path / "list").write_bytes(
        b"".join(os.fsencode(three / name) + b"\r\n" for name in names) + b"\r\n"
    )
    found = rows(run("scan", "--list", tmp_path / "list", "--json").stdout)
    assert [os.path.basename(row["path"]) for row in found] == list(names)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--store", "s", "--no-store"), "--store and --no-store contradict each other"),
        (("--decode-seconds", "5"), "--decode-seconds and --decode-memory need --isolate"),
        (("--decode-memory", "512"), "--decode-seconds and --decode-memory need --isolate"),
        (("-0",), "-0 is of paths from a list"),
        (("--remote-seconds", "30"), "--remote-seconds needs --remote"),
        (("--rescan", "--no-store"), "--rescan is of what a store knows"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    folder: Path, flags: tuple[str, ...], line: str
) -> None:
    outcome = run("scan", folder, *flags)
    assert outcome.code == 2
    assert outcome.stderr.startswith(f"fakescan: {line}")


def test_a_scan_passes_over_its_own_overlays_and_nothing_else(
    three: Path, tiny_model: Path
) -> None:
    command = ("scan", three, "--model", tiny_model, "--overlay", three, "--overlay-all")
    first = rows(run(*command, "--json").stdout)
    assert sum(row["overlay"] is not None for row in first) == 3
    assert len(list(three.iterdir())) == 6
    assert rows(run(*command, "--json").stdout) == first
    # Names like theirs that others give: a UUID, a time.
    for name in ("550e8400-e29b-41d4-a716-446655440000.png", "img-202401011234.png"):
        (three / name).write_bytes(plain())
    assert len(rows(run(*command, "--json").stdout)) == 5


def test_a_mistake_of_ours_does_not_say_that_ai_was_found(
    three: Path, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import fakescan.pipeline as p; p.scan = None; from fakescan.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program, "scan", str(three)], capture_output=True)
    assert done.returncode == 2
    assert b"Traceback" in done.stderr


def test_paths_on_standard_input_end_in_nul_when_asked(
    folder: Path, fake_backend: FakeBackend
) -> None:
    (folder / "a\nb.png").write_bytes(plain())
    text = os.fsencode(folder / "a\nb.png") + b"\0"
    (row,) = rows(run("scan", "-", "-0", "--json", stdin=text).stdout)
    assert row["status"] == "ok"


# The store


def test_the_same_command_again_decodes_nothing(
    three: Path, fake_backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run("scan", three, "--json").stdout
    monkeypatch.setattr(pipeline, "decode_image", lambda *a, **k: pytest.fail("decoded"))
    assert run("scan", three, "--json").stdout == first
    assert Path(os.environ["XDG_CACHE_HOME"], "fakescan").is_dir()


def test_nothing_is_kept_when_asked(three: Path, fake_backend: FakeBackend) -> None:
    run("scan", three, "--no-store")
    assert not Path(os.environ["XDG_CACHE_HOME"]).exists()


def test_the_store_can_be_named(three: Path, tmp_path: Path, fake_backend: FakeBackend) -> None:
    path = tmp_path / "mine.sqlite3"
    run("scan", three, "--store", path)
    assert path.stat().st_size > 0
    assert not Path(os.environ["XDG_CACHE_HOME"]).exists()
    batches = list(fake_backend.batches)
    run("scan", three, "--store", path)
    assert fake_backend.batches == batches


def test_a_store_that_is_none_stops_no_scan(
    three: Path, tmp_path: Path, fake_backend: FakeBackend
) -> None:
    path = tmp_path / "mine.sqlite3"
    path.write_bytes(b"not a database" * 100)
    before = path.read_bytes()
    outcome = run("scan", three, "--store", path)
    assert outcome.code == 0
    assert "can't be used (file is not a database); nothing is remembered" in outcome.stderr
    assert path.read_bytes() == before


# inspect


def test_inspect_never_draws_over_the_picture(folder: Path, fake_backend: FakeBackend) -> None:
    picture = folder / "a.png"
    picture.write_bytes(plain(GREY))
    (folder / "link.png").symlink_to("a.png")
    for overlay in ("a.png", "link.png"):
        outcome = run("inspect", picture, "--overlay", folder / overlay)
        assert (outcome.code, len(outcome.stderr.splitlines())) == (2, 1)
        assert "is the file to inspect" in outcome.stderr
    assert picture.read_bytes() == plain(GREY)


def test_names_longer_than_any_file_has(folder: Path, fake_backend: FakeBackend) -> None:
    name = "n" * 300 + ".png"
    for command in (("inspect", name), ("scan", name, "--no-store")):
        outcome = run(*command)
        assert outcome.code == 3
        assert "Traceback" not in outcome.stderr


def test_a_model_of_such_a_name_is_one_line(three: Path) -> None:
    outcome = run("scan", three, "--model", "n" * 300)
    assert (outcome.code, len(outcome.stderr.splitlines())) == (2, 1)


def test_inspect_refuses_an_option_that_would_do_nothing(three: Path) -> None:
    outcome = run("inspect", three / "ai.png", "--remote-seconds", "5")
    assert outcome.code == 2
    assert "--remote-seconds needs --remote" in outcome.stderr


@pytest.mark.parametrize("flags", [["scan"], ["inspect"], ["inspect", "--json"]])
def test_output_that_is_not_utf8(
    folder: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    picture = folder / "gr\u00fcn.png"
    picture.write_bytes(declared_ai())
    command = [sys.executable, "-m", "fakescan", *flags, str(picture)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr.count(b"Traceback")) == (0, 0)
    assert ("gr\u00fcn.png".encode() if "--json" in flags else b"gr?n.png") in done.stdout


def test_inspect_shows_where_a_mark_is(folder: Path, fake_backend: FakeBackend) -> None:
    (folder / "a.png").write_bytes(declared_ai())
    text = run("inspect", folder / "a.png").stdout
    assert "The file declares that AI made it" in text
    assert "@ 33" in text  # a PNG's chunks begin there, after its header
    assert "Steps: 28" in text


def test_inspect_as_json_is_the_scans_record(three: Path, fake_backend: FakeBackend) -> None:
    path = three / "ai.png"
    (row,) = rows(run("scan", path, "--json").stdout)
    outcome = run("inspect", path, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.stdout) == row


def test_inspect_of_an_unreadable_file(folder: Path, fake_backend: FakeBackend) -> None:
    (folder / "a.png").write_bytes(b"")
    outcome = run("inspect", folder / "a.png")
    assert outcome.code == 3
    assert "The file has no bytes." in outcome.stdout
    assert "No mark" not in outcome.stdout


def test_inspect_of_a_picture_without_marks(folder: Path, fake_backend: FakeBackend) -> None:
    (folder / "a.png").write_bytes(plain(0))
    assert "No mark of origin was found." in run("inspect", folder / "a.png").stdout


# Pipes, signals and full disks, in a process of their own


@pytest.fixture
def many(folder: Path) -> Path:
    """Files enough that their rows don't fit into a pipe's buffer."""
    for number in range(400):
        (folder / f"{number:03}.png").write_bytes(plain(number % 256))
    return folder


def test_a_reader_that_leaves_early_is_no_error(many: Path, spawn: Spawn) -> None:
    process = spawn("scan", many, "--json", "--no-store")
    assert process.stdout is not None and process.stderr is not None
    first = process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read().decode()
    assert process.wait(30) == 0
    assert json.loads(first)["path"].endswith("000.png")
    assert "Traceback" not in errors and "Broken" not in errors


@pytest.mark.parametrize("command", [["scan", "--no-store"], ["inspect"]])
def test_a_reader_of_the_table_that_leaves_early_is_no_error(
    folder: Path, spawn: Spawn, command: list[str]
) -> None:
    (folder / "a.png").write_bytes(declared_ai())
    process = spawn(*command, folder / "a.png")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read().decode()
    # Not 1, which would say that AI was found.
    assert process.wait(30) == 0
    assert "Traceback" not in errors and "Broken" not in errors


@pytest.mark.parametrize("flag", ["--json", "--fail-on-ai"])
def test_a_reader_that_leaves_early_ends_no_report(
    many: Path, tmp_path: Path, spawn: Spawn, flag: str
) -> None:
    report = tmp_path / "out.csv"
    (many / "zz.png").write_bytes(declared_ai())
    process = spawn("scan", many, "--json", "--no-store", "--report", report, flag)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == (1 if flag == "--fail-on-ai" else 0)
    with report.open(newline="") as stream:
        assert len(list(csv.reader(stream))) == 1 + len(list(many.iterdir()))


def test_a_reader_of_the_table_that_leaves_early_hides_no_ai(many: Path, spawn: Spawn) -> None:
    (many / "zz.png").write_bytes(declared_ai())
    process = spawn("scan", many, "--no-store", "--fail-on-ai")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["scan", ".", "--no-store", "--report", "out.csv"], 0),
        (["scan", "nothere.png", "--no-store"], 3),
        (["scan"], 2),
        (["--help"], 0),
        (["--version"], 0),
        (["inspect", "--json", "a.png"], 0),
    ],
)
def test_no_reader_at_all_changes_no_exit_code_to_that_of_ai(
    folder: Path, spawn: Spawn, arguments: list[str], code: int
) -> None:
    (folder / "a.png").write_bytes(plain(1))
    reading, writing = os.pipe()
    os.close(reading)
    process = spawn(*arguments, cwd=folder, stdout=writing, stderr=writing)
    os.close(writing)
    assert process.wait(60) == code


@pytest.mark.parametrize(
    ("closed", "flags", "code"),
    [
        (">&-", "", 0),
        ("2>&-", "", 0),
        (">&- 2>&-", "", 0),
        (">&-", "--report out.csv", 0),
        ("2>&-", "--json", 0),
        (">&-", "--json", 2),
        (">/dev/full", "--json", 2),
        ("2>/dev/full", "", 0),
        ("2>/dev/full", "gone.png", 3),
        ("2>/dev/full", "--report gone/out.csv", 2),
        ("2>/dev/full", "--unknown", 2),
        (">/dev/full 2>/dev/full", "", 2),
    ],
)
def test_closed_and_full_streams(
    three: Path, tmp_path: Path, closed: str, flags: str, code: int
) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m fakescan scan photos --no-store {flags} {closed}', sys.executable],
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    if flags == "--report out.csv":
        assert len((tmp_path / "out.csv").read_text().splitlines()) == 4


def test_a_closed_standard_input_has_no_paths(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" -m fakescan scan - --no-store <&-', sys.executable],
        cwd=tmp_path,
        capture_output=True,
    )
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"No images found." in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_report_on_a_full_disk_is_one_line(
    three: Path, tmp_path: Path, fake_backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The temporary file is a link to the device that is always full.
    report = tmp_path / "out.csv"
    real_open = open

    def open_full(path: Any, *arguments: Any, **options: Any) -> Any:
        if ".out.csv.tmp" in str(path):
            return real_open("/dev/full", "w", encoding="utf-8", newline="")
        return real_open(path, *arguments, **options)

    monkeypatch.setattr("builtins.open", open_full)
    outcome = run("scan", three, "--report", report)
    assert outcome.code == 2
    assert outcome.stderr.splitlines()[-1] == (
        f"fakescan: The report {report} can't be written: No space left on device."
    )
    assert not report.exists()


def test_an_interrupted_scan_says_so(many: Path, tmp_path: Path, spawn: Spawn) -> None:
    # Its paths never end, so that it runs until it is interrupted.
    process, errors = end_by_signal(signal.SIGINT, many, tmp_path, spawn)
    assert process.returncode == 130
    assert re.search(rb"Interrupted after \d+ files; the same command goes on from here", errors)
    assert b"Traceback" not in errors
    assert not (tmp_path / "out.csv").exists()


def test_an_interruption_after_the_last_word_changes_nothing() -> None:
    script = (
        "import os, signal; from fakescan.cli import main\n"
        "try: main()\n"
        "finally: os.kill(os.getpid(), signal.SIGINT)"
    )
    command = [sys.executable, "-c", script, "--version"]
    ended = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_end_a_scan_as_an_interruption_does(
    many: Path, tmp_path: Path, spawn: Spawn, number: signal.Signals
) -> None:
    process, errors = end_by_signal(number, many, tmp_path, spawn)
    assert process.returncode == 128 + number
    assert b"Interrupted after" in errors
    assert b"Traceback" not in errors
    assert not list(tmp_path.glob(".out.csv*"))


def test_a_signal_that_is_ignored_stays_so(many: Path, tmp_path: Path, spawn: Spawn) -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process, _ = end_by_signal(signal.SIGHUP, many, tmp_path, spawn)
    finally:
        signal.signal(signal.SIGHUP, previous)
    assert process.returncode == 0
    assert (tmp_path / "out.csv").exists()


def end_by_signal(
    number: signal.Signals, many: Path, tmp_path: Path, spawn: Spawn
) -> tuple[subprocess.Popen[bytes], bytes]:
    """A scan that gets a signal while it waits for paths, of which no more come."""
    paths, writer = os.pipe()
    process = spawn("scan", "-", "--report", tmp_path / "out.csv", stdin=paths)
    os.close(paths)
    with os.fdopen(writer, "wb", 0) as feed:
        feed.write(b"".join(os.fsencode(path) + b"\n" for path in sorted(many.iterdir())))
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".out.csv*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(number)
        time.sleep(0.3)
    return process, process.communicate(timeout=30)[1]


@pytest.mark.slow
def test_a_scan_can_be_interrupted_at_any_moment_once_begun(many: Path) -> None:
    script = (
        "import sys; from fakescan.cli import main; sys.argv[0] = 'fakescan';"
        " print('begun', file=sys.stderr, flush=True); main()"
    )
    command = [sys.executable, "-c", script, "scan", str(many), "--json", "--no-store"]
    codes = set()
    for step in range(20):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr is not None
        assert process.stderr.readline() == b"begun\n"
        time.sleep(0.02 + 0.06 * step)  # from the line to the call it takes a moment
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode in {0, 130}, errors.decode()
        codes.add(process.returncode)
    assert 130 in codes
