"""Which calls are the same call."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headrace.calls import CHAT, IMAGES, prepare
from headrace.layers.keys import call_key
from headrace.served import RESPONSES

SECRET = "sk-very-secret-0123456789"
JSON = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3))
OPTIONS = st.dictionaries(st.sampled_from(["temperature", "seed", "stop", "x", "extra_body_like"]), JSON, max_size=4)


def key(content: Any = "hi", *, stream: bool = False, **options: Any) -> str | None:
    return call_key(prepare(CHAT, "gpt", [{"role": "user", "content": content}], stream, options), "gpt")


@given(OPTIONS, OPTIONS)
def test_two_calls_have_one_key_exactly_when_they_say_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    def said(options: dict[str, Any]) -> list[tuple[str, str]]:
        return sorted((name, repr(value)) for name, value in options.items() if value is not None)

    assert (key(**one) == key(**other)) == (said(one) == said(other))


def test_the_order_in_which_things_are_said_does_not_matter() -> None:
    assert key(seed=1, temperature=0) == key(temperature=0, seed=1)
    one = call_key(prepare(CHAT, "gpt", [{"role": "user", "content": "hi"}], False, {}), "gpt")
    other = call_key(prepare(CHAT, "gpt", [{"content": "hi", "role": "user"}], False, {}), "gpt")
    assert one == other


def test_credentials_are_no_part_of_a_key() -> None:
    for opened in (
        {"api_key": SECRET},
        {"aws_secret_access_key": SECRET},
        {"extra_headers": {"Authorization": SECRET, "x-api-key": SECRET}},
    ):
        assert key(**opened) == key()


def test_a_picture_or_what_runs_in_the_background_is_like_no_other() -> None:
    assert call_key(prepare(IMAGES, "gpt", "a mill", False, {}), "gpt") is None
    assert call_key(prepare(RESPONSES, "gpt", "hi", False, {"background": True}), "gpt") is None
    assert call_key(prepare(RESPONSES, "gpt", "hi", False, {}), "gpt") is not None
