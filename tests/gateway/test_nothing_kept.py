"""Memory is bounded: calls leave nothing unbounded behind, whatever they request and whatever names they bring."""

from __future__ import annotations

import gc
import json
import time
from collections import Counter
from itertools import count
from typing import Any

import httpx
import pytest
from tests.gateway.conftest import CHAT
from tests.gateway.persistence import Gateway, kept, priced

from headrace.gateway.page.recent_calls import MOST_CALLS, MOST_UNCOUNTED
from headrace.gateway.persistence import Where

ROUND = 100
LEAST = 90
"""Objects that nine calls of ten would leave, of one of the kinds in a round."""

_numbers = count()


def _asked(key: str) -> list[tuple[str, dict[str, Any], dict[str, str]]]:
    """(path, body, headers) of one call of each kind, under names that were never there before."""
    name = f"name-{next(_numbers)}"
    body, own = {**CHAT, "model": "gpt", "max_tokens": 2}, {"authorization": f"Bearer {key}"}
    chats = "/v1/chat/completions"
    return [
        (chats, {**body, "user": name, "metadata": {"tags": [name], "session_id": name}}, own),
        (chats, {**body, "model": name}, own),
        (chats, body, {**own, "x-headrace-session-id": name, "x-headrace-customer": name, "user-agent": name}),
        (f"/v1/{name}", body, own),
    ]


def _found() -> Counter[str]:
    gc.collect()
    return Counter(type(one).__qualname__ for one in gc.get_objects())


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_a_round_of_calls_under_new_names_leaves_no_objects(upstream: object, at: Where) -> None:
    with kept(priced(upstream), at) as opened, httpx.Client(base_url=opened[0]) as client:
        key = Gateway(*opened).key(rpm_limit=10**6)

        def ask(rounds: int) -> None:
            for _ in range(rounds):
                for path, body, headers in _asked(key):
                    client.post(path, content=json.dumps(body), headers={"content-type": "application/json", **headers})

        def grown() -> dict[str, int]:
            return {name: more for name, more in (_found() - before).items() if more >= LEAST}

        def settled() -> bool:
            time.sleep(0.25)  # the ledger's thread holds calls for a while
            return not grown()

        ask(MOST_CALLS + MOST_UNCOUNTED >> 1)  # what has a bound is full
        ask(ROUND)
        before = _found()
        ask(ROUND)
        assert any(settled() for _ in range(40)), grown()
