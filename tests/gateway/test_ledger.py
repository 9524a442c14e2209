"""The ledger loses no call and stores none twice, whatever happens to the process or its disk."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from benchmarks.ledger.killing import kill_often
from tests.gateway.persistence import new_database

from headrace.gateway.keys import table
from headrace.gateway.keys.holders import Holder, Kind, Terms
from headrace.gateway.ledger import folding
from headrace.gateway.ledger.journal import Journal, framed, lines, orphans, unframed
from headrace.gateway.ledger.writer import LedgerWriter
from headrace.gateway.persistence import Where, where
from headrace.gateway.records import Outcome, Record
from headrace.runtime.sql import Database
from headrace.runtime.sql_address import address
from headrace.runtime.sql_drivers import Connection, DatabaseError, TakenError, driver_of
from headrace.runtime.sql_schema import STEPS


def record(number: int = 0, *, began: float = 1000.0, cost: int | None = 7, **more: Any) -> Record:
    return Record(id=f"req_{number}", began=began, ended=began + 1, key="k", cost=cost, **more)


class Opened:
    """A database and books over it, one process's after another's."""

    def __init__(self, where: Where) -> None:
        self.where = where
        self.database = Database(where.database)

    def books(self, **given: Any) -> LedgerWriter:
        return LedgerWriter(self.database, self.where.folder / "journal", **given)

    def ids(self) -> list[str]:
        with self.database.transaction() as connection:
            return [id for (id,) in connection.tuples("SELECT id FROM calls ORDER BY number")]

    def spent(self, id: str = "k") -> int:
        with self.database.transaction() as connection:
            return int(connection.scalar("SELECT sum(cost) FROM spending WHERE id = :id", id=id) or 0)

    def journals(self) -> list[str]:
        with self.database.transaction() as connection:
            return [name for (name,) in connection.tuples("SELECT name FROM journals")]


def run(where: Where, work: Callable[[Opened], Awaitable[None]]) -> None:
    opened = Opened(where)
    try:
        asyncio.run(work(opened))  # type: ignore[arg-type]
    finally:
        opened.database.close()


def test_a_line_comes_back_as_the_record_it_was() -> None:
    whole = record(
        3, first=1000.5, tags=("a", "ü"), usage={"input": 3, "seconds": 1.5}, outcome=Outcome.LEFT, status=499, metadata={"n": [1, None]}
    )
    assert unframed(framed(whole).rstrip(b"\n")) == whole


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 40, -2])
def test_a_torn_line_is_no_record(cut: int) -> None:
    line = framed(record())[:-1]
    assert unframed(line[:cut]) is None
    assert unframed(line.replace(b"req_0", b"req_1")) is None


def test_lines_are_whole_wherever_the_file_is_read_from(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    path.write_bytes(b"one\ntwo\n\nthree\ntor")
    assert lines(path, 0, 5) == ([b"one"], 4)
    assert lines(path, 4, 1000) == ([b"two", b"three"], 15)
    assert lines(path, 15, 1000) == ([], 15)


def test_what_was_appended_is_folded_once(at: Where) -> None:
    async def work(opened: Opened) -> None:
        books = opened.books()
        for number in range(5):
            books.append(record(number))
        await books.fold()
        books.append(record(5))
        await books.fold()
        await books.fold()
        assert opened.ids() == [f"req_{number}" for number in range(6)]
        assert opened.spent() == 42
        await books.close()
        assert list((opened.where.folder / "journal").iterdir()) == []
        assert opened.journals() == []

    run(at, work)


EMPTY = record(0, attempts=1)
SAID = record(
    1, first=1000.5, name="bot", team="blue", user="ann", customer="c", tags=("a", "ü\n"), error="timeout", status=504, session="s",
    outcome=Outcome.FAILED, usage={"input": 3, "cached": 2, "output": 5, "seconds": 1.5}, metadata={"n": [1, None]}, waited=0.25,
    content={"request": {"x": 1}}, stream=True, attempts=2,
)  # fmt: skip


def _read(row: Mapping[str, Any]) -> dict[str, Any]:
    """What stands there as JSON."""
    return {name: msgspec.json.decode(row[name] or "null") for name in ("tags", "usage", "metadata", "content")}


@pytest.mark.parametrize("records", [[EMPTY], [SAID], [EMPTY, SAID, EMPTY]], ids=["nothing", "all", "both together"])
def test_a_row_has_what_its_call_said_whatever_the_others_said_that_are_folded_with_it(at: Where, records: list[Record]) -> None:
    async def work(opened: Opened) -> None:
        books = opened.books()
        books.extend(records)
        await books.fold()
        with opened.database.reading() as connection:
            rows = connection.rows("SELECT * FROM calls ORDER BY number")
        assert [(row["input"], row["output"]) for row in rows] == [(5, 5) if one is SAID else (0, 0) for one in records]
        assert [msgspec.convert(row | _read(row), Record, strict=False) for row in rows] == records
        await books.close()

    run(at, work)


def test_a_killed_process_s_journal_is_folded_by_the_next_from_where_it_ended(at: Where) -> None:
    async def work(opened: Opened) -> None:
        killed = opened.books()
        killed.append(record(0))
        await killed.fold()
        killed.append(record(1))
        os.write(killed._journal._file, b"12345678{torn")
        os.close(killed._journal._file)  # as the end of a process does
        books = opened.books()
        assert await books.adopt() == 1
        assert await books.adopt() == 0
        assert (opened.ids(), opened.spent()) == (["req_0", "req_1"], 14)
        await books.close()

    run(at, work)


def test_a_journal_whose_process_lives_is_left_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert list(orphans(tmp_path)) == []
    journal.close()
    assert list(orphans(tmp_path)) == [journal.path]


def test_a_journal_that_is_just_being_made_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Symptom: another process met the file before it was locked and took it away; what was appended could not be folded any more."""
    lock, found = fcntl.flock, []

    def locked_late(file: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        found.extend(orphans(tmp_path))
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", locked_late)
    with closing(Journal(tmp_path)) as journal:
        assert found == []
        assert list(tmp_path.iterdir()) == [journal.path]


def test_a_fold_that_fails_leaves_nothing_and_is_done_again(at: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(opened: Opened) -> None:
        books = opened.books()
        books.append(record(0))
        with monkeypatch.context() as broken:
            broken.setattr(folding, "_spent", lambda connection, records: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await books.fold()
        assert opened.ids() == []
        await books.fold()
        assert (opened.ids(), opened.spent()) == (["req_0"], 7)
        await books.close()

    run(at, work)


def test_a_fold_that_fails_in_the_middle_leaves_nothing(at: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal is read a slice at a time, all of them in one transaction."""
    monkeypatch.setattr(folding, "SLICE", 100)
    counted = folding._spent

    def third(connection: Connection, records: Sequence[Record]) -> dict[folding.Period, int]:
        return counted(connection, records) if records[0].id != "req_2" else {}[""]

    async def work(opened: Opened) -> None:
        books = opened.books()
        for number in range(5):
            books.append(record(number))
        with monkeypatch.context() as broken:
            broken.setattr(folding, "_spent", third)
            with pytest.raises(KeyError):
                await books.fold()
        assert (opened.ids(), opened.spent()) == ([], 0)
        await books.fold()
        assert (opened.ids(), opened.spent()) == ([f"req_{number}" for number in range(5)], 35)
        await books.close()

    run(at, work)


def test_the_calls_of_a_busy_second_are_not_in_memory_at_once(tmp_path: Path) -> None:
    """5,000 of them took 12 MB as records and rows, which stayed with the process."""
    opened = Opened(where({"HEADRACE_STATE": str(tmp_path)}))
    journal = Journal(tmp_path)
    journal.extend([record(number, path="/v1/chat/completions", usage={"input": 20, "output": 30}) for number in range(5000)])
    with closing(opened.database), opened.database.transaction() as connection:
        tracemalloc.start()
        try:
            assert folding.fold(connection, journal.path).rows == 5000
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()
    journal.close()


def test_a_disk_that_is_full_loses_no_call(at: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write

    def full(file: int, data: bytes) -> int:
        if b"req_1" in data:
            return real(file, data[:30])
        if b"req_2" in data:
            raise OSError(errno.ENOSPC, "no space left on device")
        return real(file, data)

    async def work(opened: Opened) -> None:
        books = opened.books()
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", full)
            for number in range(4):
                books.append(record(number))
        await books.fold()
        assert sorted(opened.ids()) == ["req_0", "req_1", "req_2", "req_3"]
        await books.close()

    run(at, work)


def test_a_long_journal_is_followed_by_another(at: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.gateway.ledger.writer.LONGEST", 100)

    async def work(opened: Opened) -> None:
        books = opened.books()
        for number in range(6):
            books.append(record(number))
            await books.fold()
        assert len(list((opened.where.folder / "journal").iterdir())) == 1
        assert opened.ids() == [f"req_{number}" for number in range(6)]
        await books.close()

    run(at, work)


def test_calls_are_forgotten_after_their_time_and_what_was_spent_is_not(at: Where) -> None:
    async def work(opened: Opened) -> None:
        books = opened.books(keep=100.0, clock=lambda: 5000.0)
        for number, began in enumerate((1000.0, 4000.0, 4950.0)):
            books.append(record(number, began=began))
        await books.fold()
        assert await books.clean() == 2
        assert (opened.ids(), opened.spent()) == (["req_2"], 21)
        await books.close()

    run(at, work)


def test_what_comes_while_the_ledger_is_folded_waits_for_the_next_time(at: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under load it had been folded a few rows at a time without a pause, each with a commit of its own."""
    rows: list[int] = []

    async def work(opened: Opened) -> None:
        books = opened.books()
        await books.fold()
        fold = folding.fold

        def noted(connection: Connection, path: Path) -> folding.Folded:
            step = fold(connection, path)
            rows.append(step.rows)
            if len(rows) < 5:
                books.append(record(10 + len(rows)))
            return step

        monkeypatch.setattr(folding, "fold", noted)
        for number in range(3):
            books.append(record(number))
        await books.fold()
        assert rows == [3]
        await books.close()
        assert len(opened.ids()) == len(set(opened.ids())) == 7

    run(at, work)


def test_a_budget_counts_what_a_killed_process_spent_though_nobody_waited_for_its_journal(at: Where) -> None:
    """After a restart a gateway serves at once; who asks what was spent waits until the former calls stand in the database."""

    async def work(opened: Opened) -> None:
        killed = opened.books()
        killed.append(record(0))
        killed._journal.close()
        books = opened.books()
        assert await books.spent((Kind.KEY, "k", 0.0)) == 7
        await books.close()

    run(at, work)


def test_spending_is_counted_by_the_period_in_which_a_call_began(at: Where) -> None:
    terms = Terms(budget=100, budget_duration="1h", budget_since=1000.0)

    async def work(opened: Opened) -> None:
        with opened.database.transaction() as connection:
            table.put(connection, Holder(kind=Kind.KEY, id="k", terms=terms, created=0.0, updated=0.0))
        books = opened.books()
        for number, began in enumerate((1000.0, 4599.9, 4600.0)):
            books.append(record(number, began=began))
        assert await books.spent((Kind.KEY, "k", 1000.0)) == 14
        assert await books.spent((Kind.KEY, "k", 4600.0)) == 7
        await books.close()

    run(at, work)


def test_what_others_spend_is_told_once_and_our_own_is_not(at: Where) -> None:
    async def work(opened: Opened) -> None:
        books, others = opened.books(), opened.books()
        told: list[int] = []
        books.on_spent_elsewhere = lambda period, cost: told.append(cost)
        others.append(record(0))
        await others.fold()
        assert await books.spent((Kind.KEY, "k", 0.0)) == 7
        books.append(record(1))
        others.append(record(2, cost=30))
        await others.fold()
        await books.fold()
        await books.look()
        await books.look()
        assert told == [30]
        await books.close()
        await others.close()

    run(at, work)


def test_a_schema_of_a_newer_version_is_refused(at: Where) -> None:
    from headrace.errors import ConfigurationError

    database = Database(at.database)
    with database.transaction() as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(ConfigurationError, match="newer"):
        Database(at.database)
    if at.database.startswith("postgres"):
        assert _open_connections(urlsplit(at.database).path[1:]) == 0


def test_processes_that_start_at_once_make_the_tables_once(at: Where) -> None:
    def opened(_: int) -> list[tuple[Any, ...]]:
        database = Database(at.database)
        try:
            with database.reading() as connection:
                return connection.tuples("SELECT version_num FROM alembic_version")
        finally:
            database.close()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(opened, range(8))) == [[(list(STEPS)[-1],)]] * 8


def _open_connections(name: str | None) -> int:
    from psycopg import Connection  # late: tests of SQLite go without it

    return sum(type(one) is Connection and not one.closed and one.info.dbname == name for one in gc.get_objects())


def test_an_older_database_comes_to_the_same_tables_as_a_new_one(at: Where, request: pytest.FixtureRequest) -> None:
    """Also one that was made by the tool that kept the schemas until November 2026, whose table of versions stays."""
    old = driver_of(address(at.database))
    raw = old.connect()
    versions = "version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)"
    old.run(raw, f"CREATE TABLE alembic_version ({versions})")
    old.run(raw, "INSERT INTO alembic_version (version_num) VALUES ('0001')")
    for statement in STEPS["0001"]:
        number = "BIGSERIAL" if at.database.startswith("postgres") else "INTEGER NOT NULL"
        old.run(raw, statement.replace("number NUMBER", f"number {number} PRIMARY KEY"))
    old.discard(raw)
    new = f"sqlite:///{at.folder / 'new.db'}" if old.begin_writing != "BEGIN" else new_database(request.getfixturevalue("server"))
    assert _columns(at.database) == _columns(new)


def _columns(given: str) -> list[tuple[Any, ...]]:
    """Every table's columns and indexes, and the version, once the database was opened."""
    database = Database(given)
    if database.sqlite:
        asked = "SELECT name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%' ORDER BY 1, 2"
    else:
        asked = (
            "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
            " UNION ALL SELECT tablename, indexname, indexdef, '' FROM pg_indexes"
            " WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            " ORDER BY 1, 2"
        )
    with database.reading() as connection:
        found = connection.tuples(asked)
        found += connection.tuples("SELECT version_num FROM alembic_version")
    database.close()
    assert len(found) > 15
    return found


@pytest.mark.parametrize(
    ("said", "kind"),
    [("INSERT INTO secrets (name, value) VALUES ('seal', 'x')", TakenError), ("SELECT nothing FROM nowhere", DatabaseError)],
)
def test_what_may_be_there_once_is_told_from_what_the_database_does_not_do(at: Where, said: str, kind: type[Exception]) -> None:
    """And nothing of the transaction stays."""
    database = Database(at.database)

    def write() -> None:
        with database.transaction() as connection:
            connection.execute("UPDATE secrets SET name = 'other'")
            connection.insert("secrets", ("name", "value"), [("seal", "x")])
            connection.execute(said)

    with pytest.raises(DatabaseError) as failed:
        write()
    assert type(failed.value) is kind
    with database.reading() as connection:
        assert connection.tuples("SELECT name FROM secrets") == [("seal",)]
    database.close()


def test_a_connection_that_the_server_ended_is_replaced_by_another(server: str) -> None:
    database = Database(new_database(server))
    with database.transaction() as connection:
        own = connection.scalar("SELECT pg_backend_pid()")
    other = Database(new_database(server))
    with other.transaction() as connection:
        assert connection.scalar("SELECT pg_terminate_backend(:own)", own=own)
    other.close()
    with database.reading() as connection:
        assert connection.scalar("SELECT pg_backend_pid()") != own
    database.close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("mysql://u:topsecret@h/d", "SQLite or PostgreSQL"),
        ("no address: topsecret", "must be like"),
        ("sqlite://", "a file"),
        ("sqlite:////proc/none/h.db", "HEADRACE_STATE"),
        ("postgresql://u:topsecret@127.0.0.1:1/none", "cannot be opened"),
    ],
)
def test_an_address_that_cannot_be_is_refused_without_its_password(given: str, said: str) -> None:
    from headrace.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match=said) as refused:
        Database(given)
    assert "topsecret" not in str(refused.value)


def test_addresses_made_for_litellm_s_client_are_understood() -> None:
    found = address("postgres://u:p@h/d?schema=public&connection_limit=5&sslmode=require")
    assert (found.target, str(found)) == ("postgresql://u:p@h/d?sslmode=require", "postgresql://u:***@h/d?sslmode=require")


@pytest.mark.timeout(240)
def test_kill_9_under_load_loses_no_answered_call_and_doubles_none(tmp_path: Path, upstream: object) -> None:
    found = kill_often(tmp_path, f"{upstream}/sim/v1", times=2, seconds=1.0, callers=4, say=lambda line: None)
    assert found.answered > 0
    assert (found.lost, found.doubled, found.money_off) == (0, 0, 0)


def test_the_gateway_is_imported_without_a_database(tmp_path: Path) -> None:
    code = "import sys, headrace.gateway.app; sys.exit(any(name in sys.modules for name in ('sqlite3', 'psycopg')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0
