"""Coverage-guided fuzzing of every reader with invalid input: `python -m tools.fuzz openai_chat --seconds 120`.

Run by hand, after `pip install atheris`. Starts from the tests' data, and from recorded traffic if available
(`$HEADRACE_WIRE`, else `shared/wire` next to the repository). Reports each location once and continues.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import monotonic
from typing import Any

import atheris

with atheris.instrument_imports(include=["headrace.dialects", "headrace.framing"]):
    from headrace.dialects import NAMES, load
    from headrace.dialects.base import Target
    from headrace.dialects.quota import read_quota
    from headrace.framing import EventStreamReader, JsonLinesReader, SseReader

    DIALECTS = {name: load(name) for name in NAMES}  # loaded now, because later imports are not instrumented

from headrace.errors import HeadraceError
from headrace.types import ChatRequest
from headrace.wire import Frame, Headers, HttpResponse

TARGET = Target("provider", "model")
ASKED = ChatRequest(model="model", messages=(), stream=True, include_usage=True)
FRAMINGS: dict[str, Callable[[], Any]] = {"sse": SseReader, "json_lines": JsonLinesReader, "event_stream": EventStreamReader}
WORDS = (
    "type",
    "text",
    "content",
    "tool_calls",
    "index",
    "delta",
    "id",
    "name",
    "usage",
    "error",
    "role",
    "output",
    "item",
    "finish_reason",
)
BROKEN = "\ue000"
"""A placeholder in the input, which is text, for a byte that is not valid UTF-8."""

VALUES = (
    None,
    True,
    -1,
    0,
    1,
    10**30,
    1e300,
    "",
    "x",
    "{",
    [],
    {},
    [None],
    {"type": None},
    [[[[]]]],
    {"text": {"text": 1}},
    "message_start",
    BROKEN,
    f"x{BROKEN}y",
)


# ---- processing an input -------------------------------------------------------------------------------------------------------------


def on_the_wire(body: Any) -> bytes:
    return json.dumps(body).encode().replace(rb"\ue000", b"\xff")


def reading(name: str) -> dict[str, Callable[[Any], object]]:
    """A dialect's readers by the kind of input."""
    dialect = DIALECTS[name]

    def answer(status: int, body: Any) -> HttpResponse:
        return HttpResponse(status, Headers(), on_the_wire(body))

    def stream(frames: Any) -> None:
        reader = dialect.read_stream(ASKED, TARGET)
        for frame in frames if isinstance(frames, list) else [frames]:
            event = frame.get("type") if isinstance(frame, dict) else None
            reader.feed(Frame(on_the_wire(frame), event if isinstance(event, str) else None))
        reader.close()

    def request(body: Any) -> None:
        hub = dialect.read_request(body)
        dialect.write_request(hub, TARGET)

    def response(body: Any) -> None:
        dialect.write_response(dialect.read_response(answer(200, body), ASKED, TARGET))

    return {
        "response": response,
        "stream": stream,
        "request": request,
        "error": lambda body: dialect.read_error(answer(429, body), TARGET, now_wall=1.7e9),
        "quota": lambda body: read_quota(Headers.of({str(k): str(v) for k, v in dict(body).items()}), now_wall=1.7e9),
    }


def framed(name: str) -> Callable[[bytes], object]:
    """Checks that bytes fed in pieces give the same frames as fed whole."""

    def read(data: bytes) -> None:
        size = 1 + (data[0] % 7 if data else 0)
        whole, parts = FRAMINGS[name](), FRAMINGS[name]()
        one = [*whole.feed(data), *whole.close()]
        other = [frame for at in range(0, len(data), size) for frame in parts.feed(data[at : at + size])] + parts.close()
        assert one == other, "pieces are read differently"

    return read


# ---- inputs --------------------------------------------------------------------------------------------------------------------------


def changed(value: Any, chance: random.Random) -> Any:
    """`value` with a change in one place."""
    spots = list(places(value))
    if not spots:
        return chance.choice(VALUES)
    holder, step = chance.choice(spots)
    match chance.randrange(5):
        case 0 if isinstance(holder, dict):
            del holder[step]
        case 1 if isinstance(holder, dict):
            holder[chance.choice(WORDS)] = chance.choice(VALUES)
        case 2:
            holder[step] = another(spots, chance)
        case 3 if isinstance(holder, list):
            holder.insert(chance.randrange(len(holder) + 1), another(spots, chance))
        case _:
            holder[step] = chance.choice(VALUES)
    return value


def another(spots: list[tuple[Any, Any]], chance: random.Random) -> Any:
    holder, step = chance.choice(spots)
    return copy.deepcopy(holder[step])


def places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    if depth < 12 and isinstance(value, dict | list):
        for step in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, step
            yield from places(value[step], depth + 1)


def mutated(data: bytes, most: int, seed: int) -> bytes:
    """A mutated input; inputs are `[kind, body]` as JSON."""
    chance = random.Random(seed)
    try:
        kind, body = json.loads(data)
        for _ in range(chance.choice((1, 1, 2, 4))):
            body = changed(body, chance)
        made = json.dumps([kind, body]).encode()
    except (ValueError, TypeError, RecursionError):
        return data
    return made if len(made) <= most else data


def recorded(name: str) -> Iterator[tuple[str, Any]]:
    """Samples of the recorded traffic in that dialect."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from conformance.tongues import TONGUES

    for tongue in TONGUES:
        if tongue.name == name:
            for exchange in list(tongue.exchanges())[::8]:
                if tongue.is_answer(exchange):
                    yield "response", exchange.response_json
                if tongue.is_request(exchange):
                    yield "request", tongue.asked(exchange)
                if tongue.is_error(exchange) and exchange.response_json:
                    yield "error", exchange.response_json
                if tongue.is_stream(exchange):
                    frames = tongue.dialect.framing().feed(tongue.data_of(exchange))
                    yield "stream", [json.loads(frame.data) for frame in frames[:6] + frames[-6:] if frame.data[:1] == b"{"]


# ---- the search ----------------------------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("reader", choices=[*NAMES, *FRAMINGS])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seeds", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.seeds is not None:
        search(options.reader, options.seeds, options.seconds)
    with tempfile.TemporaryDirectory() as seeds:
        again = [sys.executable, "-m", "tools.fuzz", options.reader, "--seconds", str(options.seconds), "--seeds", seeds]
        return subprocess.run(again, check=False, timeout=2 * options.seconds + 60).returncode


def search(reader: str, seeds: Path, seconds: int) -> None:
    """Run the search and end the process: libFuzzer does not return, and does not always end it."""
    trial = Trial(framed(reader) if reader in FRAMINGS else by_kind(reader, seeds), monotonic() + seconds)
    flags = ["-rss_limit_mb=1500", "-timeout=20", "-max_len=30000"]
    mutator = {} if reader in FRAMINGS else {"custom_mutator": mutated}
    atheris.Setup([sys.argv[0], *flags, str(seeds)], trial.run, **mutator)
    atheris.Fuzz()


def by_kind(name: str, seeds: Path) -> Callable[[bytes], object]:
    kinds = reading(name)
    for number, seed in enumerate([*recorded(name), ("quota", {"x-ratelimit-reset-requests": "6m0s", "retry-after": "1"})]):
        (seeds / str(number)).write_text(json.dumps(seed))

    def attempt(data: bytes) -> None:
        try:
            kind, body = json.loads(data)
        except (ValueError, TypeError, RecursionError):
            return
        if isinstance(kind, str) and kind in kinds and (isinstance(body, dict) or kind != "quota"):
            kinds[kind](body)

    return attempt


MOST = 50_000
"""Kilobytes by which one input may raise peak memory."""


class Trial:
    """Runs inputs until the time is over; reports each distinct failure once."""

    def __init__(self, attempt: Callable[[bytes], object], until: float) -> None:
        self._attempt = attempt
        self._until = until
        self._runs = 0
        self._found: set[str] = set()

    def run(self, data: bytes) -> None:
        if monotonic() > self._until:
            print(f"{self._runs} inputs, {len(self._found)} wrong", flush=True)
            os._exit(bool(self._found))
        self._runs += 1
        held = getrusage(RUSAGE_SELF).ru_maxrss
        try:
            self._attempt(data)
        except HeadraceError:
            pass
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            self._tell(f"{type(error).__name__} at {where.filename}:{where.lineno}", data)
        if (more := getrusage(RUSAGE_SELF).ru_maxrss - held) > MOST:
            self._tell(f"{more // 1000} MB for {len(data) // 1000} kB", data)

    def _tell(self, what: str, data: bytes) -> None:
        if what not in self._found:
            self._found.add(what)
            print(f"\n{what}\n  {data[:1500]!r}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
