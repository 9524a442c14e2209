"""The generated tables of the documentation say what the code and the locks say."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tables() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(ROOT / "docs" / "tables.py")))


def rows(page: str) -> list[list[str]]:
    text = (ROOT / "docs" / page).read_text("utf-8")
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| ")]


def test_the_errors_page_holds_the_table_of_failures(tables: SimpleNamespace) -> None:
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    assert tables.inserted(page, tables.errors()) == page, "run `make tables`"


def test_the_configuration_page_holds_every_key(tables: SimpleNamespace) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert tables.inserted(page, tables.configuration()) == page, "run `make tables`"


def test_every_locked_package_is_accounted_for(tables: SimpleNamespace) -> None:
    stated = {(row[0], row[1]) for row in rows("dependencies.md") if row[0] not in ("package", "---")}
    locked = {(package.name, ", ".join(package.versions)) for package in tables.lock().values()}
    assert stated == locked, "run `make tables`"


def test_every_direct_dependency_has_a_reason(tables: SimpleNamespace) -> None:
    asked_for = {name for names in tables.direct().values() for name in names} | {"uv"}
    assert set(tables.REASONS) == asked_for


def test_the_core_stays_small(tables: SimpleNamespace) -> None:
    assert tables.direct()["core"] == ["msgspec", "httptools"]


def test_locks_hold_no_address() -> None:
    """So that they work behind any index, and tell nobody which one was used."""
    for lock in (ROOT / "locks").iterdir():
        text = lock.read_text("utf-8")
        assert "//" not in text, lock.name
        assert "--index-url" not in text, lock.name


def test_every_locked_package_is_pinned_by_hash() -> None:
    for name in ("uv.txt", "dev.txt"):
        entries = re.findall(r"^\S+==.*\n(.*)\n", (ROOT / "locks" / name).read_text("utf-8"), re.M)
        assert entries
        assert all(line.strip().startswith("--hash=sha256:") for line in entries)
