"""Many processes, one limit, in virtual time: what the providers see of it."""

from __future__ import annotations

import pytest

from limits.many import Towns
from limits.town import KINDS, known, small


@pytest.mark.parametrize("kind", ["slide60/reserve", "slide60/settle", "tb60/post", "fix10/reserve"])
def test_processes_together_keep_every_limit_and_use_it(kind: str) -> None:
    """Four processes, two fifths of the work at one of them: no provider ever refuses, and little is left over."""
    town = Towns(KINDS[kind], known(kind), processes=4, deployments=((300, 300_000), (120, 60_000)))
    town.beat(200)
    town.backlog(900, small)
    town.world.run(until=200)
    assert len(town.waits) == 900
    assert town.refused() == 0
    assert town.use() >= 0.95
    assert town.asked() <= 1.6 * 900
