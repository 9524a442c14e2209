"""`python -m benchmarks.dialects`: CPU time per dialect to read and write a response and a stream event, and to forward streams."""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import multiprocessing
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import quantiles
from time import process_time
from typing import TypeAlias

import msgspec

from benchmarks.common.measure import table
from headrace.dialects import SERVED, load
from headrace.dialects.answers import InCommon
from headrace.dialects.base import Passable, Target, passable
from headrace.dialects.collect import collect
from headrace.passing import handed_on
from headrace.types import ChatRequest, Finished, Started, StreamEvent, TextDelta, ToolCallDelta, Usage, UsageReported
from headrace.wire import Headers, HttpResponse

TARGET = Target("provider", "model")
ASKED = ChatRequest(model="model", messages=(), stream=True, include_usage=True)
CALL = '{"city": "Uppsala", "unit": "celsius"}'
CALLERS = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")
"""Dialects with server-sent events that callers request."""

PASSED, TRANSLATED = 1.2, 3.0
"""The targets, as ratios to forwarding bytes."""


def events(count: int) -> list[StreamEvent]:
    """A stream of `count` text deltas, a tool call and usage."""
    texts = [TextDelta(text=f" piece {number} of the text") for number in range(count)]
    call = ToolCallDelta(index=0, id="call_1", name="weather", arguments=CALL)
    usage = Usage(input=900, output=300, total=1200, cached=100)
    return [Started(id="id_1", model="model", created=1), *texts, call, Finished(finish="tool_calls"), UsageReported(usage=usage)]


def written(dialect: str, count: int) -> bytes:
    writer = load(dialect).write_stream(ASKED)
    return b"".join([writer.feed(event) for event in events(count)]) + writer.close()


def microseconds(work: Callable[[], object], rounds: int, seconds: float) -> float:
    """CPU time of one call in µs, the minimum over all rounds, since other load on the machine only adds to it."""
    work()
    readings = []
    for _ in range(rounds):
        calls, begun = 0, process_time()
        while process_time() - begun < seconds:
            work()
            calls += 1
        readings.append((process_time() - begun) / calls * 1e6)
    return min(readings)


def answer(name: str) -> Callable[[], object]:
    """From the provider's bytes to a caller's, through the hub."""
    dialect, hub = load(name), collect(events(40))
    reply = HttpResponse(200, Headers.of({"content-type": "application/json"}), msgspec.json.encode(dialect.write_response(hub)))
    return lambda: msgspec.json.encode(dialect.write_response(dialect.read_response(reply, ASKED, TARGET)))


def stream(name: str, to: str, data: bytes) -> Callable[[], object]:
    """A whole stream from the bytes of `name` to those of `to`."""
    relay = through(name, to)
    return lambda: relay()(data)


def through(name: str, to: str) -> Callable[[], Callable[[bytes], bytes]]:
    """A factory of relays: bytes in (empty at the end), bytes out. In the same dialect, the bytes pass through under inspection."""
    source, target = load(name), load(to)
    if name == to and passable(source):
        return lambda: as_it_came(name, source)

    def begin() -> Callable[[bytes], bytes]:
        frames, reader = source.framing(), source.read_stream(ASKED, TARGET)

        def passed(data: bytes) -> bytes:
            for frame in frames.feed(data) if data else frames.close():
                reader.feed(frame)
            return data

        writer, common = target.write_stream(ASKED), InCommon(to)

        def translated(data: bytes) -> bytes:
            read = [event for frame in (frames.feed(data) if data else frames.close()) for event in reader.feed(frame)]
            if not data:
                read += reader.close()
            written = b"".join([writer.feed(told) for event in read for told in common.feed(event)])
            return written if data else written + writer.close()

        return passed if name == to else translated

    return begin


def as_it_came(name: str, source: Passable) -> Callable[[bytes], bytes]:
    """As `Router.araw` and the gateway do it."""
    passed = handed_on(source.watch_stream(TARGET), name)
    ready: deque[bytes] = deque()

    def through(data: bytes) -> bytes:
        if data:
            passed.feed(data, ready)
        else:
            passed.close(ready)
        return ready.popleft() if ready else b""

    return through


# ---- over sockets: the cost of forwarding a stream, event by event ---------------------------------------------------------------------

Relay: TypeAlias = Callable[[bytes], bytes]

STREAMS = 6
"""Number of recorded streams per dialect; those with the most events, since the tests' recordings are short."""


def recorded(name: str) -> list[bytes]:
    """Recorded provider streams, or one written by headrace if there are no recordings."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    tongues = importlib.import_module("conformance.tongues").TONGUES  # late: the recordings belong to the tests

    (tongue,) = [tongue for tongue in tongues if tongue.name == name]
    sent = [tongue.data_of(exchange) for exchange in tongue.exchanges() if tongue.is_stream(exchange) and exchange.sse_text]
    return sorted(sent, key=lambda data: -len(pieces(data)))[:STREAMS] or [written(name, 100)]


def pieces(data: bytes) -> list[bytes]:
    """A stream's events."""
    end = b"\r\n\r\n" if b"\r\n\r\n" in data else b"\n\n"
    return [piece + end for piece in data.split(end) if piece]


async def serve(streams: list[bytes], listening: socket.socket) -> None:
    """Provider and caller, in a process of their own: sends each event as soon as the previous one has come back."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while asked := await reader.read(1):
            for piece in pieces(streams[asked[0]]):
                writer.write(piece)
                await reader.read(1 << 20)
            writer.write(END)
        writer.close()

    server = await asyncio.start_unix_server(answer, sock=listening)
    async with server:
        await server.serve_forever()


END = b"\0"
"""Marks the end of a stream on the connection, which is reused."""


async def relayed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stream: int, begin: Callable[[], Relay]) -> float:
    """CPU seconds of one stream, including the setup and end of its relay."""
    writer.write(bytes([stream]))
    data = await reader.read(1 << 20)
    begun, relay = process_time(), begin()
    while data != END:
        writer.write(relay(data) or b"\n")
        data = await reader.read(1 << 20)
    relay(b"")
    return process_time() - begun


async def in_turns(place: str, ways: Mapping[str, Callable[[], Relay]], streams: int, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each stream by each way, repeatedly. Equal indices were measured within a few milliseconds.

    The speed of a shared machine varies by a factor of two, so only adjacent measurements can be compared.
    """
    connection = await asyncio.open_unix_connection(place)
    readings: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds * streams):
        turn = number % len(ways)
        for way in [*ways][turn:] + [*ways][:turn]:
            gc.collect(0)  # so that no way pays for garbage of the previous one
            readings[way].append(await relayed(*connection, number % streams, ways[way]))
    connection[1].close()
    return readings


def ratio(readings: list[float], floor: list[float]) -> tuple[float, float, float]:
    """The median of the pairwise ratios, and their interquartile range."""
    low, middle, high = quantiles([one / other for one, other in zip(readings, floor, strict=True)], n=4)
    return middle, low, high


def over_sockets(name: str, rounds: int) -> tuple[dict[str, list[float]], float]:
    """CPU seconds per stream by each way: plain bytes, the same dialect, and each other dialect. And the µs per event of plain bytes."""
    streams, place = recorded(name), f"/tmp/headrace-dialects-{os.getpid()}-{name}"
    ways: dict[str, Callable[[], Relay]] = {"bytes": lambda: lambda data: data, **{to: through(name, to) for to in (name, *CALLERS)}}
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(place)
    listening.listen()
    process = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(serve(streams, listening)), daemon=True)
    process.start()
    try:
        readings = asyncio.run(in_turns(place, ways, len(streams), rounds))
        events = sum(len(pieces(data)) for data in streams) * rounds
        return readings, sum(readings["bytes"]) / events * 1e6
    finally:
        process.terminate()
        process.join()
        listening.close()
        os.unlink(place)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dialects", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    quick = parser.parse_args().quick
    rounds, seconds, count = (3, 0.03, 100) if quick else (9, 0.2, 500)
    rows = []
    for name in SERVED:
        each = microseconds(stream(name, name, written(name, count)), rounds, seconds) / count
        other = "anthropic_messages" if name == "openai_chat" else "openai_chat"
        turned = microseconds(stream(name, other, written(name, count)), rounds, seconds) / count
        rows.append([name, f"{microseconds(answer(name), rounds, seconds):.1f}", f"{each:.2f}", f"{turned:.2f}"])
    print("CPU µs, minimum of all rounds")
    print(table([["dialect", "response parsed and rendered", "event passed through", "event translated"], *rows]))
    shown = []
    for name in CALLERS:
        readings, floor = over_sockets(name, 4 if quick else 40)
        same, low, high = ratio(readings[name], readings["bytes"])
        others = [f"{ratio(readings[to], readings['bytes'])[0]:.2f}" if to != name else "" for to in CALLERS]
        shown.append([name, f"{floor:.1f}", f"{same:.2f}", f"{low:.2f} to {high:.2f}", *others])
    print(f"\nstreams relayed over sockets, as ratios to relaying bytes; targets: same dialect {PASSED}, another {TRANSLATED}")
    print(table([["from", "bytes, µs an event", "same", "middle half", *[f"to {to}" for to in CALLERS]], *shown]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
