"""An upstream and both colours of the client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.client.upstream import Client, Upstream, standing


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with standing() as made:
        yield made


@pytest.fixture(params=["async", "sync"])
def client(request: pytest.FixtureRequest, upstream: Upstream) -> Client:
    return Client(request.param, upstream)
