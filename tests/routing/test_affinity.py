"""Which deployment served a conversation last."""

from __future__ import annotations

import pytest

from headrace.routing.affinity import Affinity, prefixes, session, session_of

TURN = [{"role": "user", "content": "Hello"}]
LATER = [*TURN, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "How are you?"}]


def test_a_conversation_is_known_by_its_longest_beginning() -> None:
    known = Affinity()
    known.remember(prefixes("gpt", TURN), "a", 0.0)
    assert known.find(prefixes("gpt", LATER), 1.0) == "a"
    known.remember(prefixes("gpt", LATER), "b", 1.0)
    assert known.find(prefixes("gpt", [*LATER, *TURN]), 2.0) == "b"
    assert known.find(prefixes("gpt", [{"role": "user", "content": "Other"}]), 2.0) is None
    assert known.find(prefixes("other", LATER), 2.0) is None


def test_it_is_forgotten_after_a_time_and_when_there_is_too_much() -> None:
    known = Affinity(seconds=10.0, most=2)
    known.remember(session("gpt", "s1"), "a", 0.0)
    assert known.find(session("gpt", "s1"), 9.0) == "a"
    assert known.find(session("gpt", "s1"), 10.0) is None
    for name in ("s2", "s3"):
        known.remember(session("gpt", name), "b", 5.0)
    assert known.find(session("gpt", "s1"), 6.0) is None


@pytest.mark.parametrize("control", [{"session_id": "s"}, {"metadata": {"session_id": "s"}}, {"metadata": {"litellm_session_id": "s"}}])
def test_a_session_is_named_in_any_of_litellms_places(control: dict[str, object]) -> None:
    assert session_of(control) == "s"
    assert session_of({}) is None
