"""Export of the ledger as CSV, or as Parquet with pyarrow: one row per call, one column per class of usage, money in integers."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec

from headrace.errors import ConfigurationError
from headrace.gateway.ledger.reading import Condition, query
from headrace.models.cost import FIELDS
from headrace.runtime.sql_drivers import Connection

_TEXTS: Final = (
    "id", "key", "name", "team", "user", "customer", "path", "operation", "model", "group", "deployment", "provider", "served", "outcome",
    "error", "session", "metadata", "tags",
)  # fmt: skip
COLUMNS: Final = (
    "id", "began", "ended", "first", "key", "name", "team", "user", "customer", "tags", "path", "operation", "model", "group", "deployment",
    "provider", "served", "stream", "outcome", "status", "error", *FIELDS, "cost_nano_dollars", "waited", "attempts", "session", "metadata",
)  # fmt: skip
BATCH: Final = 5_000


def rows(connection: Connection, where: Sequence[Condition]) -> Iterator[dict[str, Any]]:
    """Calls in the order in which they entered the ledger; times in Unix seconds."""
    chosen = query("*", where, "ORDER BY number")
    for row in connection.look_through(chosen.sql, **chosen.given):
        usage = msgspec.json.decode(row["usage"])
        whole = {**row, "stream": bool(row["stream"]), "cost_nano_dollars": row["cost"], **{name: usage.get(name, 0) for name in FIELDS}}
        yield {name: whole[name] for name in COLUMNS}


def write_csv(found: Iterator[dict[str, Any]], file: TextIO) -> int:
    """Write calls as CSV, with times in ISO 8601; returns the number of rows."""
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    count = 0
    for row in found:
        moments = {name: _iso(row[name]) for name in ("began", "ended", "first")}
        writer.writerow({**row, **moments, "stream": str(row["stream"]).lower()})
        count += 1
    return count


def _iso(moment: float | None) -> str:
    return "" if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()


def write_parquet(found: Iterator[dict[str, Any]], path: Path) -> int:
    """Write calls as Parquet; returns the number of rows. Raises ConfigurationError without pyarrow."""
    try:
        import pyarrow  # type: ignore[import-untyped]  # late: a large package that few need
        import pyarrow.parquet  # type: ignore[import-untyped]  # late as well
    except ImportError:
        raise ConfigurationError('Parquet needs one more package: pip install "headrace[parquet]"') from None
    schema = pyarrow.schema([(name, _type(pyarrow, name)) for name in COLUMNS])
    count = 0
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while batch := list(islice(found, BATCH)):
            for row in batch:
                row |= {name: _moment(row[name]) for name in ("began", "ended", "first")}
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))
            count += len(batch)
    return count


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _type(pyarrow: Any, name: str) -> Any:
    if name in ("began", "ended", "first"):
        return pyarrow.timestamp("us", "UTC")
    if name in _TEXTS:
        return pyarrow.string()
    if name == "stream":
        return pyarrow.bool_()
    return pyarrow.float64() if name in ("waited", "seconds") else pyarrow.int64()
