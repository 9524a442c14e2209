"""Prints a response as it arrives."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Final, Self

import click

from headrace.cli.terminal import clean, colourful, note, pretty

ENDINGS: Final = {
    "length": "the answer was cut off at its limit of tokens",
    "content_filter": "the provider's content filter cut the answer off",
}
"""Finish reasons to report to the user."""


class Voice:
    """Writes a response to standard output; on a terminal with its reasoning, dimmed, otherwise only the response itself.

    As a context manager, it ends the line however the response ends, so that later output starts on a new one.
    """

    def __init__(self) -> None:
        self._pretty = pretty()
        self._colourful = colourful()
        self._thinking = False
        self._last = "\n"
        self._finish: str | None = None
        self._said: list[str] = []

    @property
    def said(self) -> str:
        """The response so far, without its reasoning."""
        return "".join(self._said)

    def hear(self, answer: Any) -> None:
        """Print a complete response, or one chunk of a stream."""
        for choice in answer.choices or ():
            part = choice.get("delta") or choice.get("message")
            if part is not None:
                self._think(part.get("reasoning_content"))
                self._speak(part.get("content") or part.get("refusal"))
            self._finish = choice.get("finish_reason") or self._finish

    def _think(self, text: str | None) -> None:
        if not text or not self._pretty:
            return
        self._thinking = True
        self._write(click.style(clean(text), dim=True) if self._colourful else clean(text), ends=text[-1])

    def _speak(self, text: str | None) -> None:
        if not text:
            return
        if self._thinking:
            self._thinking = False
            self._write("\n\n" if self._last != "\n" else "\n", ends="\n")
        self._said.append(text)
        self._write(clean(text) if self._pretty else text, ends=text[-1])

    def _write(self, text: str, *, ends: str) -> None:
        self._last = ends
        sys.stdout.write(text)
        sys.stdout.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._last != "\n" and not isinstance(error, BrokenPipeError):
            self._write("\n", ends="\n")
        if kind is None and self._finish in ENDINGS:
            note(f"({ENDINGS[self._finish]})")
