"""The README tells the truth about commands, exit codes, files and the public names."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import make_pictures
import pytest
import typer

import fakescan
from fakescan.cli import app
from fakescan.records import MetadataStatus, Reason, Says, Status, Tier, Verdict
from fakescan.reports.record import COLUMNS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def commands() -> dict[str, typer.core.TyperCommand]:
    return typer.main.get_command(app).commands  # type: ignore[attr-defined,no-any-return]


def test_readme_names_every_command() -> None:
    for name in commands():
        assert f"`fakescan {name}" in README, f"README's table lacks {name}"


def test_readme_uses_only_options_that_exist() -> None:
    options = {
        option for command in commands().values() for p in command.params for option in p.opts
    }
    used = {
        word.split("=")[0]
        for line in re.findall(r"fakescan (?:scan|inspect|train|evaluate|models)[^`\n]*", README)
        for word in line.split()
        if re.fullmatch(r"--[a-z-]+", word)
    }
    assert used
    assert used <= options | {"--help"}


def test_every_command_and_option_has_help() -> None:
    for name, command in commands().items():
        assert command.help, name


def test_every_column_status_and_reason_is_told() -> None:
    text = (ROOT / "docs" / "reports.md").read_text("utf-8")
    columns = text[text.index("## Columns") : text.index("## In JSON alone")]
    told = [
        name
        for line in columns.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    assert told == list(COLUMNS)
    for one in (*Status, *Reason):
        assert f"| `{one.value}` | {one.sentence} |" in text
    for one in (*Verdict, *Says, *Tier, *MetadataStatus):
        assert f"`{one.value}`" in text


def test_readme_names_every_exit_code() -> None:
    line = next(
        line for line in README.splitlines() if line.startswith("`fakescan COMMAND --help`")
    )
    following = README[README.index(line) :][:400]
    for code in ("0 done", "1 `--fail-on-ai`", "2 did not run", "3 done", "130 interrupted"):
        assert code in " ".join(following.split())


def test_tree_in_readme_is_the_tree_on_disk() -> None:
    tree = README[README.index("## The house") :]
    named = set(re.findall(r"^  (\w+(?:\.py|/)) ", tree, re.MULTILINE))
    present = {
        path.name + ("/" if path.is_dir() else "")
        for path in (ROOT / "fakescan").iterdir()
        if not path.name.startswith("_") and path.suffix in {"", ".py"}
    }
    assert named == present


def test_public_names_are_all_there() -> None:
    for name in fakescan.__all__:
        assert getattr(fakescan, name) is not None


def test_example_pictures_are_what_the_script_renders(tmp_path: Path) -> None:
    """Sizes and marks, not bytes: encoders differ from one release to the next."""
    make_pictures.make(tmp_path)
    rendered = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    committed = ROOT / "tests" / "pictures"
    assert rendered == {
        path.relative_to(committed) for path in committed.rglob("*") if path.is_file()
    }


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert "grep -m 1 -F '[test]' README.md" in script
    lines = [line for line in README.splitlines() if "[test]" in line]
    assert len(lines) == 1
    words = shlex.split(lines[0])
    assert words[-3:] == [".venv/bin/python", "-m", "pytest"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_wheel_installs_in_a_bare_environment_and_scans(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    program = tmp_path / "venv" / "bin" / "fakescan"
    # The models that come along, and not those that other tests do without.
    environment = {name: value for name, value in os.environ.items() if "FAKESCAN" not in name}
    models = subprocess.run(
        [str(program), "--version"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert "cifake-resnet18" in models.stdout
    scanned = subprocess.run(
        [str(program), "scan", str(ROOT / "tests" / "pictures"), "--json", "--no-store"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert scanned.returncode == 3
    assert len(scanned.stdout.splitlines()) == 12
    shutil.rmtree(tmp_path / "venv")  # torch is gigabytes, and pytest keeps the last three runs
