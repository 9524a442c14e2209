"""Every dialect that has a row in `tongues.TONGUES` against what was recorded, and against what could have been. Skips where nothing is."""

from __future__ import annotations

import pytest

from conformance import table
from conformance.corpus import folder

pytestmark = [
    pytest.mark.skipif(
        folder() is None,
        reason="no recorded traffic here: set HEADRACE_WIRE to its folder (shared/wire beside the repository is found by itself)",
    ),
    pytest.mark.timeout(240),  # six seconds of work for the largest column
]

EVERY = {"answers": 1, "requests": 1, "streams": 1, "errors": 1, "pieces": 3, "cuts": 1}
EVERY |= {"unknown": 5, "sent on": 5, "altered": 25, "spoiled": 3}
"""Of how many exchanges one is looked at here. `make conformance` looks at all of them."""


@pytest.mark.parametrize("column", [*table.COLUMNS, *table.MUTATIONS], ids=lambda column: column.name)
def test_every_recorded_exchange_is_spoken_by_its_dialect(column: table.Column) -> None:
    count = table.judged((column,), (0, EVERY[column.name]))
    assert sum(count.held.values()) > 0
    assert not count.wrong, f"{sum(count.failed.values())} of {sum(count.held.values())}\n" + "\n".join(count.wrong[:40])


def test_a_stream_is_cut_at_every_frame_and_at_many_bytes_and_never_ends_well() -> None:
    count = table.judged((table.EVERY_CUT,), (0, 40))
    assert sum(count.held.values()) > 0
    assert not count.wrong, "\n".join(count.wrong[:40])


def test_explained_exceptions_stay_under_one_in_a_hundred() -> None:
    rules = list(table.excepted())
    by_dialect: dict[str, tuple[int, int]] = {}
    for name, _, number, of in rules:
        by_dialect[name] = (by_dialect.get(name, (0, of))[0] + number, of)
    assert all(number * 100 <= of for number, of in by_dialect.values()), rules
