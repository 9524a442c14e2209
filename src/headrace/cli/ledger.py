"""`headrace ledger`: exports the gateway's calls, reconciles them with invoices, and deletes old ones."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.database import database_option, opened
from headrace.cli.terminal import note, say, write_json, write_table
from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from headrace.gateway.ledger.invoices import Compared

DAY = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.group(short_help="Export the gateway's calls, and reconcile them with invoices.")
def ledger() -> None:
    """The ledger of calls. Days are in UTC."""


@ledger.command(short_help="Export calls as CSV or Parquet.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path, allow_dash=True), metavar="FILE")
@click.option("--since", type=DAY, metavar="DAY", help="Calls that began on that day or later.")
@click.option("--until", type=DAY, metavar="DAY", help="Calls that began before that day.")
@database_option
def export(database: str | None, file: Path, since: datetime | None, until: datetime | None) -> None:
    """Export calls, one row each, with money in nano-dollars. FILE ends in .csv or .parquet; - writes CSV to standard output."""
    with opened(database) as (found, folder):
        from headrace.gateway.ledger.export import rows, write_csv, write_parquet  # late: they load the gateway
        from headrace.gateway.ledger.folding import adopt  # late: see above
        from headrace.gateway.ledger.reading import between  # late: see above

        adopt(found, folder)
        with found.reading() as connection:
            all_rows = rows(connection, between(_seconds(since), _seconds(until)))
            if str(file) == "-":
                count = write_csv(all_rows, sys.stdout)
            elif file.suffix == ".parquet":
                count = write_parquet(all_rows, file)
            elif file.suffix == ".csv":
                with file.open("w", encoding="utf-8", newline="") as out:
                    count = write_csv(all_rows, out)
            else:
                raise ConfigurationError(f"{file} must end in .csv or .parquet")
    note(f"{count} calls")


@ledger.command(short_help="Compare a provider's invoice with the ledger, line by line.")
@click.argument("invoice", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="INVOICE.csv")
@click.option("--provider", metavar="NAME", help="Provider of the invoice: only calls to it are compared.")
@click.option(
    "--column", "columns", multiple=True, metavar="FIELD=NAME", help="Column of the invoice for day, model, amount, input or output."
)
@click.option("--tolerance", type=click.FloatRange(0, 1), default=0.005, show_default=True, help="Relative difference that is accepted.")
@click.option("--all", "whole", is_flag=True, help="Also show lines that agree.")
@click.option("--json", "as_json", is_flag=True, help="Print every line as JSON; money in nano-dollars.")
@database_option
def reconcile(
    database: str | None, invoice: Path, provider: str | None, columns: tuple[str, ...], tolerance: float, whole: bool, as_json: bool
) -> int:
    """Compare each day and model of the invoice with the ledger. The exit code is 1 if anything differs.

    The comparison covers the days of the invoice, from the first to the last.
    """
    with opened(database) as (found, folder):
        from headrace.gateway.ledger.folding import adopt  # late: it loads the gateway
        from headrace.gateway.ledger.invoices import compare, read_invoice, recorded  # late: see above
        from headrace.gateway.ledger.reading import during  # late: see above

        with invoice.open(encoding="utf-8-sig", newline="") as file:
            invoiced = read_invoice(file, dict(_named(column) for column in columns))
        if not invoiced:
            raise ConfigurationError(f"{invoice} has no lines")
        adopt(found, folder)
        days = sorted(day for day, _ in invoiced)
        with found.reading() as connection:
            compared = compare(invoiced, recorded(connection, during(days[0], days[-1], provider)), tolerance)
    off = [line for line in compared if line.verdict != "agrees"]
    if as_json:
        write_json([{**_plain(line), "difference": line.difference} for line in compared])
    else:
        columns_shown = ("day", "model", "invoiced", "recorded", "difference", "tokens invoiced", "tokens recorded", "")
        write_table(columns_shown, [_row(line) for line in (compared if whole else off)], right=columns_shown[2:7])
        beyond = sum(line.difference for line in compared) / 1e9
        note(f"{len(compared) - len(off)} of {len(compared)} lines agree; the invoice is ${beyond:+.2f} off")
    return 1 if off else 0


@ledger.command(short_help="Delete old calls.")
@click.option("--older-than", required=True, metavar="TIME", help="Age of the calls to delete: 90d, 12w, 6mo.")
@database_option
def prune(database: str | None, older_than: str) -> None:
    """Delete old calls. Spend of keys and budgets is kept."""
    from headrace.gateway.admin.forms import seconds  # late: it loads the gateway
    from headrace.gateway.ledger.writer import forget  # late: see above

    before, count = time.time() - seconds("--older-than", older_than), 0
    with opened(database) as (found, _):
        while True:
            with found.transaction() as connection:
                gone = forget(connection, before)
            if not gone:
                break
            count += gone
    say(f"{count} calls deleted")


def _seconds(day: datetime | None) -> float | None:
    return None if day is None else day.replace(tzinfo=UTC).timestamp()


def _named(column: str) -> tuple[str, str]:
    field, equals, name = column.partition("=")
    if not equals:
        raise click.UsageError(f"--column must be like amount=NAME, got {column!r}")
    return field, name


def _plain(line: Compared) -> dict[str, Any]:
    sides = {"invoiced": line.invoiced, "recorded": line.recorded}
    return {
        "day": line.day,
        "model": line.model,
        **{name: None if side is None else {"cost": side.cost, "input": side.input, "output": side.output} for name, side in sides.items()},
        "verdict": line.verdict,
    }


def _row(line: Compared) -> tuple[Any, ...]:
    def money(side: Any) -> str:
        return "" if side is None else f"${side.cost / 1e9:.4f}"

    def tokens(side: Any) -> str:
        return "" if side is None or side.input is None else f"{side.input}+{side.output or 0}"

    sides = (line.invoiced, line.recorded)
    return (line.day, line.model, *map(money, sides), f"${line.difference / 1e9:+.4f}", *map(tokens, sides), line.verdict)
