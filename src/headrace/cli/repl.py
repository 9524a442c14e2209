"""The interactive conversation of `headrace chat`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

import headrace
from headrace.cli.options import Target
from headrace.cli.terminal import colourful, complain, note, say
from headrace.cli.voice import Voice
from headrace.errors import HeadraceError


@dataclass(slots=True)
class Session:
    """A conversation: its model, system prompt and turns."""

    target: Target
    system: str | None = None
    turns: list[dict[str, Any]] = field(default_factory=list)
    over: bool = False

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.turns]


def converse(session: Session) -> None:
    """Run the conversation until `/quit` or Ctrl-D."""
    _edit_lines()
    note(f"headrace {headrace.__version__} · {session.target.model} · /help for commands, Ctrl-D to leave")
    while not session.over:
        try:
            line = read_line()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
            continue
        if line.startswith("/"):
            obey(session, line)
        elif line:
            ask(session, line)


def _edit_lines() -> None:
    try:
        # Late: importing it gives `input` line editing and history. Some Python builds lack it.
        import readline
    except ImportError:
        return
    readline.set_history_length(1000)


def read_line() -> str:
    """Read one question; a backslash at the end of a line continues it on the next."""
    lines = [input(_prompt("› "))]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(input(_prompt("… ")))
    return "\n".join(lines).strip()


def _prompt(mark: str) -> str:
    if not colourful():
        return mark
    # \x01 and \x02 tell readline that the characters between them have no width.
    return f"\x01\x1b[36m\x02{mark}\x01\x1b[0m\x02"


def ask(session: Session, question: str) -> None:
    """One turn. Ctrl-C stops the response but keeps what has arrived; a failed question is dropped."""
    session.turns.append({"role": "user", "content": question})
    voice = Voice()
    try:
        with voice, session.target.stream(session.messages) as chunks:
            for chunk in chunks:
                voice.hear(chunk)
    except KeyboardInterrupt:
        note("(stopped)")
    except HeadraceError as error:
        complain(str(error))
    if voice.said:
        session.turns.append({"role": "assistant", "content": voice.said})
    else:
        session.turns.pop()
    print()


# ---- commands --------------------------------------------------------------------------------------------------------


def obey(session: Session, line: str) -> None:
    """Run a slash command."""
    name, _, argument = line[1:].partition(" ")
    command = COMMANDS.get(name)
    if command is None:
        complain(f"/{name} is not a command; /help lists them")
        return
    command[0](session, argument.strip())


def _help(session: Session, argument: str) -> None:
    for name, (_, words) in COMMANDS.items():
        usage, _, meaning = words.partition(": ")
        say(f"  {f'/{name} {usage}'.strip():<16}{meaning}")
    say("  a backslash at the end of a line continues it on the next; Ctrl-C stops an answer", "dim")


def _system(session: Session, argument: str) -> None:
    session.system = None if argument == "-" else argument or session.system
    note(f"(system: {session.system})" if session.system else "(no system prompt; /system TEXT sets one)")


def _model(session: Session, argument: str) -> None:
    if argument:
        try:
            session.target = session.target.at(argument)
        except HeadraceError as error:
            complain(str(error))
            return
    note(f"(model: {session.target.model})")


def _reset(session: Session, argument: str) -> None:
    session.turns.clear()
    note("(a new conversation)")


def _save(session: Session, argument: str) -> None:
    if not argument:
        complain("/save needs a file: /save talk.md, or .json for the messages as they were sent")
        return
    path = Path(argument).expanduser()
    try:
        path.write_text(_written(session, path.suffix), "utf-8")
    except OSError as error:
        complain(f"{path}: {error.strerror}")
        return
    note(f"(saved to {path})")


def _written(session: Session, suffix: str) -> str:
    if suffix == ".json":
        whole = msgspec.json.encode({"model": session.target.model, "messages": session.messages})
        return msgspec.json.format(whole, indent=2).decode() + "\n"
    return "\n\n".join(f"**{turn['role']}**\n\n{turn['content']}" for turn in session.messages) + "\n"


def _quit(session: Session, argument: str) -> None:
    session.over = True


COMMANDS: Final[dict[str, tuple[Callable[[Session, str], None], str]]] = {
    "help": (_help, ": show these commands"),
    "system": (_system, "TEXT: set the system prompt; - removes it"),
    "model": (_model, "NAME: switch the model from here on"),
    "reset": (_reset, ": forget the conversation"),
    "save": (_save, "FILE: save the conversation (.md or .json)"),
    "quit": (_quit, ": leave (Ctrl-D)"),
}
"""Name → function, and its argument and description."""
