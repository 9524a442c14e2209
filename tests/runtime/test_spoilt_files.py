"""Files that are no databases."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.runtime.caches import DiskStore
from headrace.runtime.sql_drivers import Sqlite

OPENS: dict[str, Callable[[Path], object]] = {
    "keys and ledger": lambda folder: Sqlite(str(folder / "answers.sqlite")).connect(),
    "answers": lambda folder: DiskStore(folder, max_bytes=1000)._open(),
}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's list of open files")
@pytest.mark.parametrize("what", OPENS)
def test_a_file_that_is_no_database_is_not_kept_open(tmp_path: Path, what: str) -> None:
    """It was, for as long as anybody had the exception."""
    file = tmp_path / "answers.sqlite"
    file.write_text("no database, however long one looks at it")
    with pytest.raises(sqlite3.DatabaseError) as caught:
        OPENS[what](tmp_path)
    there = [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{number}")]
    assert str(file) not in there
    assert caught.value.args
