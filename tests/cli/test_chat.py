"""`headrace chat`, one question at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import KEY
from tests.cli.shell import Program, Terminal, headrace

from headrace.cli.options import chat_target
from headrace.cli.terminal import clean
from headrace.simulator.server import Running

pytestmark = pytest.mark.usefixtures("configured")


def test_a_question_is_answered_by_the_model_of_the_settings(program: Program) -> None:
    code, out, err = program("chat", "Hello", "there")
    assert (code, err) == (0, "")
    assert len(out.split()) > 3
    assert out.endswith("\n")


def test_a_pipe_gets_no_escape_codes() -> None:
    done = headrace("chat", "Hello", env={"FORCE_COLOR": "1"})
    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out


@pytest.mark.parametrize(
    ("arguments", "stdin", "asked"),
    [
        (("Hello", "there"), None, "Hello there"),
        (("-",), "from a pipe\n", "from a pipe"),
        ((), "from a pipe\n", "from a pipe"),
        (("Translate:",), "Bonjour\n", "Translate:\n\nBonjour"),
        (("Translate:", "-"), "Bonjour\n", "Translate:\n\nBonjour"),
    ],
)
def test_words_and_what_is_piped_in_are_joined(
    program: Program, providers: Running, arguments: tuple[str, ...], stdin: str, asked: str
) -> None:
    """The provider counts a quarter of the characters it was sent as prompt tokens: told apart by their number."""
    code, out, _ = program("chat", "--json", *arguments, stdin=stdin)
    expected, direct, _ = program("chat", "--json", asked)
    assert (code, expected) == (0, 0)
    assert json.loads(out)["usage"]["prompt_tokens"] == json.loads(direct)["usage"]["prompt_tokens"]


def test_nothing_to_ask_is_bad_usage(program: Program) -> None:
    code, out, err = program("chat", stdin="  \n")
    assert (code, out) == (2, "")
    assert err.startswith("headrace: nothing to ask")
    assert err.count("\n") == 1


def test_json_is_the_whole_response(program: Program) -> None:
    code, out, _ = program("chat", "--json", "--max-tokens", "5", "Hello")
    answer = json.loads(out)
    assert code == 0
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5


def test_streamed_json_is_one_object_a_chunk(program: Program) -> None:
    code, out, _ = program("chat", "--json", "--stream", "--max-tokens", "5", "Hello")
    chunks = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert len(chunks) > 3
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


def test_streamed_and_whole_answers_are_the_same_words(program: Program) -> None:
    """The simulator gives the same words to the same seeded request; unseeded ones only have to be there."""
    streamed, whole = program("chat", "Hello"), program("chat", "--no-stream", "Hello")
    assert streamed.code == whole.code == 0
    assert streamed.out.strip()
    assert whole.out.strip()


def test_system_and_parameters_are_sent(program: Program) -> None:
    plain = json.loads(program("chat", "--json", "Hello").out)
    told = json.loads(
        program("chat", "--json", "--system", "Answer in one word, whatever you are asked.", "--temperature", "0.5", "Hello").out
    )
    assert told["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"]
    refused = program("chat", "--temperature", "9", "Hello")
    assert refused.code == 1
    assert "temperature" in refused.err


def test_another_model_at_another_address(program: Program, providers: Running) -> None:
    code, out, err = program("chat", "--model", "openai/gpt-sim", "--base-url", providers.url("slow"), "--max-tokens", "3", "Hello")
    assert (code, err) == (0, "")
    assert out.strip()


def test_a_bare_model_name_is_one_of_the_configured_provider(program: Program) -> None:
    code, _, err = program("chat", "--model", "gpt-other", "Hello")
    assert code == 1
    assert "gpt-other" in err


def test_reasoning_is_dim_on_a_terminal_and_absent_from_a_pipe(
    terminal: Callable[..., Terminal], providers: Running, monkeypatch: pytest.MonkeyPatch, program: Program
) -> None:
    monkeypatch.setenv("LLM_PROVIDER_BASE_URL", providers.url("thinker"))
    asked = ("chat", "--reasoning-effort", "high", "Hello")
    screen = terminal(*asked)
    assert screen.end() == 0
    assert "\x1b[2m" in screen.raw
    whole = json.loads(program(*asked, "--json", "--stream", "--max-tokens", "12").out.splitlines()[1])
    assert whole["choices"][0]["delta"]["reasoning_content"]
    assert program(*asked, "--max-tokens", "1").out == "", "one token of thought, none of answer"


def test_no_color_takes_all_codes_away(terminal: Callable[..., Terminal], providers: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("LLM_PROVIDER_BASE_URL", providers.url("thinker"))
    screen = terminal("chat", "--reasoning-effort", "high", "Hello")
    assert screen.end() == 0
    assert "\x1b" not in screen.raw


def test_control_characters_of_a_model_do_not_reach_the_terminal() -> None:
    assert clean("a\x1b]0;title\x07b\x9b31mc\r\n\td") == "a]0;titleb31mc\n\td"


def test_a_failed_call_is_one_line_and_1(program: Program) -> None:
    code, out, err = program("chat", "--model", "openai/no-such-model", "Hello")
    assert (code, out) == (1, "")
    assert err.startswith("headrace: ")
    assert err.count("\n") == 1
    assert "no-such-model" in err


def test_debug_shows_where_it_came_from() -> None:
    for arguments in (("--debug", "chat", "--model", "openai/none", "Hello"), ("chat", "--debug", "--model", "openai/none", "Hello")):
        done = headrace(*arguments)
        assert done.code == 1
        assert "Traceback" in done.err


def test_a_refused_key_is_never_shown(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "sk-wrong-9876543210-secret"
    monkeypatch.setenv("LLM_PROVIDER_API_KEY", secret)
    code, out, err = program("chat", "Hello")
    assert code == 1
    assert secret not in out + err
    assert KEY not in out + err


def test_an_unreachable_host_is_named(program: Program) -> None:
    code, _, err = program("chat", "--model", "openai/x", "--base-url", "http://127.0.0.1:9/v1", "--timeout", "2", "Hello")
    assert code == 1
    assert "127.0.0.1:9" in err


@pytest.mark.parametrize("on_terminal", [False, True])
def test_ctrl_c_during_a_stream_is_130_and_quiet(
    terminal: Callable[..., Terminal], providers: Running, monkeypatch: pytest.MonkeyPatch, on_terminal: bool
) -> None:
    monkeypatch.setenv("LLM_PROVIDER_BASE_URL", providers.url("slow"))
    if on_terminal:
        screen = terminal("chat", "Hello")
        screen.until(" ")
        screen.send("\x03")
        assert screen.end() == 130
        assert "Traceback" not in screen.text
        assert "Error" not in screen.text
        return
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace", "chat", "Hello"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert os.read(process.stdout.fileno(), 1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, b"")


@pytest.mark.parametrize("command", ["providers | head -1", "chat Hello | head -c 5"])
def test_a_reader_that_has_seen_enough_is_no_error(providers: Running, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("LLM_PROVIDER_BASE_URL", providers.url("slow"))
    done = subprocess.run(
        f"{sys.executable} -m headrace {command}; code=${{PIPESTATUS[0]}}; echo; echo $code",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "0"


def test_the_key_may_stand_in_dotenv_under_the_provider_s_own_name(
    program: Program, configured: Path, providers: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith(("LLM_", "EMBEDDING_")):
            monkeypatch.delenv(name)
    (configured / ".env").write_text(f"OPENAI_API_KEY={KEY}\nOPENAI_BASE_URL={providers.url('fast')}\n")
    code, out, err = program("chat", "--model", "openai/gpt-sim", "Hello")
    assert (code, err) == (0, "")
    assert out.strip()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_closed_streams_are_no_reason_to_crash(closed: str) -> None:
    command = f"{sys.executable} -m headrace chat --max-tokens 3 Hello {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_address_belongs_to_its_provider(providers: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """/model within the provider keeps --base-url; another provider is asked at its own address."""
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    here = chat_target(model="openai/gpt-sim", base_url=providers.url("slow"), timeout=None)
    assert here.at("other").destination().base_url == here.at("openai/other").destination().base_url == providers.url("slow")
    assert "groq.com" in here.at("groq/llama").destination().base_url
    assert KEY not in repr(here.at("groq/llama"))
