"""The command line as users meet it: called, piped, and on a terminal with keys being pressed."""

from __future__ import annotations

import codecs
import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from headrace.cli.app import run
from headrace.settings import settings

ESCAPE = re.compile(r"\x1b\[[0-9;?]*(?:[A-Za-z]|\Z)|\x1b[()][0-9A-B]|\x1b\Z")
"""Escape codes, one that is still arriving included."""

# A session whose controlling terminal is ours, so that Ctrl-C reaches it; made by the child, since forking a threaded process is unsafe.
ON_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, [sys.executable, '-m', *sys.argv[1:]])"
)


class Result(NamedTuple):
    code: int
    out: str
    err: str


@dataclass
class Program:
    """`headrace …` in this process."""

    capture: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *arguments: str, stdin: str | None = None) -> Result:
        given = io.StringIO(stdin or "")
        if stdin is None:
            self.monkeypatch.setattr("headrace.cli.chat.piped_in", lambda: False)
            self.monkeypatch.setattr("headrace.cli.embed.piped_in", lambda: False)
        else:
            self.monkeypatch.setattr("headrace.cli.chat.piped_in", lambda: True)
            self.monkeypatch.setattr("headrace.cli.embed.piped_in", lambda: True)
        self.monkeypatch.setattr(sys, "stdin", given)
        self.monkeypatch.setattr(settings, "_values", None)  # a process reads them once; here every command is a new one
        self.capture.readouterr()
        code = run(arguments)
        return Result(code, *self.capture.readouterr())


def headrace(*arguments: str, stdin: str | None = None, env: Mapping[str, str] | None = None, module: str = "headrace") -> Result:
    """`headrace …` in a process of its own, in pipes."""
    given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    environment = {**os.environ, **(env or {})}
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, timeout=30, env=environment, **given)  # type: ignore[call-overload]
    return Result(done.returncode, done.stdout, done.stderr)


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, arguments: tuple[str, ...], *, module: str = "headrace", columns: int = 100, rows: int = 30) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_TERMINAL, module, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        os.close(theirs)
        self.raw = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def text(self) -> str:
        """All that was shown, without escape codes."""
        return ESCAPE.sub("", self.raw).replace("\r\n", "\n").replace("\r", "")

    def until(self, text: str, *, after: int = 0, timeout: float = 20.0) -> int:
        """Read until `text` was shown behind position `after`; gives the position behind it."""
        ends = time.monotonic() + timeout
        while (found := self.text.find(text, after)) < 0:
            assert self._read(ends - time.monotonic()), f"no {text!r} in {self.text!r}"
        return found + len(text)

    def shows(self, text: str, *, after: int, sending: str, timeout: float = 5.0) -> bool:
        """Whether `text` is shown behind position `after` within `timeout` of sending something."""
        self.send(sending)
        ends = time.monotonic() + timeout
        while text not in self.text[after:]:
            if not self._read(ends - time.monotonic()):
                return False
        return True

    def send(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def end(self, timeout: float = 20.0) -> int:
        """Read to the end. The exit code."""
        ends = time.monotonic() + timeout
        while self._read(ends - time.monotonic()):
            assert time.monotonic() < ends, f"still running: {self.text!r}"
        return self.process.wait(timeout)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._ours], [], [], max(0.0, seconds))
        if not ready:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # Linux says so when the other side is closed
            return False
        self.raw += self._decoder.decode(data)
        return bool(data)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
