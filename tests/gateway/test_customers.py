"""Customers (end users) with limits and budgets of their own, in LiteLLM's API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.gateway.conftest import CHAT, KEY
from tests.gateway.persistence import Gateway, kept, priced
from tests.gateway.test_keys import _any
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from headrace.gateway.config import Settings
from headrace.gateway.default_terms import read_default_terms
from headrace.gateway.keys import keyring
from headrace.gateway.keys.holders import Kind
from headrace.gateway.keys.keyring import budget_scope
from headrace.gateway.persistence import Where

SQLITE = pytest.mark.parametrize("at", ["sqlite"], indirect=True)


def asked(gateway: Gateway, key: str, customer: str, **more: Any) -> Any:
    """The answer, or the refusal."""
    return gateway.ask("/v1/chat/completions", {**CHAT, "model": "gpt", "user": customer, **more}, key, status=_any(200, 403, 429))


@SQLITE
@pytest.mark.parametrize("room", ["customer", "end_user"])
def test_a_customer_is_made_shown_changed_and_deleted(gateway: Gateway, room: str) -> None:
    made = gateway.ask(f"/{room}/new", {"user_id": "acme", "alias": "Acme", "max_budget": 2.5, "budget_duration": "30d", "rpm_limit": 60})
    assert (made["user_id"], made["alias"], made["max_budget"], made["rpm_limit"], made["blocked"]) == ("acme", "Acme", 2.5, 60, False)
    assert "models" not in made
    assert gateway.ask(f"/{room}/update", {"user_id": "acme", "rpm_limit": 6})["rpm_limit"] == 6
    assert [one["user_id"] for one in gateway.ask(f"/{room}/list")] == ["acme"]
    assert gateway.ask(f"/{room}/info?end_user_id=acme")["spend"] == 0
    assert "taken" in gateway.ask(f"/{room}/new", {"user_id": "acme"}, status=400)["error"]["message"]
    assert "models is not known" in gateway.ask(f"/{room}/new", {"user_id": "b", "models": ["gpt"]}, status=400)["error"]["message"]
    gateway.ask(f"/{room}/new", {}, status=400)
    gateway.ask(f"/{room}/list", key=gateway.key(), status=403)
    assert gateway.ask(f"/{room}/delete", {"user_ids": ["acme"]})["deleted_customers"] == 1
    gateway.ask(f"/{room}/delete", {"user_ids": ["acme"]}, status=404)
    gateway.ask(f"/{room}/info?end_user_id=acme", status=404)


@SQLITE
def test_a_customer_is_held_wherever_it_is_named(gateway: Gateway) -> None:
    key = gateway.key()
    gateway.ask("/customer/new", {"user_id": "acme", "blocked": True})
    body, own = {**CHAT, "model": "gpt"}, "/openai/v1/embeddings-of-tomorrow"
    for path, more in ((own, {"user": "acme"}), (own, {"metadata": {"user_id": "acme"}}), ("/v1/chat/completions", {})):
        headers = {} if more else {"x-litellm-end-user-id": "acme"}
        assert "customer 'acme'" in gateway.ask(path, {**body, **more}, key, 403, **headers)["error"]["message"]
    with pytest.raises(InvalidStatus) as caught:
        connect(f"{gateway.base.replace('http', 'ws')}/v1/realtime?model=gpt&user=acme", additional_headers={"api-key": key})
    assert caught.value.response.status_code == 403
    names = [call["end_user"] for call in gateway.ask("/spend/logs")]
    assert names == ["acme"] * 4


@SQLITE
def test_whom_a_call_is_for_may_have_to_be_said(upstream: object, at: Where) -> None:
    with kept(priced(upstream), at, Settings(key=KEY, wants_user=True)) as opened:
        gateway = Gateway(*opened)
        key = gateway.key()
        for _ in range(3):  # the later ones on the fast path
            assert "enforce_user_param" in gateway.chat(key, 400)["error"]["message"]
            gateway.chat(key, user="acme")
        gateway.ask("/openai/v1/embeddings-of-tomorrow", {"model": "gpt"}, key, 400)
        gateway.ask("/v1/models", key=key)
        with pytest.raises(InvalidStatus) as caught:
            connect(f"{gateway.base.replace('http', 'ws')}/v1/realtime?model=gpt", additional_headers={"api-key": key})
        assert caught.value.response.status_code == 400


@SQLITE
@pytest.mark.parametrize("stream", [False, True])
def test_limits_of_a_customer_hold_whoever_asks_for_it(gateway: Gateway, stream: bool) -> None:
    one, other = gateway.key(), gateway.key()
    for key in (one, one, other):
        assert "error" not in asked(gateway, key, "acme", max_wait=0)  # nobody knows it yet, and its way is known
    gateway.ask("/customer/new", {"user_id": "acme", "rpm_limit": 1})
    assert "error" not in asked(gateway, one, "acme")
    for key in (one, other):
        assert "customer:acme" in asked(gateway, key, "acme", max_wait=0)["error"]["message"]
    assert "error" not in asked(gateway, one, "somebody", max_wait=0)
    gateway.chat(one)
    gateway.ask("/customer/update", {"user_id": "acme", "rpm_limit": 100})
    assert "error" not in asked(gateway, other, "acme", max_wait=0)
    gateway.ask("/customer/block", {"user_ids": ["acme"]})
    assert "the customer 'acme' of this call is blocked" in asked(gateway, one, "acme")["error"]["message"]
    body = {**CHAT, "model": "gpt", "max_tokens": 20, "metadata": {"user_id": "acme"}}
    assert "blocked" in gateway.ask("/v1/messages", body, one, status=403)["error"]["message"]  # Anthropic's word for it
    gateway.ask("/customer/unblock", {"user_ids": ["acme"]})
    assert "error" not in asked(gateway, one, "acme", max_wait=0)


def test_a_customers_budget_is_kept_over_restarts(upstream: object, at: Where) -> None:
    with kept(priced(upstream), at) as opened:
        gateway = Gateway(*opened)
        key = gateway.key()
        gateway.ask("/customer/new", {"user_id": "acme", "max_budget": 0.0004})
        ended = ["error" in asked(gateway, key, "acme", max_tokens=20) for _ in range(12)]
        assert not ended[0]
        assert ended[-1]
        spent = gateway.ask("/customer/info?end_user_id=acme")["spend"]
        assert 0 < spent <= 0.0004
        asked(gateway, key, "nobody-in-particular")
    with kept(priced(upstream), at) as opened:
        gateway = Gateway(*opened)
        assert "of $0.0004" in asked(gateway, key, "acme", max_tokens=20)["error"]["message"]
        assert "error" not in asked(gateway, key, "other", max_tokens=20)
        assert gateway.ask("/customer/info?end_user_id=acme")["spend"] == spent
        with gateway.state._database.reading() as connection:  # names that callers give leave nothing behind
            assert connection.tuples("SELECT DISTINCT id FROM spending WHERE kind = 'customer'") == [("acme",)]


# ---- customers without terms of their own ----------------------------------------------------------------------------------------


def each(**said: Any) -> Settings:
    def wrong(what: str) -> None:
        raise AssertionError(what)

    return Settings(
        key=KEY, keep_alive=0.2, default_terms=read_default_terms({f"max_end_user_{name}": value for name, value in said.items()}, wrong)
    )


def spends_all(gateway: Gateway, key: str, customer: str) -> int:
    """How many calls it let through."""
    for calls in range(20):
        if "error" in (said := asked(gateway, key, customer, max_tokens=20)):
            assert "budget" in said["error"]["type"] or "is spent" in said["error"]["message"]
            return calls
    raise AssertionError("nothing holds it")


def test_each_customer_without_terms_of_its_own_has_a_budget_over_restarts(upstream: object, at: Where) -> None:
    """`max_end_user_budget` was refused when the gateway began."""
    with kept(priced(upstream), at) as opened:
        for _ in range(4):
            asked(Gateway(*opened), KEY, "acme", max_tokens=20)  # before there was a budget
    with kept(priced(upstream), at, each(budget=0.0004)) as opened:
        gateway = Gateway(*opened)
        one, other = gateway.key(), gateway.key()
        gateway.ask("/customer/new", {"user_id": "large", "max_budget": 1})
        gateway.ask("/customer/new", {"user_id": "named", "alias": "Named"})
        assert spends_all(gateway, one, "acme") > 0
        assert "error" in asked(gateway, other, "acme", max_tokens=20)
        assert "customer:acme" in gateway.ask("/v1/messages", {
            **CHAT, "model": "gpt", "max_tokens": 20, "metadata": {"user_id": "acme"}
        }, other, status=429)["error"]["message"]  # fmt: skip
        assert spends_all(gateway, one, "other") > 0
        assert spends_all(gateway, one, "named") > 0
        for _ in range(6):
            assert "error" not in asked(gateway, one, "large", max_tokens=20)
            gateway.chat(one, max_tokens=20)
    with kept(priced(upstream), at, each(budget=0.0004)) as opened:
        gateway = Gateway(*opened)
        assert "error" in asked(gateway, one, "acme", max_tokens=20)
        assert "error" not in asked(gateway, one, "new", max_tokens=20)
    with kept(priced(upstream), at) as opened:
        assert "error" not in asked(Gateway(*opened), one, "acme", max_tokens=20)


def test_a_budget_with_a_name_is_each_customer_s_and_changes_with_it(upstream: object, at: Where) -> None:
    with kept(priced(upstream), at, each(budget_id="guests")) as opened:
        gateway = Gateway(*opened)
        key = gateway.key()
        assert "error" not in asked(gateway, key, "acme", max_tokens=20)  # it is not made yet
        gateway.ask("/budget/new", {"budget_id": "guests", "max_budget": 0.0004, "budget_duration": "30d", "rpm_limit": 100})
        allowed = spends_all(gateway, key, "acme")
        gateway.ask("/budget/update", {"budget_id": "guests", "max_budget": 1, "rpm_limit": allowed + 2})
        assert "error" not in asked(gateway, key, "acme", max_wait=0)
        refused = [asked(gateway, key, "acme", max_wait=0) for _ in range(3)][-1]
        assert "customer:acme" in refused["error"]["message"]
        assert "error" not in asked(gateway, key, "other", max_wait=0)
        gateway.ask("/budget/delete", {"id": "guests"})
        assert "error" not in asked(gateway, key, "acme", max_wait=0)


@SQLITE
def test_nobody_s_name_is_the_budget_of_another(upstream: object, at: Where) -> None:
    """A caller who named a customer as another's budget is called at the limiter put limits in the place of that budget."""
    with kept(priced(upstream), at, each(budget_id="guests")) as opened:
        gateway = Gateway(*opened)
        key = gateway.key()
        gateway.ask("/budget/new", {"budget_id": "guests", "max_budget": 0.0004, "rpm_limit": 1000})
        spends_all(gateway, key, "acme")
        (period,) = gateway.state.keys._periods[Kind.CUSTOMER, "acme"]
        named = budget_scope(*period).removeprefix("customer:")
        asked(gateway, key, named, max_tokens=20)
        assert "error" in asked(gateway, key, "acme", max_tokens=20)


@SQLITE
def test_nothing_stays_in_memory_of_customers_who_are_asked_for_no_more(
    upstream: object, at: Where, eventually: Callable[[Callable[[], bool]], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    router = priced(upstream)
    with kept(router, at, each(budget=0.0004)) as opened:
        gateway = Gateway(*opened)
        key, keys, books = gateway.key(), gateway.state.keys, gateway.state.ledger
        for number in range(5):
            asked(gateway, key, f"guest {number}")
        spends_all(gateway, key, "acme")

        def kept_of() -> tuple[int, ...]:
            return len(router.snapshot()["scopes"]), len(keys._own), len(keys._periods), len(books._seen), len(keys._unnamed)

        assert kept_of()[0] == 6
        now = time.time
        monkeypatch.setattr(keys, "_clock", lambda: now() + keyring.LINGER)
        assert eventually(lambda: kept_of()[0] == 0)
        assert kept_of()[2:] == (0, 0, 0)
        assert "error" in asked(gateway, key, "acme", max_tokens=20)


def test_a_budget_for_one_model_was_not_kept_for_a_customer(upstream: object, at: Where) -> None:
    with kept(priced(upstream), at) as opened:
        gateway = Gateway(*opened)
        key = gateway.key()
        gateway.ask("/budget/new", {"budget_id": "narrow", "model_max_budget": {"gp*": 0.0004}})
        gateway.ask("/customer/new", {"user_id": "acme", "budget_id": "narrow"})
        spends_all(gateway, key, "acme")
        gateway.chat(key, user="acme", model="slow", max_tokens=2)
        assert "error" not in asked(gateway, key, "other", max_tokens=20)
    with kept(priced(upstream), at) as opened:
        assert "error" in asked(Gateway(*opened), key, "acme", max_tokens=20)
