"""Virtual keys, teams and users, with a real gateway and real databases: SQLite and PostgreSQL."""

from __future__ import annotations

import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.gateway.conftest import CHAT, KEY
from tests.gateway.persistence import Gateway, kept, priced

from headrace.gateway import guard
from headrace.gateway.keys import keyring
from headrace.gateway.persistence import Where
from headrace.runtime.sql import Database

Eventually = Callable[[Callable[[], bool]], bool]


def test_a_key_calls_until_it_is_deleted(gateway: Gateway) -> None:
    key = gateway.key(key_alias="ci")
    gateway.chat(key)
    assert gateway.ask("/key/delete", {"keys": [key]}) == {"deleted_keys": [key]}
    gateway.chat(key, 401)
    gateway.ask(f"/key/info?key={key}", status=404)


def test_a_key_is_blocked_and_let_in_again(gateway: Gateway) -> None:
    key = gateway.key()
    gateway.chat(key)
    assert gateway.ask("/key/block", {"key": key})["status"] == "revoked"
    assert "blocked" in gateway.chat(key, 401)["error"]["message"]
    assert gateway.ask("/key/unblock", {"key": key})["status"] == "active"
    gateway.chat(key)


def test_a_key_expires(gateway: Gateway) -> None:
    key = gateway.key(duration="1h")
    gateway.chat(key)
    gateway.state.keys._clock = lambda: 4e9  # in the year 2096
    assert "expired" in gateway.chat(key, 401)["error"]["message"]


def test_a_rotated_key_is_another_token_with_the_same_terms(gateway: Gateway) -> None:
    old = gateway.key(key_alias="app", models=["gpt"])
    gateway.chat(old)
    new = gateway.ask("/key/regenerate", {"key": old})
    assert (new["key_alias"], new["models"], new["key"] != old) == ("app", ["gpt"], True)
    gateway.chat(new["key"])
    gateway.chat(old, 401)


def test_a_rotated_key_s_old_token_is_good_for_its_grace_period(gateway: Gateway) -> None:
    old = gateway.key()
    new = gateway.ask(f"/key/{old}/regenerate", {"grace_period": "1h"})["key"]
    assert old != new
    gateway.chat(old)
    gateway.chat(new)
    gateway.state.keys._clock = lambda: 4e9
    assert "has expired" in gateway.chat(old, 401)["error"]["message"]
    gateway.chat(new)


def test_models_must_be_allowed_by_key_and_team(gateway: Gateway) -> None:
    team = gateway.ask("/team/new", {"team_alias": "blue", "models": ["gp*"]})["team_id"]
    key = gateway.key(team_id=team, models=["gpt", "slow"])
    gateway.chat(key)
    gateway.chat(key, 403, model="slow")
    assert [one["id"] for one in gateway.ask("/v1/models", key=key)["data"]] == ["gpt"]
    gateway.ask("/key/update", {"key": key, "models": ["slow"]})
    gateway.chat(key, 403)


def test_an_alias_of_a_key_is_a_model_s_other_name(gateway: Gateway) -> None:
    assert gateway.chat(gateway.key(aliases={"mine": "gpt"}), model="mine")["choices"]
    assert "'mine'" in gateway.chat(gateway.key(), 404, model="mine")["error"]["message"]


@pytest.mark.parametrize("whose", ["key", "team", "user"])
def test_limits_of_key_team_and_user_hold(gateway: Gateway, whose: str) -> None:
    form: dict[str, Any] = {"rpm_limit": 1}
    if whose == "team":
        form = {"team_id": gateway.ask("/team/new", form)["team_id"]}
    elif whose == "user":
        form = {"user_id": gateway.ask("/user/new", {**form, "auto_create_key": False})["user_id"]}
    key = gateway.key(**form)
    gateway.chat(key)
    assert whose in gateway.chat(key, 429, max_wait=0)["error"]["message"]
    other = gateway.key(**({} if whose == "key" else form))
    gateway.chat(other, 200 if whose == "key" else 429, max_wait=0)


def test_a_limit_that_is_raised_counts_at_once(gateway: Gateway) -> None:
    key = gateway.key(rpm_limit=1)
    gateway.chat(key)
    gateway.chat(key, 429, max_wait=0)
    gateway.ask("/key/update", {"key": key, "rpm_limit": 100})
    gateway.chat(key, max_wait=0)
    assert gateway.ask(f"/key/info?key={key}")["info"]["rpm_limit"] == 100


def test_a_budget_is_never_exceeded_however_many_call_at_once(gateway: Gateway) -> None:
    """A call costs about 0.00012 dollars; what it may cost at most is set aside before it goes."""
    key = gateway.key(max_budget=0.001, budget_duration="30d")
    answers: list[int] = []

    def call() -> None:
        asked = urllib.request.Request(
            f"{gateway.base}/v1/chat/completions",
            json.dumps({**CHAT, "model": "gpt", "max_tokens": 20}).encode(),
            {"authorization": f"Bearer {key}", "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(asked) as answer:
                answers.append(answer.status)
        except urllib.error.HTTPError as error:
            answers.append(error.code)

    threads = [threading.Thread(target=call) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spend = gateway.ask(f"/key/info?key={key}")["info"]["spend"]
    assert 0.0005 < spend <= 0.001
    assert set(answers) == {200, 429}


def test_a_spent_budget_stays_spent_after_a_restart(upstream: object, at: Where) -> None:
    with kept(priced(upstream), at) as opened:
        gateway = Gateway(*opened)
        key = gateway.key(max_budget=0.0004)
        while "error" not in gateway.ask("/v1/chat/completions", {**CHAT, "model": "gpt", "max_tokens": 20}, key, status=_any(200, 429)):
            pass
        spent = gateway.ask(f"/key/info?key={key}")["info"]["spend"]
    with kept(priced(upstream), at) as opened:
        gateway = Gateway(*opened)
        said = gateway.chat(key, 429, max_tokens=20)["error"]["message"]
        assert "of $0.0004" in said
        assert gateway.ask(f"/key/info?key={key}")["info"]["spend"] == spent > 0


class _Any(int):
    def __new__(cls, *codes: int) -> _Any:
        made = super().__new__(cls, 0)
        made.codes = codes  # type: ignore[attr-defined]
        return made

    def __eq__(self, other: object) -> bool:
        return other in self.codes  # type: ignore[attr-defined]

    __hash__ = int.__hash__


def _any(*codes: int) -> int:
    return _Any(*codes)


def test_the_next_period_of_a_budget_begins_with_nothing_spent(gateway: Gateway) -> None:
    key = gateway.key(max_budget=0.0004, budget_duration="1h")
    while "error" not in gateway.ask("/v1/chat/completions", {**CHAT, "model": "gpt", "max_tokens": 20}, key, status=_any(200, 429)):
        pass
    assert gateway.ask(f"/key/info?key={key}")["info"]["spend"] > 0

    later = time.time() + 3600
    gateway.state.keys._clock = lambda: later
    gateway.chat(key, max_tokens=20)


def test_a_reset_key_may_spend_again(gateway: Gateway) -> None:
    key = gateway.key(max_budget=0.0004)
    while "error" not in gateway.ask("/v1/chat/completions", {**CHAT, "model": "gpt", "max_tokens": 20}, key, status=_any(200, 429)):
        pass
    assert gateway.ask("/key/update", {"key": key, "spend": 0})["spend"] == 0
    gateway.chat(key, max_tokens=20)


def test_another_process_sees_changes_within_seconds(upstream: object, at: Where, eventually: Eventually) -> None:
    with kept(priced(upstream), at) as opened, kept(priced(upstream), at) as opened_too:
        one, other = Gateway(*opened), Gateway(*opened_too)
        key = one.key()
        other.chat(key)  # at once
        one.ask("/key/block", {"key": key})
        assert eventually(lambda: _status(other, key) == 401)


def test_what_another_process_spends_counts_here(upstream: object, at: Where, eventually: Eventually) -> None:
    with kept(priced(upstream), at) as opened, kept(priced(upstream), at) as opened_too:
        one, other = Gateway(*opened), Gateway(*opened_too)
        key = one.key(max_budget=0.0008)
        other.chat(key, max_tokens=20)
        while _status(one, key, max_tokens=20) == 200:
            pass

        def used() -> float:
            (scope,) = other.state.keys._router.snapshot()["scopes"].values()
            (gauge,) = scope["limits"].values()
            return float(gauge["used"])

        assert eventually(lambda: used() > 0.0005e9)
        other.chat(key, 429, max_tokens=20)


def _status(gateway: Gateway, key: str, **more: Any) -> int:
    answer = gateway.ask("/v1/chat/completions", {**CHAT, "model": "gpt", **more}, key, status=_any(200, 401, 429))
    return 200 if "error" not in answer else 401 if "blocked" in answer["error"]["message"] else 429


def test_no_token_stands_in_database_journal_log_or_repr(
    upstream: object, at: Where, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    with kept(priced(upstream), at) as opened:
        gateway = Gateway(*opened)
        key = gateway.key(key_alias="secretive", max_budget=1.0)
        gateway.chat(key)
        gateway.chat(key + "x", 401)
        new = gateway.ask("/key/regenerate", {"key": key})["key"]
        gateway.chat(new)
        journals = b"".join(path.read_bytes() for path in (at.folder / "journal").iterdir())
        seen = [repr(gateway.state.keys._known), repr(at), repr(gateway.state.__dict__), journals.decode()]
    database = Database(at.database)
    with database.transaction() as connection:
        for table in ("holders", "calls", "spending", "journals"):
            seen += [repr(row) for row in connection.rows(f"SELECT * FROM {table}")]
    database.close()
    seen += [record.getMessage() for record in caplog.records]
    assert len(seen) > 6
    for token in (key, new):
        assert not [place for place in seen if token.removeprefix("sk-")[:20] in place]


def test_guessing_keys_is_slowed_down(gateway: Gateway, eventually: Eventually, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "time", SimpleNamespace(monotonic=lambda: 1e6))  # however long twenty calls take
    keys = gateway.state.keys
    seen = keys._revision
    key = gateway.key()
    assert eventually(lambda: keys._revision > seen)  # after which nothing makes the gateway look again whose key it is
    gateway.chat(key)
    for _ in range(20):
        gateway.chat("sk-wrong", 401)
    assert "wait" in gateway.chat("sk-wrong", 429)["error"]["message"]
    gateway.chat(KEY, 429)  # nor may the master key be guessed
    gateway.chat(key)  # who is known is let in


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_a_key_that_was_changed_is_let_in_where_others_guess(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "time", SimpleNamespace(monotonic=lambda: 1e6))
    key, gone = gateway.key(), gateway.key()
    gateway.chat(key)
    gateway.chat(gone)
    gateway.ask("/key/update", {"key": key, "rpm_limit": 60})
    gateway.ask("/key/delete", {"keys": [gone]})
    for _ in range(20):
        gateway.chat("sk-wrong", 401)
    gateway.chat(key)
    gateway.chat(gone, 401)  # it was somebody's: once it is looked at
    gateway.chat(gone, 429)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("path", "form", "named"),
    [
        ("/key/generate", {"rpm_limit": 0}, "rpm_limit"),
        ("/key/generate", {"models": "gpt"}, "models"),
        ("/key/generate", {"max_budget": -1}, "max_budget"),
        ("/key/generate", {"budget_duration": "soon"}, "budget_duration"),
        ("/key/generate", {"budget_duration": "1h"}, "max_budget"),
        ("/key/generate", {"duration": 5}, "duration"),
        ("/key/generate", {"key": "short"}, "key"),
        ("/key/generate", {"no_such_field": 1}, "no_such_field"),
        ("/key/update", {"rpm_limit": 1}, "key"),
        ("/user/new", {"user_role": "king"}, "user_role"),
        ("/team/member_add", {"team_id": "t", "member": {"role": "king", "user_id": "u"}}, "role"),
    ],
)
def test_a_form_that_cannot_be_is_refused_by_its_field(gateway: Gateway, path: str, form: dict[str, Any], named: str) -> None:
    assert named in gateway.ask(path, form, status=400)["error"]["message"]


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_a_teams_own_deployment_serves_its_keys_and_nobody_who_says_he_is_of_it(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILL_KEY", "sk-upstream")
    base = gateway.ask("/model/info")["data"][0]["litellm_params"]["base_url"]
    params = {"model": "openai/gpt-sim", "api_key": "os.environ/MILL_KEY", "base_url": base}
    team, other = (gateway.ask("/team/new", {"team_alias": alias})["team_id"] for alias in ("wheel", "race"))
    gateway.ask("/model/new", {"model_name": "wheel", "litellm_params": params, "model_info": {"team_id": team}})
    gateway.chat(gateway.key(team_id=team), model="wheel")
    for key in (gateway.key(team_id=other), gateway.key()):
        for more in ({}, {"metadata": {"user_api_key_team_id": team}}, {"litellm_metadata": {"user_api_key_team_id": team}}):
            assert "no deployment of 'wheel'" in gateway.chat(key, 400, model="wheel", **more)["error"]["message"]


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_nothing_is_kept_of_keys_that_were_deleted(
    upstream: object, at: Where, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limits and budgets of keys that come and go stayed at the Router for ever."""
    router = priced(upstream)
    with kept(router, at) as opened:
        gateway = Gateway(*opened)
        keys, books = gateway.state.keys, gateway.state.ledger
        terms: dict[str, Any] = {"rpm_limit": 60, "max_budget": 5, "budget_duration": "1d", "model_rpm_limit": {"gpt": 9}}

        def kept_of() -> tuple[int, ...]:
            return len(router.snapshot()["scopes"]), len(keys._own), len(keys._periods), len(books._seen)

        staying = gateway.key(**terms, model_max_budget={"gpt": 1})
        gateway.chat(staying)
        before = kept_of()
        gone = [gateway.key(**terms, model_max_budget={"gpt": 1}) for _ in range(5)]
        for key in gone:
            gateway.chat(key)
        gateway.ask("/key/delete", {"keys": gone})
        assert eventually(lambda: len(keys._gone) == 5)
        assert len(router.snapshot()["scopes"]) == 6 * before[0]  # calls may still be under way
        now = time.time
        monkeypatch.setattr(keys, "_clock", lambda: now() + keyring.LINGER)
        assert eventually(lambda: kept_of() == before)
        gateway.chat(staying)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_nothing_is_kept_of_keys_that_have_ended(
    upstream: object, at: Where, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limits of keys with a `duration`, which nobody deletes, stayed at the Router for ever."""
    router = priced(upstream)
    with kept(router, at) as opened:
        gateway = Gateway(*opened)
        keys = gateway.state.keys
        staying = gateway.key(rpm_limit=60)
        gateway.chat(staying)
        ending = [gateway.key(rpm_limit=60, max_budget=5, duration="1h") for _ in range(3)]
        for key in ending:
            gateway.chat(key)
        gateway.ask("/key/update", {"key": ending[0], "duration": "9h"})
        gateway.chat(ending[0])
        assert len(router.snapshot()["scopes"]) == 1 + 2 * 3
        now = time.time
        monkeypatch.setattr(keys, "_clock", lambda: now() + 3600 + keyring.LINGER)
        assert eventually(lambda: len(router.snapshot()["scopes"]) == 1 + 2)
        assert len(keys._own) == 2
        gateway.chat(staying)
        gateway.chat(ending[0])


def test_a_key_is_let_to_its_paths_alone(gateway: Gateway) -> None:
    """`allowed_routes` and `key_type` of LiteLLM were refused."""
    narrow = gateway.key(allowed_routes=["/chat/completions", "/v1/models"])
    for _ in range(3):  # the later ones on the fast path
        gateway.chat(narrow)
    gateway.ask("/v1/models", key=narrow)
    said = gateway.ask("/v1/embeddings", {"model": "gpt", "input": "x"}, narrow, status=403)["error"]
    assert said["type"] == "permission_error"
    gateway.ask("/key/info", key=narrow, status=403)
    looking, calling = gateway.key(key_type="read_only"), gateway.key(key_type="llm_api")
    assert gateway.ask("/key/info", key=looking)["info"]["allowed_routes"] == ["info_routes"]
    gateway.chat(looking, 403)
    gateway.chat(calling)
    gateway.ask("/key/info", key=calling, status=403)
    gateway.ask("/cost/estimate", {"model": "gpt", "input_tokens": 1, "output_tokens": 1}, calling, status=403)
    gateway.ask("/key/update", {"key": calling, "allowed_routes": ["/embeddings"]})
    gateway.chat(calling, 403)
    gateway.ask("/key/update", {"key": calling, "allowed_routes": []})
    gateway.chat(calling)
    gateway.key(key_type="default")
    for wrong in ({"key_type": "king"}, {"allowed_routes": ["nothing"]}, {"allowed_routes": "/chat/completions"}):
        gateway.ask("/key/generate", wrong, status=400)


def test_a_key_without_money_calls_nothing_that_costs_any(gateway: Gateway) -> None:
    """A `max_budget` of 0 was refused."""
    key = gateway.key(max_budget=0, budget_duration="30d")
    assert gateway.ask(f"/key/info?key={key}")["info"]["max_budget"] == 0
    said = gateway.chat(key, 429)["error"]
    assert said["type"] == "budget_exceeded"
    gateway.ask("/key/update", {"key": key, "max_budget": 1})
    gateway.chat(key)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_a_budget_that_is_spent_was_to_be_asked_again_in_a_hundred_years(gateway: Gateway) -> None:
    key = gateway.key(max_budget=0)
    body = json.dumps({**CHAT, "model": "gpt"}).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f"{gateway.base}/v1/chat/completions", body, headers))
    with refused.value as answer:
        assert (answer.code, answer.headers["x-should-retry"]) == (429, "false")
        assert answer.headers["retry-after"] is None
