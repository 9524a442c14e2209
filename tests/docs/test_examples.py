"""Every example on every page runs as it stands, against a simulated provider. One page is one session: names carry on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from docs.pages import ROOT, Block, blocks, commands, pages

PYTHON = [page for page in pages() if any(block.language == "python" for block in blocks(page.read_text("utf-8")))]
CONSOLE = [
    (page, tuple(commands(block)))
    for page in pages()
    for block in blocks(page.read_text("utf-8"))
    if block.language == "console" and any("headrace " in line for line in commands(block))
]
"""Blocks that use the command; how to clone, install and make is tried by doing it."""
ELSEWHERE = ("git ", "pip ", "make ")


def run(page: Path, block: Block, session: dict[str, object]) -> None:
    """Execute a block under its page's name and line numbers, so that a traceback leads to the page."""
    padded = "\n" * (block.line - 1) + block.text
    exec(compile(padded, str(page), "exec"), session)


@pytest.mark.usefixtures("reader", "litellm_put_away")
@pytest.mark.parametrize("page", PYTHON, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_of_a_page_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page.read_text("utf-8")):
        if block.language != "python":
            continue
        run(page, block, session)
        shown = capsys.readouterr().out
        assert shown.strip() or "print(" not in block.text, f"{page.name}:{block.line} printed nothing"


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(("page", "lines"), CONSOLE, ids=lambda value: value[0] if isinstance(value, tuple) else value.name)
def test_the_commands_of_a_page_run(page: Path, lines: tuple[str, ...]) -> None:
    place = Path(sys.executable).parent
    for line in lines:
        if line.startswith(ELSEWHERE):
            continue
        done = subprocess.run(
            ["sh", "-c", line],
            env={**os.environ, "PATH": f"{place}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, f"{line} on {page.name}: {done.stderr}"
        assert done.stdout.strip() or " > " in line, f"{line} on {page.name} printed nothing"


def test_a_broken_example_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Words\n\n```python\nx = 1\n```\n\n```python\nprint(x + y)\n```\n")
    session: dict[str, object] = {}
    first, second = blocks(page.read_text())
    run(page, first, session)
    with pytest.raises(NameError, match="'y'") as caught:
        run(page, second, session)
    assert caught.traceback[-1].lineno == 7, "the line of the page"


def test_every_page_with_code_is_found() -> None:
    assert {"README.md", "README.zh-CN.md", "client.md", "router.md", "limits.md"} <= {page.name for page in PYTHON}
