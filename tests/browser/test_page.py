"""What somebody sees and does at the gateway's page."""

from __future__ import annotations

import json
import re
import urllib.request
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect
from tests.gateway.conftest import KEY
from tests.gateway.persistence import kept

from headrace import Router
from headrace.gateway.persistence import Where

pytestmark = pytest.mark.timeout(120)


def post(base: str, path: str, body: dict[str, Any], key: str = KEY) -> Any:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(base + path, json.dumps(body).encode(), headers)) as answer:
        return json.loads(answer.read())


def chat(base: str, model: str = "gpt", key: str = KEY) -> Any:
    return post(base, "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "hi"}]}, key)


def enter(page: Page, base: str, section: str = "") -> None:
    page.goto(f"{base}/{section}")
    page.get_by_label("Key").fill(KEY)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Sign out").wait_for()


def test_nothing_is_shown_before_the_key_and_nothing_after_it_is_forgotten(page: Page, base: str) -> None:
    page.goto(base)
    page.get_by_label("Key").fill("sk-of-somebody-else")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("is unknown")
    page.get_by_label("Key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="gpt")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="gpt")).to_be_hidden()
    assert KEY not in page.content()


def test_the_overview_shows_headroom_and_traffic_as_they_come(page: Page, base: str) -> None:
    enter(page, base)
    card = page.get_by_role("region", name="gpt")
    expect(card.get_by_role("row", name=re.compile("north")).get_by_role("meter")).to_have_count(2)
    for _ in range(6):
        chat(base)
    calls = card.locator(".figures div", has_text="calls").locator("dd")
    expect(calls).to_have_text("6")
    expect(page.get_by_role("region", name="narrow").get_by_role("meter")).to_have_attribute("aria-valuenow", "0")
    chat(base, "narrow")
    expect(page.get_by_role("region", name="narrow").get_by_role("meter")).to_have_attribute("aria-valuenow", "100")


def test_the_queue_is_shown_by_the_name_of_the_key(page: Page, base: str) -> None:
    anna = post(base, "/key/generate", {"key_alias": "anna"})["key"]
    chat(base, "narrow", anna)

    headers = {"authorization": f"Bearer {anna}", "content-type": "application/json"}
    body = json.dumps({"model": "narrow", "messages": [{"role": "user", "content": "hi"}]})
    with closing(HTTPConnection(urlsplit(base).netloc)) as waiting:
        waiting.request("POST", "/v1/chat/completions", body, headers)
        enter(page, base)
        expect(page.get_by_role("region", name="narrow").locator(".queue")).to_contain_text("anna 1 waiting")
    expect(page.get_by_role("region", name="narrow").locator(".queue")).to_have_count(0)


def test_a_call_tells_why_it_went_where_it_did(page: Page, base: str) -> None:
    chat(base)
    enter(page, base, "#calls")
    page.get_by_role("button", name="details").first.press("Enter")
    why = page.locator(".record")
    expect(why).to_contain_text("Did not wait.")
    expect(why).to_contain_text(re.compile("Sent to (north|east)"))
    expect(why).to_contain_text(re.compile("Reserved .* input tokens"))
    expect(page.get_by_role("region", name="Request")).to_have_count(0)
    page.get_by_role("button", name="details").first.press("Enter")
    expect(why).to_have_count(0)


def test_a_call_shows_what_was_said_where_that_is_remembered(page: Page, base: str) -> None:
    chat(base, key=post(base, "/key/generate", {"store_prompts_in_spend_logs": True})["key"])
    enter(page, base, "#calls")
    page.get_by_role("button", name="details").first.press("Enter")
    expect(page.get_by_role("region", name="Request")).to_contain_text('"content": "hi"')
    expect(page.get_by_role("region", name="Response")).to_contain_text('"finish_reason": "stop"')


def test_keys_are_made_changed_blocked_rotated_and_deleted_by_keyboard(page: Page, base: str) -> None:
    page.on("dialog", lambda dialog: dialog.accept())
    enter(page, base, "#keys")
    page.get_by_role("button", name="New key").press("Enter")
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Models").fill("gpt")
    page.get_by_label("Requests per minute").fill("2")
    page.get_by_label("Budget ($)").fill("0.5")
    page.get_by_label("Budget period").fill("24h")
    page.keyboard.press("Enter")
    token = page.get_by_role("status").locator("code").inner_text()
    row = page.get_by_role("row", name=re.compile("anna"))
    expect(row).to_contain_text("2 rpm")
    expect(row).to_contain_text("of $0.5000 per 24h")
    assert chat(base, key=token)["choices"]

    page.get_by_role("button", name="Edit anna").press("Enter")
    page.get_by_label("Requests per minute").fill("")
    page.get_by_role("button", name="Save").press("Enter")
    expect(row).to_contain_text("none")

    page.get_by_role("button", name="Block anna").press("Enter")
    expect(row).to_contain_text("revoked")
    page.get_by_role("button", name="Unblock anna").press("Enter")
    expect(row).to_contain_text("active")

    page.get_by_role("button", name="Rotate anna").press("Enter")
    fresh = page.get_by_role("status").locator("code")
    expect(fresh).not_to_have_text(token)
    assert chat(base, key=fresh.inner_text())["choices"]

    page.get_by_role("button", name="Delete anna").press("Enter")
    expect(page.get_by_text("No keys yet")).to_be_visible()


def test_a_form_that_the_gateway_refuses_says_why(page: Page, base: str) -> None:
    post(base, "/key/generate", {"key_alias": "anna"})
    enter(page, base, "#keys")
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Name").fill("anna")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("alert")).to_contain_text("taken by another key")


def test_spending_is_shown_by_day_model_and_key(page: Page, base: str) -> None:
    anna = post(base, "/key/generate", {"key_alias": "anna"})["key"]
    chat(base, key=anna)
    enter(page, base, "#spend")
    expect(page.get_by_role("rowheader", name="gpt-sim")).to_be_visible()
    expect(page.get_by_role("rowheader", name="anna")).to_be_visible()
    expect(page.locator(".bars td.n").first).to_have_text(re.compile(r"^\$0\.\d+"))


def test_the_playground_streams_and_stops(page: Page, base: str) -> None:
    enter(page, base, "#playground")
    page.get_by_label("Message").fill("Hello")
    page.keyboard.press("Enter")
    expect(page.locator(".assistant p")).to_contain_text(".")
    expect(page.locator(".assistant small")).to_contain_text(re.compile("(north|east).*queued"))
    page.get_by_label("Model").select_option("long")
    page.get_by_label("Message").fill("Tell me more")
    page.keyboard.press("Enter")
    expect(page.locator(".assistant p").nth(1)).to_contain_text(" ")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_it_fits_a_narrow_screen(page: Page, base: str) -> None:
    enter(page, base)
    page.set_viewport_size({"width": 380, "height": 800})
    expect(page.get_by_role("heading", name="gpt")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_a_call_is_read_on_a_narrow_screen_without_scrolling_sideways(page: Page, base: str) -> None:
    """The table's last header, for ears alone, had made the page twice as wide, and the record lay in a row of that width."""
    chat(base)
    page.set_viewport_size({"width": 380, "height": 800})
    enter(page, base, "#calls")
    page.get_by_role("button", name="details").first.press("Enter")
    box = page.locator(".record").bounding_box()
    assert box is not None
    assert 0 <= box["x"] < box["x"] + box["width"] <= 380
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_a_long_name_makes_no_section_wider_than_the_screen(page: Page, base: str) -> None:
    """What a key of such a name had spent stood outside of its card, and the page was a half wider than the screen."""
    chat(base, key=post(base, "/key/generate", {"key_alias": "a-name-that-somebody-made-of-many-words-" * 4})["key"])
    for width in (1280, 380):
        page.set_viewport_size({"width": width, "height": 800})
        enter(page, base, "#spend")
        expect(page.get_by_role("rowheader", name=re.compile("made-of-many"))).to_be_visible()
        for section in ("Spend", "Calls", "Keys", "Overview"):
            page.goto(f"{base}/#{section.lower()}")
            page.get_by_role("link", name=section, exact=True).and_(page.locator("[aria-current]")).wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("button", name="Sign out").click()


def test_one_of_many_models_is_found_and_not_all_are_drawn(page: Page, tmp_path: Path) -> None:
    """A thousand deployments were a page of 130,000 pixels."""
    params = {"model": "openai/gpt-sim", "api_key": "sk-none", "base_url": "http://127.0.0.1:9/v1"}
    models = [{"model_name": f"group-{n:03}", "litellm_params": params, "model_info": {"id": f"deployment-{n:03}"}} for n in range(60)]
    with kept(Router(models), Where(f"sqlite:///{tmp_path / 'many.db'}", tmp_path / "many")) as (address, _):
        enter(page, address)
        expect(page.get_by_role("region")).to_have_count(20)
        page.get_by_role("button", name="Show more").press("Enter")
        expect(page.get_by_role("region")).to_have_count(40)
        page.get_by_label("Filter models").fill("ment-057")
        expect(page.get_by_role("heading", name="group-057")).to_be_visible()
        expect(page.get_by_role("region")).to_have_count(1)
        page.get_by_label("Filter models").fill("nothing")
        expect(page.get_by_text("None of 60 models match")).to_be_visible()


def test_a_gateway_that_does_not_answer_is_told_with_when_it_last_did(page: Page, base: str) -> None:
    """The browser's own words stood there, another in each: Failed to fetch."""
    enter(page, base)
    page.route("**/ui/state", lambda route: route.abort())
    expect(page.get_by_role("status")).to_contain_text(re.compile(r"the gateway does not respond; last update at \d\d:\d\d:\d\d"))
