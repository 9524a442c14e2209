"""Recorded conversations, answers and streams said in every other dialect, as its official client's types take them."""

from __future__ import annotations

import pytest

from conformance import crossing, sdk_types
from conformance.corpus import folder
from conformance.tongues import TONGUES, Tongue

pytestmark = pytest.mark.skipif(
    folder() is None,
    reason="no recorded traffic here: set HEADRACE_WIRE to its folder (shared/wire beside the repository is found by itself)",
)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("tongue", TONGUES, ids=lambda tongue: tongue.name)
def test_what_one_dialect_says_the_others_clients_take(tongue: Tongue) -> None:
    for to in sdk_types.REQUESTS:
        if to != tongue.name:
            pair = crossing.crossed(tongue, to, (0, 8))
            assert not pair.wrong, f"{tongue.name} to {to}: {len(pair.wrong)}\n" + "\n".join(pair.wrong[:20])
            assert pair.said.total() > 0
