"""Programs as their users write them pass the strictest type checkers there are, over headrace's names and over litellm's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from tools import litellm_stubs

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))
WRONG = Path(__file__).parent / "programs" / "wrong.py"
Check: TypeAlias = Callable[..., set[tuple[str, int]]]


def mypy(cache: Path, *programs: Path) -> set[tuple[str, int]]:
    """Where it finds mistakes."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(cache), *map(str, programs)]
    done = subprocess.run(command, cwd=cache, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 1), done.stderr
    return {(Path(found[1]).name, int(found[2])) for found in re.finditer(r"^(.+?):(\d+): error", done.stdout, re.MULTILINE)}


def pyright(project: Path, *programs: Path) -> set[tuple[str, int]]:
    """The same of pyright, in the edition that brings its own Node and needs no network."""
    settings = {"include": [str(program) for program in programs], "typeCheckingMode": "strict"}
    (project / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--project", str(project), "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300, check=False)
    told = json.loads(done.stdout)
    assert told["summary"]["filesAnalyzed"] >= len(programs), done.stderr
    errors = [found for found in told["generalDiagnostics"] if found["severity"] == "error"]
    return {(Path(found["file"]).name, found["range"]["start"]["line"] + 1) for found in errors}


@pytest.mark.parametrize("check", [mypy, pyright])
@pytest.mark.timeout(300)
def test_mistakes_are_found_in_their_lines_and_nowhere_else(check: Check, tmp_path: Path) -> None:
    """One run over all programs: most of its time goes to reading headrace itself."""
    lines = WRONG.read_text("utf-8").splitlines()
    marked = {("wrong.py", number) for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert len(marked) == 6
    assert check(tmp_path, *PROGRAMS) == marked


def test_the_stubs_of_litellms_names_are_those_that_its_place_offers() -> None:
    there = {str(path.relative_to(litellm_stubs.STUBS)): path.read_text("utf-8") for path in litellm_stubs.STUBS.rglob("*.*")}
    assert there == litellm_stubs.files(), "run `make tables`"
