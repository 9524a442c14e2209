"""Guardrails around real calls, whole and streamed, in both colours and every dialect; answers are made here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace
from conftest import Colour
from headrace import handlers
from headrace.layers import around
from headrace.layers.guardrails import Finding, Guardrail, Guardrails, apart
from headrace.layers.held import Text
from headrace.layers.pii import PII
from headrace.layers.secrets import Secrets

MAIL = "anna.smith@example.org"
KEY = "sk-ant-api03-" + "Ab1" * 20
CARD = "4111 1111 1111 1111"


class Echo:
    """A model that says what it was told, in pieces of a few characters."""

    def __init__(self, size: int = 3) -> None:
        self.size = size
        self.heard: list[Any] = []
        self.answered = 0
        self.says: str | None = None

    def _said(self, call: Any) -> str:
        self.heard.append(json.loads(bytes(call.body["messages"])))
        self.answered += 1
        return self.says or str(self.heard[-1][-1]["content"])

    def whole(self, call: Any, model: str, timeouts: Any) -> dict[str, Any]:
        message = {"role": "assistant", "content": self._said(call)}
        return {"id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    async def awhole(self, call: Any, model: str, timeouts: Any) -> dict[str, Any]:
        return self.whole(call, model, timeouts)

    def chunks(self, call: Any, model: str, timeouts: Any) -> Iterator[dict[str, Any]]:
        text = self._said(call)
        for at in range(0, len(text), self.size):
            delta = {"content": text[at : at + self.size]}
            yield {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        yield {"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}

    async def achunks(self, call: Any, model: str, timeouts: Any) -> Any:
        for chunk in self.chunks(call, model, timeouts):
            yield chunk


@pytest.fixture
def echo() -> Iterator[Echo]:
    before, around._layers = around._layers, ()
    made = Echo()
    handlers.register("echo", made)
    yield made
    around._layers = before


def guard(*rules: Any) -> Guardrails:
    made = Guardrails(rules)
    made.install()
    return made


def say(colour: Colour, text: Any, *, on: Any = headrace, model: str = "echo/m", **options: Any) -> str:
    messages = text if isinstance(text, list) else [{"role": "user", "content": text}]

    async def whole() -> Any:
        answer = await on.acompletion(model, messages, **options)
        return [chunk async for chunk in answer] if options.get("stream") else answer

    if colour.is_async:
        answer = asyncio.run(whole())
    else:
        answer = on.completion(model, messages, **options)
        answer = list(answer) if options.get("stream") else answer
    if not options.get("stream"):
        return str(answer.choices[0].message.content)
    assert answer[-1].choices[0].finish_reason == "stop"
    return "".join(chunk.choices[0].delta.content or "" for chunk in answer)


def test_what_is_masked_never_leaves(echo: Echo, colour: Colour) -> None:
    guard(PII(where=["input"]))
    assert say(colour, f"I am {MAIL}, card {CARD}.") == "I am <EMAIL_ADDRESS>, card <CREDIT_CARD>."
    assert MAIL not in json.dumps(echo.heard)


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_model_says_is_masked_however_it_comes(echo: Echo, colour: Colour, stream: bool) -> None:
    guard(PII(where=["output"]), Secrets(where=["output"]))
    said = say(colour, f"{'word ' * 60}{MAIL} and {KEY}, then {'more ' * 60}{CARD}", stream=stream)
    assert said == f"{'word ' * 60}<EMAIL_ADDRESS> and <ANTHROPIC_KEY>, then {'more ' * 60}<CREDIT_CARD>"


def test_what_is_blocked_is_refused_before_it_is_sent_and_not_repeated(echo: Echo, colour: Colour) -> None:
    guard(Secrets(action="block"))
    with pytest.raises(headrace.ContentPolicyViolationError, match="'secrets' refuses the input: ANTHROPIC_KEY") as caught:
        say(colour, f"My key is {KEY}")
    assert KEY not in str(caught.value)
    assert caught.value.status_code == 400
    assert echo.answered == 0


def test_a_stream_that_says_what_is_blocked_ends_there(echo: Echo, colour: Colour) -> None:
    guard(PII(action="block", where=["output"]))
    with pytest.raises(headrace.ContentPolicyViolationError, match="refuses the output: EMAIL_ADDRESS"):
        say(colour, f"{'word ' * 100}{MAIL}", stream=True)


def test_a_router_s_calls_are_guarded_too(echo: Echo, colour: Colour) -> None:
    guard(PII())
    router = headrace.Router([{"model_name": "g", "litellm_params": {"model": "echo/m"}}])
    assert say(colour, MAIL, on=router, model="g") == "<EMAIL_ADDRESS>"


def test_a_guardrail_that_is_not_always_on_is_asked_for_by_name(echo: Echo, colour: Colour) -> None:
    guard(PII(default_on=False))
    assert say(colour, MAIL) == MAIL
    assert say(colour, MAIL, guardrails=["pii"]) == "<EMAIL_ADDRESS>"
    with pytest.raises(headrace.BadRequestError, match="there is no 'pie'; known: pii"):
        say(colour, MAIL, guardrails=["pie"])


def test_every_part_that_the_model_reads_is_looked_at(echo: Echo) -> None:
    guard(PII(where=["input"]))
    called = {"id": "c", "type": "function", "function": {"name": "mail", "arguments": json.dumps({"to": MAIL})}}
    picture = {"type": "image_url", "image_url": {"url": f"https://example.org/{MAIL}"}}
    say(
        Colour("sync"),
        [
            {"role": "system", "content": MAIL},
            {"role": "user", "content": [{"type": "text", "text": MAIL}, picture]},
            {"role": "assistant", "content": None, "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "c", "content": f"sent to {MAIL}"},
            {"role": "user", "content": "x"},
        ],
    )
    heard = json.dumps(echo.heard)
    assert heard.count("<EMAIL_ADDRESS>") == 4
    assert heard.count(MAIL) == 1
    assert f"https://example.org/{MAIL}" in heard


def test_the_callers_own_messages_are_not_changed(echo: Echo) -> None:
    guard(PII())
    messages = [{"role": "user", "content": MAIL}]
    say(Colour("sync"), messages)
    assert messages == [{"role": "user", "content": MAIL}]


ANSWERS: dict[str, dict[str, Any]] = {
    "responses": {"input": "hi", "stream": True},
    "anthropic_messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 500, "stream": True},
    "generate_content_stream": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}


@pytest.mark.parametrize("name", ANSWERS)
def test_streams_of_every_dialect_are_looked_at(echo: Echo, colour: Colour, name: str) -> None:
    guard(PII(where=["output"]))
    echo.says = f"{'word ' * 60}{MAIL} end"

    async def whole() -> list[Any]:
        return [event async for event in await getattr(headrace, f"a{name}")(model="echo/m", **ANSWERS[name])]

    events = asyncio.run(whole()) if colour.is_async else list(getattr(headrace, name)(model="echo/m", **ANSWERS[name]))
    told = json.dumps([event.model_dump() for event in events])
    assert MAIL not in told
    assert "anna" not in told
    assert "EMAIL_ADDRESS" in told


class Digits(Guardrail):
    """Five digits in a row, or more."""

    name = "digits"
    window = 8

    def find(self, text: str) -> list[Finding]:
        import re

        return [Finding(*match.span(), "DIGITS") for match in re.finditer(r"\d{5,}", text)]


@given(st.text("a1 ", max_size=200), st.lists(st.integers(1, 9), min_size=1, max_size=60))
def test_a_text_in_pieces_comes_out_as_the_whole_would(text: str, sizes: list[int]) -> None:
    rule = Digits()
    held = Text(rule._apply_output, rule._spans, rule.window)
    said, at = "", 0
    for size in sizes * (len(text) // len(sizes) + 1):
        said += held.feed(text[at : at + size])
        at += size
    assert said + held.rest() == rule._apply_output(text)


def test_a_stream_of_chinese_flows_though_it_has_no_spaces() -> None:
    rule = Digits()
    held = Text(rule._apply_output, rule._spans, rule.window)
    given = held.feed("水" * 20)
    assert given == "水" * 12


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to anna@example.org.", "write to <EMAIL_ADDRESS>."),
        ("4111-1111-1111-1111 or 4111111111111111", "<CREDIT_CARD> or <CREDIT_CARD>"),
        ("4111 1111 1111 1112 is no card", "4111 1111 1111 1112 is no card"),
        ("order 4000000000000000000000", "order 4000000000000000000000"),
        ("IBAN DE89 3704 0044 0532 0130 00", "IBAN <IBAN_CODE>"),
        ("IBAN GB82 WEST 1234 5698 7654 33", "IBAN GB82 WEST 1234 5698 7654 33"),
        ("ssn 536-90-4399", "ssn <US_SSN>"),
        ("at 192.168.1.17, version 1.2.3", "at <IP_ADDRESS>, version 1.2.3"),
        ("at 2001:db8::1 at 12:30:45", "at <IP_ADDRESS> at 12:30:45"),
        ("call +44 20 7946 0958 now", "call <PHONE_NUMBER> now"),
        ("call (415) 555-2671 now", "call (415) 555-2671 now"),
    ],
)
def test_personal_data_is_known_by_its_form_and_its_check_digits(text: str, masked: str) -> None:
    assert PII()._apply_output(text) == masked


def test_telephone_numbers_of_a_country_need_no_plus() -> None:
    assert PII(region="US")._apply_output("call (415) 555-2671 now") == "call <PHONE_NUMBER> now"


@pytest.mark.parametrize(
    "secret",
    [
        KEY, "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "a1B2" * 9, "sk_live_" + "1a" * 12, "sk-proj-" + "aB3_" * 12, "AIza" + "b" * 35, "hf_" + "a" * 34,
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        "-----BEGIN RSA PRIVATE KEY-----", "postgres://user:pa55word@host/db",
    ],
)  # fmt: skip
def test_keys_are_known_by_what_they_look_like(secret: str) -> None:
    masked = Secrets()._apply_output(f"here: {secret} .")
    assert "<" in masked
    assert secret not in masked


@pytest.mark.parametrize("text", ["", "The sketch-book of a task-force", "sk-learn is a library", "a risk-free ask"])
def test_words_are_no_keys(text: str) -> None:
    assert Secrets()._apply_output(text) == text


@pytest.mark.parametrize("kind", ["PII", "Secrets"])
def test_a_kind_that_is_not_known_is_named(kind: str) -> None:
    with pytest.raises(headrace.ConfigurationError, match="kinds must be"):
        {"PII": PII, "Secrets": Secrets}[kind](kinds=["NAMES"])


@pytest.mark.parametrize(("option", "value"), [("action", "hide"), ("where", "input"), ("where", ["middle"])])
def test_an_option_that_cannot_work_is_named(option: str, value: Any) -> None:
    with pytest.raises(headrace.ConfigurationError, match=option):
        PII(**{option: value})


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(headrace.ConfigurationError, match="need different names"):
        Guardrails([PII(), PII()])


def test_of_findings_that_overlap_the_earlier_and_the_longer_stay() -> None:
    found = [Finding(5, 9, "B"), Finding(0, 6, "A"), Finding(0, 3, "C"), Finding(6, 8, "D")]
    assert [one.kind for one in apart(found)] == ["A", "D"]


class Judge(Guardrail):
    """Judges beside the call."""

    name = "judge"
    judges = True

    def __init__(self, *, refuses: bool) -> None:
        super().__init__()
        self.refuses = refuses

    def find(self, text: str) -> Sequence[Finding]:
        return ()

    async def during(self, ports: Any, call: Any) -> None:
        await ports.clock.sleep(0)
        if self.refuses:
            raise headrace.ContentPolicyViolationError("not that", "", call.model)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("refuses", [False, True])
def test_an_answer_waits_for_its_judge(echo: Echo, colour: Colour, stream: bool, refuses: bool) -> None:
    guard(Judge(refuses=refuses))
    if not refuses:
        assert say(colour, "hello", stream=stream) == "hello"
        return
    with pytest.raises(headrace.ContentPolicyViolationError, match="not that"):
        say(colour, "hello", stream=stream)


@pytest.mark.parametrize("before", range(0, 200, 3))
def test_a_number_with_spaces_is_found_wherever_the_stream_is_cut(before: int) -> None:
    rule = PII(kinds=["CREDIT_CARD"])
    held = Text(rule._apply_output, rule._spans, rule.window)
    text = "." * before + f" {CARD} " + "." * 300
    assert "".join([held.feed(letter) for letter in text]) + held.rest() == text.replace(CARD, "<CREDIT_CARD>")


def test_a_key_longer_than_the_window_is_not_cut_in_two() -> None:
    rule = Secrets(kinds=["JSON_WEB_TOKEN"])
    held = Text(rule._apply_output, rule._spans, rule.window)
    text = f"key: eyJ{'Ab1' * 100}.{'Cd2' * 20} end"  # no key before its dot has come
    assert "".join([held.feed(letter) for letter in text]) + held.rest() == "key: <JSON_WEB_TOKEN> end"
