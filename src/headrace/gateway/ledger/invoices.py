"""Compare a provider's invoice with the ledger, line by line: what both have, and what only one has."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Final, TextIO

from msgspec import Struct

from headrace.errors import ConfigurationError
from headrace.gateway.ledger.reading import Condition, day_of, sums
from headrace.limits.limit import NANO
from headrace.runtime.sql_drivers import Connection

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "day": (
        "date", "day", "usage_date", "usage_date_utc", "start_date", "start_time_iso", "start_time", "starting_at", "timestamp", "time",
    ),
    "model": ("model", "model_name", "model_version", "snapshot_id", "line_item", "sku", "sku_description", "description"),
    "amount": ("cost_usd", "amount_usd", "cost_in_usd", "amount_value", "total_cost", "cost", "amount", "price_usd", "price", "total"),
    "input": ("input_tokens", "prompt_tokens", "n_context_tokens_total", "usage_input_tokens"),
    "output": ("output_tokens", "completion_tokens", "n_generated_tokens_total", "usage_output_tokens"),
}  # fmt: skip
"""The names of columns in providers' exports; the first that exists is used."""
NEEDED: Final = ("day", "model", "amount")
_SNAPSHOT: Final = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8})$")


class Line(Struct, frozen=True):
    """What one side states for one model on one day. Money in nano-dollars."""

    cost: int = 0
    input: int | None = None
    output: int | None = None

    def __add__(self, other: Line) -> Line:
        return Line(self.cost + other.cost, _sum(self.input, other.input), _sum(self.output, other.output))


class Compared(Struct, frozen=True):
    """A line of the invoice or of the ledger, next to its counterpart."""

    day: str
    model: str
    invoiced: Line | None
    recorded: Line | None
    verdict: str
    """`agrees`, `differs`, `not in the ledger` or `not on the invoice`."""

    @property
    def difference(self) -> int:
        """Nano-dollars invoiced in excess of what is recorded."""
        return (self.invoiced or Line()).cost - (self.recorded or Line()).cost


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)


Lines = dict[tuple[str, str], Line]
"""By day (`2026-11-28`, UTC) and model."""


def read_invoice(file: TextIO, columns: Mapping[str, str]) -> Lines:
    """A provider's CSV export, with lines of the same day and model added up.

    columns: the names of the columns day, model, amount, input and output, where they are not in `NAMES`. Raises
    ConfigurationError naming the column or the line.
    """
    reader = csv.DictReader(file)
    names = _columns(reader.fieldnames or (), columns)
    found: dict[tuple[str, str], Line] = defaultdict(Line)
    for row in reader:
        where = f"line {reader.line_num}"
        if not (row[names["amount"]] or "").strip() and not (row[names["model"]] or "").strip():
            continue  # a line of totals, or an empty one
        day, model = _day(row[names["day"]], where), _model(row[names["model"]])
        tokens = {field: _count(row[names[field]], where) for field in ("input", "output") if field in names}
        found[day, model] += Line(_money(row[names["amount"]], where), **tokens)
    return dict(found)


def _columns(there: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    known = {_plain(name): name for name in there}
    found = {}
    for field, names in NAMES.items():
        if field in given:
            if given[field] not in known.values():
                raise ConfigurationError(f"the invoice has no column {given[field]!r}; its columns: {', '.join(known.values())}")
            found[field] = given[field]
        elif name := next((known[name] for name in names if name in known), None):
            found[field] = name
    missing = [field for field in NEEDED if field not in found]
    if missing:
        raise ConfigurationError(
            f"which column of the invoice is the {missing[0]}? Pass --column {missing[0]}=NAME; its columns: {', '.join(known.values())}"
        )
    return found


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_")


def _day(value: str, where: str) -> str:
    text = value.strip()
    try:
        if re.fullmatch(r"\d{9,13}(\.\d+)?", text):
            seconds = float(text) / (1000 if len(text.partition(".")[0]) > 10 else 1)
            return datetime.fromtimestamp(seconds, UTC).date().isoformat()
        moment = datetime.fromisoformat(text)
        return (moment.astimezone(UTC) if moment.tzinfo else moment).date().isoformat()
    except ValueError:
        raise ConfigurationError(f"{where}: {value!r} is not a date like 2026-11-28") from None


def _model(value: str) -> str:
    """The model of a line; OpenAI's line items are `gpt-4o-2024-08-06, input`."""
    return value.partition(",")[0].strip()


def _money(value: str, where: str) -> int:
    try:
        return int((Decimal(re.sub(r"[$\s,]|USD", "", value or "0") or "0") * NANO).to_integral_value())
    except InvalidOperation:
        raise ConfigurationError(f"{where}: {value!r} is not an amount in dollars") from None


def _count(value: str | None, where: str) -> int:
    try:
        return int(Decimal((value or "0").replace(",", "").strip() or "0"))
    except InvalidOperation:
        raise ConfigurationError(f"{where}: {value!r} is not a number of tokens") from None


def recorded(connection: Connection, where: Sequence[Condition]) -> Lines:
    """What the ledger has for each day and model."""
    day = day_of("began", connection.sqlite)
    rows = sums([f"{day} AS day", "served"], [("served <> ''", {}), *where]).rows(connection)
    return {
        (date.fromordinal(date(1970, 1, 1).toordinal() + row["day"]).isoformat(), row["served"]): Line(
            int(row["cost"]), int(row["input"]), int(row["output"])
        )
        for row in rows
    }


def compare(invoiced: Lines, ledger: Lines, tolerance: float) -> list[Compared]:
    """Every line of both sides, by day and model. tolerance: share by which amounts may differ; one cent always may.

    A snapshot on the invoice (`gpt-4o-2024-08-06`) is matched with the model without its date if the ledger only has
    that.
    """
    ledger = dict(ledger)
    sides: dict[tuple[str, str], Line] = defaultdict(Line)
    for (day, model), line in invoiced.items():
        short = _SNAPSHOT.sub("", model)
        sides[(day, model) if (day, model) in ledger or (day, short) not in ledger else (day, short)] += line
    return [
        Compared(day, model, said, kept, _verdict(said, kept, tolerance))
        for day, model in sorted({*sides, *ledger})
        for said, kept in [(sides.get((day, model)), ledger.get((day, model)))]
    ]


def _verdict(said: Line | None, kept: Line | None, tolerance: float) -> str:
    if kept is None:
        return "not in the ledger"
    if said is None:
        return "not on the invoice" if kept.cost else "agrees"
    most = max(NANO / 100, tolerance * max(said.cost, kept.cost))
    return "agrees" if abs(said.cost - kept.cost) <= most else "differs"
