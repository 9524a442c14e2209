"""`headrace chat`: a single question, or a conversation."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from typing import Any

import click

from headrace.cli import repl
from headrace.cli.options import Target, calling, chat_target
from headrace.cli.terminal import write_json
from headrace.cli.voice import Voice


@click.command(short_help="Ask a model a question, or start a conversation.")
@click.argument("prompt", nargs=-1)
@calling
@click.option("--system", metavar="TEXT", help="System prompt.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole response as JSON; with --stream, one object per chunk.")
@click.option("--stream/--no-stream", default=None, help="Show the answer as it arrives (the default, except with --json).")
@click.option("--temperature", type=float, metavar="T", help="Sampling temperature: 0 for the likeliest words, higher for more variety.")
@click.option("--reasoning-effort", metavar="LEVEL", help="How long a reasoning model thinks: none, low, medium, high.")
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="Maximum length of the answer, in tokens.")
def chat(
    prompt: tuple[str, ...],
    target: dict[str, Any],
    system: str | None,
    as_json: bool,
    stream: bool | None,
    temperature: float | None,
    reasoning_effort: str | None,
    max_tokens: int | None,
) -> None:
    """Ask a model a question. Without PROMPT, on a terminal, start a conversation.

    \b
      headrace chat Why is the sky blue?
      headrace chat --model groq/llama-3.3-70b-versatile "Name a river"
      git diff | headrace chat "Write a commit message for this"
      echo hi | headrace chat -
    """
    question = read_question(prompt)
    asked = chat_target(**target).having(temperature=temperature, reasoning_effort=reasoning_effort, max_tokens=max_tokens)
    if question is None:
        repl.converse(repl.Session(asked, system))
        return
    messages = [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": question}]
    streaming = not as_json if stream is None else stream
    if as_json:
        _answer_as_json(asked, messages, streaming)
    else:
        _answer(asked, messages, streaming)


def read_question(prompt: Sequence[str]) -> str | None:
    """The prompt, the piped input, or both joined by an empty line. None to start a conversation."""
    words = " ".join(word for word in prompt if word != "-").strip()
    if not (waiting := "-" in prompt or piped_in()):
        if words:
            return words
        if sys.stdin.isatty() and sys.stdout.isatty():
            return None
    text = sys.stdin.read().strip() if waiting else ""
    question = "\n\n".join(part for part in (words, text) if part)
    if not question:
        raise click.UsageError("nothing to ask: give a prompt, pipe one in, or start it on a terminal", click.get_current_context())
    return question


def piped_in() -> bool:
    """Whether standard input is meant to be read: a pipe, file or socket, not a terminal or /dev/null."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):  # closed, or a test double without a file descriptor
        return not sys.stdin.closed and not sys.stdin.isatty()
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _answer(target: Target, messages: list[dict[str, Any]], streaming: bool) -> None:
    voice = Voice()
    with voice:
        if streaming:
            with target.stream(messages) as chunks:
                for chunk in chunks:
                    voice.hear(chunk)
        else:
            voice.hear(target.complete(messages))


def _answer_as_json(target: Target, messages: list[dict[str, Any]], streaming: bool) -> None:
    if not streaming:
        write_json(target.complete(messages))
        return
    with target.stream(messages) as chunks:
        for chunk in chunks:
            print(chunk.model_dump_json(), flush=True)
