"""The page that lists the providers says what the catalogue says."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

from headrace.providers.catalog import shipped
from headrace.providers.table import markdown

ROOT = Path(__file__).parents[2]


def test_the_page_holds_the_table() -> None:
    page = (ROOT / "docs" / "providers.md").read_text("utf-8")
    inserted = runpy.run_path(str(ROOT / "docs" / "tables.py"))["inserted"]
    assert inserted(page, markdown()) == page, "run `make tables`"


def test_the_table_names_every_provider_its_source_and_its_day() -> None:
    lines = markdown().splitlines()[2:]
    assert len(lines) == len(list(shipped()))
    for row, line in zip(sorted(shipped(), key=lambda row: row.name), lines, strict=True):
        assert line.startswith(f"| `{row.name}`")
        assert row.source in line
        assert row.checked in line


def test_the_command_prints_the_table() -> None:
    done = subprocess.run([sys.executable, "-m", "headrace.providers"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == markdown()
