"""The dashboard at `/` as a browser without JavaScript sees it, and the data that its script requests."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPMessage
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.gateway.conftest import KEY, router_over, serving
from tests.gateway.test_records import OneKey

from headrace.gateway.callers import Caller, Role
from headrace.gateway.config import Settings
from headrace.gateway.page import serving as page
from headrace.gateway.page.dashboard_data import holder_of
from headrace.gateway.page.histogram import LEAST, Histogram, total
from headrace.gateway.page.recent_calls import MOST_UNCOUNTED, SLOTS, SPAN, RecentCalls
from headrace.gateway.records import NoLedger, Outcome, Record
from headrace.routing.events import Event
from headrace.simulator.server import Running


class Answer(NamedTuple):
    status: int
    headers: HTTPMessage
    body: bytes


def ask(base: str, path: str, authorization: str = "", body: Any = None, **headers: str) -> Answer:
    sent = {"authorization": authorization} if authorization else {}
    content = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(base + path, content, {**sent, "content-type": "application/json", **headers})
    try:
        with urllib.request.urlopen(asked) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read())


def password(key: str) -> str:
    return "Basic " + base64.b64encode(f":{key}".encode()).decode()


@pytest.fixture
def unbuilt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(page, "BUILT", tmp_path)
    return tmp_path


@pytest.fixture
def base(unbuilt: Path, upstream: Running) -> Iterator[str]:
    with serving(router_over(upstream), Settings(key=KEY)) as address:
        yield address


def chat(base: str, **more: Any) -> Answer:
    return ask(base, "/v1/chat/completions", f"Bearer {KEY}", {"model": "gpt", "messages": [{"role": "user", "content": "hi"}], **more})


# ---- the plain page


def test_without_a_build_the_page_is_tables_of_the_same_picture(base: str) -> None:
    assert chat(base).status == 200
    shown = ask(base, "/", password(KEY))
    text = shown.body.decode()
    assert shown.status == 200
    assert shown.headers["content-type"].startswith("text/html")
    assert "<h2>gpt</h2>" in text
    assert "openai/gpt-sim" in text
    assert "<td>answered</td>" in text
    assert "<script" not in text


def test_a_browser_without_a_key_is_asked_for_one(base: str) -> None:
    shown = ask(base, "/")
    assert shown.status == 401
    assert shown.headers["www-authenticate"].startswith("Basic")
    assert b"sk-" not in shown.body


def test_a_password_opens_the_page_and_nothing_else(base: str) -> None:
    """Browsers send it along with what other sites' forms ask for."""
    assert ask(base, "/ui/state", password(KEY)).status == 401
    assert ask(base, "/v1/models", password(KEY)).status == 401


@pytest.mark.parametrize("sent", ["Basic !!!", "Basic /w==", "Basic", password("sk-of-somebody")])
def test_a_wrong_password_is_asked_for_again(base: str, sent: str) -> None:
    assert ask(base, "/", sent).status == 401


def test_what_callers_write_is_text_in_it(base: str) -> None:
    assert chat(base, model="<script>alert(1)</script>").status == 404
    text = ask(base, "/", password(KEY)).body.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script" not in text


# ---- the picture


def test_the_picture_says_why_a_call_went_where_it_did(base: str) -> None:
    assert chat(base).status == 200
    picture = json.loads(ask(base, "/ui/state", f"Bearer {KEY}").body)
    call = picture["calls"][0]
    assert (call["model"], call["outcome"], call["status"]) == ("gpt", "answered", 200)
    assert call["decision"]["deployment"] == call["deployment"]
    assert call["decision"]["settled"]["output"] == call["usage"]["output"]
    group = next(group for group in picture["groups"] if group["name"] == "gpt")
    assert group["traffic"]["calls"] == 1
    assert sum(group["series"]["calls"]) == 1
    assert [one["id"] for one in group["deployments"]] == [call["deployment"]]


def test_a_failed_call_tells_where_it_failed(base: str) -> None:
    assert chat(base, model="unknown-there").status == 404
    call = json.loads(ask(base, "/ui/state", f"Bearer {KEY}").body)["calls"][0]
    assert (call["outcome"], call["error"]) == ("failed", "not_found")
    assert call["decision"]["deployment"] == call["deployment"] != ""


def test_limits_show_what_is_used_of_them(base: str) -> None:
    assert chat(base, model="narrow").status == 200
    picture = json.loads(ask(base, "/ui/state", f"Bearer {KEY}").body)
    (deployment,) = next(group for group in picture["groups"] if group["name"] == "narrow")["deployments"]
    assert deployment["limits"] == [{"name": "rpm", "limit": 1.0, "used": 1.0, "share": 1.0}]


def test_no_key_of_a_provider_is_in_the_picture(base: str) -> None:
    assert chat(base).status == 200
    assert b"sk-" not in ask(base, "/ui/state", f"Bearer {KEY}").body


# ---- who may look


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 200), (Role.CALLER, 403)])
def test_the_page_is_for_administrators(unbuilt: Path, upstream: Running, role: Role, status: int) -> None:
    keys = OneKey(Caller(key="key_1", role=role))
    with serving(router_over(upstream), Settings(key=KEY), keys=keys) as base:
        assert ask(base, "/ui/state", "Bearer sk-alice").status == status
        assert ask(base, "/", password("sk-alice")).status == status


def test_without_a_master_key_only_pages_of_this_machine_may_look(unbuilt: Path, upstream: Running) -> None:
    with serving(router_over(upstream), Settings()) as base:
        assert ask(base, "/ui/state").status == 200
        assert ask(base, "/ui/state", origin="https://elsewhere.example").status == 403
        assert ask(base, "/ui/state", host="elsewhere.example").status == 403


# ---- the built files


def test_built_files_are_shown_to_everybody_and_come_from_nowhere_else(base: str, unbuilt: Path) -> None:
    page._files.cache_clear()
    (unbuilt / "index.html").write_text("<p>built</p>")
    (unbuilt / "page.js").write_text("1")
    (unbuilt.parent / "secret.txt").write_text("secret")
    try:
        shown = ask(base, "/")
        assert (shown.status, shown.body) == (200, b"<p>built</p>")
        assert "default-src 'none'" in shown.headers["content-security-policy"]
        assert "unsafe" not in shown.headers["content-security-policy"]
        assert shown.headers["x-content-type-options"] == "nosniff"
        assert ask(base, "/ui/page.js").headers["content-type"].startswith("text/javascript")
        for path in ("/ui/../secret.txt", "/ui/%2e%2e/secret.txt", "/ui/secret.txt", "/ui/.hidden", "/ui//etc/passwd"):
            assert ask(base, path, f"Bearer {KEY}").status == 404
    finally:
        page._files.cache_clear()


# ---- counting


def test_quantiles_are_within_a_tenth() -> None:
    seen = Histogram()
    for thousandth in range(1, 1001):
        seen.add([thousandth / 1000])
    for share in (0.05, 0.5, 0.95, 1.0):
        assert seen.quantile(share) == pytest.approx(share, rel=0.1)
    assert Histogram().quantile(0.5) is None
    assert total([seen, Histogram()]).quantile(0.5) == seen.quantile(0.5)
    short = Histogram()
    short.add([0.0])
    assert short.quantile(0.5) == LEAST


def ended(at: float, **given: Any) -> Record:
    return Record(id="req", **{"began": at - 1.0, "ended": at, "group": "g", "deployment": "d", **given})


def test_what_is_older_than_a_quarter_of_an_hour_is_forgotten() -> None:
    now = [10_000.0]
    watch = RecentCalls(NoLedger(), now=lambda: now[0])
    watch.append(ended(now[0], outcome=Outcome.FAILED, usage={"input": 3, "output": 4}, cost=5))
    assert watch.sums("g")["calls"] == 1
    assert watch.sums("g") == watch.sums("g", "d")
    assert watch.series("g")["failed"][-1] == 1
    now[0] += SLOTS * SPAN / 2
    watch.append(ended(now[0]))
    assert (watch.sums("g")["calls"], watch.sums("g")["tokens"], watch.sums("g")["cost"]) == (2, 7, 5)
    now[0] += SLOTS * SPAN / 2 + SPAN
    assert watch.sums("g")["calls"] == 1
    now[0] += SLOTS * SPAN
    assert watch.sums("g")["calls"] == 0
    assert sum(watch.series("g")["calls"]) == 0


def test_however_many_calls_came_all_are_counted() -> None:
    """They are put into their slots together, when somebody looks or when they have become many."""
    now = 10_000.0
    watch = RecentCalls(NoLedger(), now=lambda: now)
    for number in range(2 * MOST_UNCOUNTED + 3):
        at, outcome = now - SPAN * (number % 2), (Outcome.ANSWERED, Outcome.FAILED, Outcome.LEFT)[number % 3]
        watch.append(ended(at, outcome=outcome, usage={"input": 2}, cost=1, first=at - 0.5, deployment="ab"[number % 2]))
    counted = watch.sums("g")
    assert (counted["calls"], counted["failed"], counted["left"], counted["tokens"], counted["cost"]) == (515, 172, 171, 1030, 515)
    assert watch.series("g")["calls"][-2:] == [257, 258]
    assert watch.sums("g", "a")["calls"] == 258
    assert watch.sums("g", "a")["total"]["p50"] == pytest.approx(1.0, rel=0.1)
    assert watch.sums("g", "a")["first"]["p50"] == pytest.approx(0.5, rel=0.1)


def test_who_waits_is_told_by_tenant_until_it_goes_or_gives_up() -> None:
    watch = RecentCalls(NoLedger())
    for call, tenant in enumerate(["anna", "anna", "ben"]):
        watch.hear(Event(kind="queued", group="g", call=call, tenant=tenant, at=0.0))
    assert [(one["tenant"], one["waiting"]) for one in watch.line("g")] == [("anna", 2), ("ben", 1)]
    watch.hear(Event(kind="sent", group="g", call=0, tenant="anna"))
    watch.hear(Event(kind="refused", group="g", call=2, tenant="ben"))
    assert [(one["tenant"], one["waiting"]) for one in watch.line("g")] == [("anna", 1)]


def test_keys_are_told_by_their_names_once_they_are_known() -> None:
    watch = RecentCalls(NoLedger())
    watch.append(ended(1.0, key="key_1", name="anna"))
    watch.hear(Event(kind="queued", group="g", call=1, tenant="key_1"))
    assert watch.line("g")[0]["tenant"] == "anna"


@pytest.mark.parametrize(
    ("scope", "whose"),
    [
        ("key:k1", ("key", "k1", "")),
        ("team:t1:1767225600", ("team", "t1", "")),
        ("key:k1:gpt-*", ("key", "k1", "gpt-*")),
        ("key:k1:ft:gpt:own", ("key", "k1", "ft:gpt:own")),
        ("model:user:u1:ft:gpt:own:0", ("user", "u1", "ft:gpt:own")),
        ("customer:a%3A1:1767225600", ("customer", "a:1", "")),
        ("member:team:t1:ann:0", ("team", "t1", "ann")),
        ("member:team:t1:ann:limits", ("team", "t1", "ann")),
    ],
)
def test_a_scope_is_told_by_whose_it_is_and_for_which_model(scope: str, whose: tuple[str, str, str]) -> None:
    assert holder_of(scope) == whose
