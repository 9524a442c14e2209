"""`headrace keys` and `headrace ledger`, over an SQLite file in the working directory."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.cli.shell import Program

from headrace import Router
from headrace.errors import AuthenticationError
from headrace.gateway.callers import Caller
from headrace.gateway.keys.keyring import Keyring
from headrace.gateway.ledger.writer import LedgerWriter
from headrace.gateway.records import Outcome, Record
from headrace.runtime.sql import Database

MODELS = [{"model_name": "gpt", "litellm_params": {"model": "openai/gpt", "api_key": "sk-none"}}]
DAY = datetime(2026, 11, 2, 12, tzinfo=UTC).timestamp()


def database() -> Database:
    return Database("sqlite:///.headrace/headrace.db")


def found(token: str) -> Caller | None:
    """Whom a gateway would see in a token."""

    async def find() -> Caller | None:
        opened = database()
        books = LedgerWriter(opened, Path(".headrace/journal"))
        try:
            return await Keyring(
                opened, Router([{"model_name": "gpt", "litellm_params": {"model": "openai/gpt", "api_key": "sk-none"}}]), books.spent
            ).find(token)
        finally:
            await books.close()
            opened.close()

    return asyncio.run(find())


def spend(*records: Record) -> None:
    """A process that was killed: its calls stand in a journal alone."""

    async def work() -> None:
        opened = database()
        books = LedgerWriter(opened, Path(".headrace/journal"))
        for record in records:
            books.append(record)
        books._journal.close()
        opened.close()

    asyncio.run(work())


def record(number: int, **more: Any) -> Record:
    given = {"began": DAY, "ended": DAY + 1, "provider": "openai", "served": "gpt-4o", "usage": {"input": 900, "cached": 100, "output": 50}}
    return Record(id=f"req_{number}", **{**given, "cost": 2_000_000_000, **more})


def test_a_key_is_made_listed_rotated_disabled_and_deleted(program: Program, place: Path) -> None:
    made = program("keys", "create", "--alias", "ci", "--models", "gpt-*", "--rpm", "60", "--budget", "20", "--budget-duration", "30d")
    assert made.code == 0
    token = made.out.strip()
    caller = found(token)
    assert caller is not None
    assert (caller.name, caller.models, len(caller.scopes)) == ("ci", (("gpt-*",),), 2)
    (listed,) = program("keys", "list").out.splitlines()
    assert listed.split("\t")[:3] == ["ci", caller.key, f"sk-...{token[-4:]}"]
    assert listed.split("\t")[-3:] == ["active", "$0.000000", "$20/30d"]

    rotated = program("keys", "rotate", "ci", "--grace", "1h")
    new = rotated.out.strip()
    assert new != token
    assert found(token) is not None
    assert found(new) is not None
    assert program("keys", "rotate", new).code == 0
    assert found(new) is None

    program("keys", "disable", "ci")
    with pytest.raises(AuthenticationError, match="blocked"):
        found(program("keys", "rotate", "ci").out.strip())
    program("keys", "enable", caller.key)
    assert found(program("keys", "rotate", "ci").out.strip()) is not None
    assert program("keys", "delete", "ci").code == 0
    assert program("keys", "list").out == ""


def test_a_key_s_json_has_what_was_spent_and_no_token(program: Program, place: Path) -> None:
    token = program("keys", "create", "--alias", "app", "--tag", "blue").out.strip()
    (key,) = json.loads(program("keys", "list", "--json").out)
    spend(record(1, key=key["id"]))
    program("ledger", "export", "-")
    said = program("keys", "list", "--json").out
    assert token not in said
    (key,) = json.loads(said)
    assert (key["key_alias"], key["tags"], key["spend"]) == ("app", ["blue"], 2.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rotate", "nobody"), "nobody"),
        (("create", "--rpm", "0"), "rpm_limit"),
        (("create", "--budget-duration", "1h"), "max_budget"),
        (("create", "--role", "king"), "user_role"),
        (("list", "--database", "mysql://u:topsecret@h/d"), "SQLite or PostgreSQL"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(program: Program, place: Path, arguments: tuple[str, ...], said: str) -> None:
    result = program("keys", *arguments)
    assert result.code in (1, 2)
    assert said in result.err
    assert result.err.count("\n") == 1
    assert "topsecret" not in result.err


def test_a_token_that_nobody_has_is_not_repeated(program: Program, place: Path) -> None:
    assert "sk-wrong" not in program("keys", "rotate", "sk-wrong-but-nearly-right").err


def test_an_alias_names_one_key(program: Program, place: Path) -> None:
    assert program("keys", "create", "--alias", "ci").code == 0
    assert "taken by another key" in program("keys", "create", "--alias", "ci").err


def test_the_ledger_is_exported_as_csv(program: Program, place: Path) -> None:
    spend(record(1, tags=("a",), customer="c, d"), record(2, began=DAY + 86_400, outcome=Outcome.LEFT, status=499, cost=None, usage={}))
    result = program("ledger", "export", "-")
    first, second = csv.DictReader(io.StringIO(result.out))
    assert (first["began"], first["customer"], first["input"], first["cached"]) == ("2026-11-02T12:00:00+00:00", "c, d", "900", "100")
    assert (first["cost_nano_dollars"], first["tags"]) == ("2000000000", '["a"]')
    assert (second["cost_nano_dollars"], second["outcome"]) == ("", "left")
    assert program("ledger", "export", "one.csv", "--until", "2026-11-03").code == 0
    assert len(Path("one.csv").read_text().splitlines()) == 2


def test_the_ledger_is_exported_as_parquet(program: Program, place: Path) -> None:
    import pyarrow.parquet

    spend(record(1), record(2, cost=None, first=DAY + 0.5))
    assert program("ledger", "export", "calls.parquet", "--since", "2026-11-01").code == 0
    rows = pyarrow.parquet.read_table("calls.parquet").to_pylist()
    assert [(row["id"], row["cost_nano_dollars"], row["input"]) for row in rows] == [("req_1", 2_000_000_000, 900), ("req_2", None, 900)]
    assert rows[1]["first"] == datetime.fromtimestamp(DAY + 0.5, UTC)


def test_a_file_of_another_kind_is_refused(program: Program, place: Path) -> None:
    assert ".csv or .parquet" in program("ledger", "export", "calls.xls").err


def test_an_invoice_is_held_against_the_ledger_line_by_line(program: Program, place: Path) -> None:
    spend(
        record(1),
        record(2),
        record(3, served="gpt-4o-mini", cost=1_000_000_000),
        record(4, served="only-here", cost=500_000_000),
        record(5, provider="other", served="gpt-4o"),
        record(6, began=DAY + 40 * 86_400),
    )
    Path("invoice.csv").write_text(
        "Date,Model,Input tokens,Output tokens,Cost (USD)\n"
        "2026-11-02,gpt-4o-2024-08-06,1500,80,$2.50\n"
        "2026-11-02,gpt-4o-2024-08-06,500,20,$1.50\n"
        "2026-11-02,gpt-4o-mini,1000,50,1.20\n"
        "2026-11-03,gpt-4o,10,1,0.75\n"
    )
    result = program("ledger", "reconcile", "invoice.csv", "--provider", "openai", "--column", "amount=Cost (USD)", "--json")
    lines = {(line["day"], line["model"]): line for line in json.loads(result.out)}
    assert {line: found["verdict"] for line, found in lines.items()} == {
        ("2026-11-02", "gpt-4o"): "agrees",
        ("2026-11-02", "gpt-4o-mini"): "differs",
        ("2026-11-02", "only-here"): "not on the invoice",
        ("2026-11-03", "gpt-4o"): "not in the ledger",
    }
    assert lines["2026-11-02", "gpt-4o"]["invoiced"] == {"cost": 4_000_000_000, "input": 2000, "output": 100}
    assert lines["2026-11-02", "gpt-4o"]["recorded"] == {"cost": 4_000_000_000, "input": 2000, "output": 100}
    assert lines["2026-11-02", "gpt-4o-mini"]["difference"] == 200_000_000
    assert result.code == 1
    shown = program("ledger", "reconcile", "invoice.csv", "--provider", "openai", "--column", "amount=Cost (USD)").out.splitlines()
    assert [line.split("\t")[-1] for line in shown] == ["differs", "not on the invoice", "not in the ledger"]


def test_an_invoice_that_agrees_ends_well(program: Program, place: Path) -> None:
    spend(record(1))
    Path("invoice.csv").write_text('start_time,line_item,amount_value\n1793577600,"gpt-4o, input",1.25\n1793577600,"gpt-4o, output",0.75\n')
    assert program("ledger", "reconcile", "invoice.csv").code == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1,2\n", "--column day=NAME"),
        ("date,model,cost\nsoon,gpt,1\n", "line 2"),
        ("date,model,cost\n2026-11-02,gpt,much\n", "not an amount"),
        ("date,model,cost\n", "no lines"),
    ],
)
def test_an_invoice_that_cannot_be_read_is_refused_by_its_line(program: Program, place: Path, content: str, said: str) -> None:
    Path("invoice.csv").write_text(content)
    result = program("ledger", "reconcile", "invoice.csv")
    assert result.code == 2
    assert said in result.err


def test_old_calls_are_forgotten(program: Program, place: Path) -> None:
    spend(record(1), record(2, began=time.time(), ended=time.time()))
    program("ledger", "export", "-")
    assert program("ledger", "prune", "--older-than", "1h").out == "1 calls deleted\n"


def test_limits_of_single_models(program: Any) -> None:
    made = program("keys", "create", "--alias", "m", "--model-rpm", "gpt-*=60", "--model-tpm", "gpt=1000", "--model-budget", "gpt=5/30d")
    assert made.code == 0
    (key,) = json.loads(program("keys", "list", "--json").out)
    assert (key["model_rpm_limit"], key["model_tpm_limit"]) == ({"gpt-*": 60}, {"gpt": 1000})
    assert key["model_max_budget"] == {"gpt": {"budget_limit": 5.0, "time_period": "30d"}}
    for wrong in ("gpt", "gpt=many", "=3", "gpt=3/1d"):
        assert "--model-rpm must be like gpt-4o=60" in program("keys", "create", "--model-rpm", wrong).err


def test_the_name_of_a_database_that_cannot_be_opened_is_shown(program: Program, tmp_path: Path) -> None:
    """It was masked like a password: `the database …e.db cannot be opened`."""
    (tmp_path / "spoilt.db").write_text("no database, however long one looks at it")
    done = program("keys", "list", "--database", f"sqlite:///{tmp_path}/spoilt.db")
    assert f"{tmp_path}/spoilt.db cannot be opened" in done.err
