"""On every endpoint, a caller who disconnects, from the queue or during the provider's response, leaves nothing behind."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from benchmarks.gateway.asking import EVERYWHERE, Silent, models_over, request_of
from tests.gateway.conftest import KEY, serving

from headrace import Router
from headrace.gateway.config import Settings

Eventually = Callable[[Callable[[], bool]], bool]


@pytest.fixture(scope="module")
def provider() -> Iterator[Silent]:
    with Silent() as made:
        yield made


@pytest.fixture(scope="module")
def router(provider: Silent) -> Router:
    """Each model takes one call at a time."""
    return Router(models_over(provider.address, max_parallel_requests=1), num_retries=0)


@pytest.fixture(scope="module")
def place(router: Router) -> Iterator[str]:
    with serving(router, Settings(key=KEY)) as address:
        yield address


def nobody(router: Router, provider: Silent) -> bool:
    snapshot = router.snapshot()
    return not provider.in_flight and not any(one["in_flight"] for one in snapshot["deployments"].values())


@pytest.mark.parametrize("name", EVERYWHERE)
def test_who_leaves_frees_the_provider_and_the_line(
    name: str, place: str, router: Router, provider: Silent, eventually: Eventually
) -> None:
    request = request_of(place, KEY, EVERYWHERE[name])

    def ask() -> socket.socket:
        caller = socket.create_connection((request.host, request.port))
        caller.sendall(request.data)
        return caller

    with ask():
        assert eventually(lambda: provider.in_flight == 1)
        with ask():
            assert eventually(lambda: sum(router.snapshot()["queues"].values()) == 1)
        assert eventually(lambda: sum(router.snapshot()["queues"].values()) == 0)
        assert provider.in_flight == 1
    assert eventually(lambda: nobody(router, provider))
