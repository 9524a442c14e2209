"""Recorded traffic with broken bytes in it: nothing is raised but errors of headrace's, in any dialect."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance import mutations, spoiling, table
from conformance.corpus import folder
from conformance.tongues import TONGUES, Tongue

pytestmark = pytest.mark.skipif(folder() is None, reason="no recorded traffic here: set HEADRACE_WIRE to its folder")
EACH = pytest.mark.parametrize("tongue", [pytest.param(tongue, id=tongue.name) for tongue in TONGUES])
SEEDS = st.integers(0, 2**40)


@EACH
@settings(deadline=None)
@given(seed=SEEDS)
def test_broken_bytes_raise_nothing_but_errors_of_ours(tongue: Tongue, seed: int) -> None:
    them = list(tongue.exchanges())
    assert not spoiling.survived(tongue, them[seed % len(them)], seed)


@EACH
def test_a_request_changed_in_one_place_is_refused_or_asked_with_the_change(tongue: Tongue) -> None:
    """Each eighth recording; the conformance table has all of them."""
    them = [it for it in tongue.exchanges() if tongue.is_request(it)][::8]
    assert them
    assert not [f"{it}: {problem}" for it in them for problem in table.problems(mutations.request_altered, tongue, it)]
