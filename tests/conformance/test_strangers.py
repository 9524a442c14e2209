"""What a provider unknown here would send is read as well as what a known one sends: nothing hangs on a row."""

from __future__ import annotations

import pytest

from conformance import stranger_checks
from conformance.corpus import folder

pytestmark = pytest.mark.skipif(
    folder() is None,
    reason="no recorded traffic here: set HEADRACE_WIRE to its folder (shared/wire beside the repository is found by itself)",
)


def test_every_recording_is_read_as_well_without_the_row_of_whoever_sent_it() -> None:
    count = stranger_checks.counted()
    assert count.why == []
    assert sum(count.held.values()) > 4_500
    assert {column for _, _, column in count.held} == set(stranger_checks.COLUMNS)


def test_a_difference_is_seen() -> None:
    """Read as another dialect's, recordings are lost: what finds nothing above could find something."""
    one = next(it for it in stranger_checks.known() if it.row == "openai" and isinstance(it.exchange.response_json, dict))
    assert not any(stranger_checks.differing(one).values())
    assert stranger_checks._difference({"usage": 1}, {"usage": None}) == "usage: 1 became None"
    ways = (stranger_checks.stranger("openai_chat", "m"), stranger_checks.stranger("gemini", "m"))
    told, lost = [stranger_checks.tried(lambda to: stranger_checks.answered(one.exchange, to), to) for to in ways]
    assert "is not a Gemini response" in stranger_checks._difference(told, lost)
