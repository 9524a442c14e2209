"""The conversation of `headrace chat` on a terminal, key by key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.shell import Terminal

from headrace.simulator.server import Running

pytestmark = pytest.mark.usefixtures("configured")

PROMPT = "› "


@pytest.fixture
def talk(terminal: Callable[..., Terminal]) -> Terminal:
    screen = terminal("chat")
    screen.until(PROMPT)
    return screen


def said(screen: Terminal, words: str, then: str = PROMPT) -> str:
    """Type a line; what is shown until `then`."""
    at = len(screen.text)
    screen.send(f"{words}\n")
    at = screen.until(words.rsplit("\n", 1)[-1], after=at)
    end = screen.until(then, after=at)
    return screen.text[at:end]


def test_a_conversation_remembers_and_is_left_with_ctrl_d(talk: Terminal, configured: Path) -> None:
    assert "gpt-sim" in talk.text
    said(talk, "My name is Ada.")
    said(talk, "What is my name?")
    said(talk, "/save talk.json")
    saved = json.loads((configured / "talk.json").read_text())
    assert [turn["role"] for turn in saved["messages"]] == ["user", "assistant", "user", "assistant"]
    assert saved["messages"][0]["content"] == "My name is Ada."
    talk.send("\x04")
    assert talk.end() == 0


def test_commands(talk: Terminal, configured: Path) -> None:
    assert "/save FILE" in said(talk, "/help")
    assert "no system prompt" in said(talk, "/system")
    assert "Be brief" in said(talk, "/system Be brief.")
    assert "openai/gpt-sim" in said(talk, "/model")
    assert "GROQ_API_KEY" in said(talk, "/model groq/llama"), "told now, not at the next question"
    said(talk, "Hello")
    said(talk, "/save talk.md")
    assert (configured / "talk.md").read_text().startswith("**system**\n\nBe brief.\n\n**user**\n\nHello")
    said(talk, "/reset")
    said(talk, "/save empty.json")
    assert [turn["role"] for turn in json.loads((configured / "empty.json").read_text())["messages"]] == ["system"]
    assert "not a command" in said(talk, "/nonsense")
    assert "/save needs a file" in said(talk, "/save")
    talk.send("/quit\n")
    assert talk.end() == 0


def test_a_backslash_goes_on_in_the_next_line(talk: Terminal, configured: Path) -> None:
    said(talk, "first \\", then="… ")
    said(talk, "second")
    said(talk, "/save talk.json")
    assert json.loads((configured / "talk.json").read_text())["messages"][0]["content"] == "first \nsecond"


def test_ctrl_c_stops_the_answer_and_keeps_the_session(
    terminal: Callable[..., Terminal], providers: Running, monkeypatch: pytest.MonkeyPatch, configured: Path
) -> None:
    monkeypatch.setenv("LLM_PROVIDER_BASE_URL", providers.url("slow"))
    screen = terminal("chat")
    at = screen.until(PROMPT)
    screen.send("Tell me everything\n")
    at = screen.until("everything\n", after=at)
    screen.until(" ", after=at)
    screen.send("\x03")
    at = screen.until("(stopped)", after=at)
    screen.until(PROMPT, after=at)
    said(screen, "/save talk.json")
    turns = json.loads((configured / "talk.json").read_text())["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"]
    assert turns[1]["content"], "what had been said is kept"
    screen.send("\x04")
    assert screen.end() == 0


def test_ctrl_c_at_the_prompt_begins_a_new_line(talk: Terminal) -> None:
    at = len(talk.text)
    talk.send("half a quest")
    at = talk.until("half a quest", after=at)
    # CPython's readline misses a signal that comes in the moment before it waits; a person presses the key again.
    assert any(talk.shows(PROMPT, after=at, sending="\x03") for _ in range(4))
    talk.send("/quit\n")
    assert talk.end() == 0


def test_a_failed_question_is_told_and_forgotten(talk: Terminal, configured: Path) -> None:
    said(talk, "/model no-such-model")
    assert "headrace: " in said(talk, "Hello")
    said(talk, "/save talk.json")
    assert json.loads((configured / "talk.json").read_text())["messages"] == []
