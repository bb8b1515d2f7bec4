from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import CHECKOUT, HEAVY_MODULES

PACKAGE = CHECKOUT / "fakescan"
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports_on_loading(path: Path) -> Iterator[str]:
    """Top-level packages that loading this module loads: not in functions, not for types only."""
    waiting: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)


@pytest.mark.skipif(
    not (CHECKOUT / "pyproject.toml").is_file(), reason="the contract is in the checkout"
)
def test_imports_go_downwards_only(tmp_path: Path) -> None:
    script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", script, "--no-cache"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_outgrows_its_reader(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 400


LIGHT = [
    path
    for path in MODULES
    if name_of(path).startswith(("cli/", "records/", "sources/"))
    or name_of(path) in {"__init__.py", "__main__.py", "weights.py", "codestream.py"}
]


@pytest.mark.parametrize("path", LIGHT, ids=name_of)
def test_what_help_loads_is_light(path: Path) -> None:
    assert not set(imports_on_loading(path)) & set(HEAVY_MODULES)


def test_heavy_modules_are_found_where_they_are() -> None:
    # The rule above would pass if it saw nothing.
    assert "torch" in set(imports_on_loading(PACKAGE / "model.py"))
    assert {"numpy", "PIL"} <= set(imports_on_loading(PACKAGE / "images.py"))
    assert "torch" not in set(imports_on_loading(PACKAGE / "weights.py"))


def test_records_import_nothing_else_of_ours() -> None:
    for path in (PACKAGE / "records").glob("*.py"):
        ours = re.findall(r"^from (fakescan\S*)", path.read_text("utf-8"), re.MULTILINE)
        assert all(name.startswith("fakescan.records.") for name in ours)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))
