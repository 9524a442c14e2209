"""`python -m benchmarks.dialects`: reading and writing an answer and an event of a stream, and streams handed through, per dialect."""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from time import process_time

import msgspec

from benchmarks.common.measure import table
from headrace.dialects import SERVED, load
from headrace.dialects.answers import InCommon
from headrace.dialects.base import Passable, Target
from headrace.dialects.collect import collect
from headrace.passing import Passed
from headrace.types import ChatRequest, Finished, Started, StreamEvent, TextDelta, ToolCallDelta, Usage, UsageReported
from headrace.wire import Headers, HttpResponse

TARGET = Target("provider", "model")
ASKED = ChatRequest(model="model", messages=(), stream=True, include_usage=True)
CALL = '{"city": "Uppsala", "unit": "celsius"}'
CALLERS = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")
"""Dialects whose streams are server-sent events that callers ask for."""

PASSED, TRANSLATED = 1.2, 3.0
"""The targets: at most so many times the bytes handed through."""


def events(count: int) -> list[StreamEvent]:
    """A stream of `count` pieces of text, a call and its usage."""
    texts = [TextDelta(text=f" piece {number} of the text") for number in range(count)]
    call = ToolCallDelta(index=0, id="call_1", name="weather", arguments=CALL)
    usage = Usage(input=900, output=300, total=1200, cached=100)
    return [Started(id="id_1", model="model", created=1), *texts, call, Finished(finish="tool_calls"), UsageReported(usage=usage)]


def written(dialect: str, count: int) -> bytes:
    writer = load(dialect).write_stream(ASKED)
    return b"".join([writer.feed(event) for event in events(count)]) + writer.close()


def microseconds(work: Callable[[], object], rounds: int, seconds: float) -> float:
    """The CPU time of one call, the least of all rounds: what others did on the machine only adds to it."""
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
    """A maker of relays: bytes in, bytes out. To the same dialect the bytes themselves, usage and errors read in passing."""
    source, target = load(name), load(to)

    def begin() -> Callable[[bytes], bytes]:
        if name == to and isinstance(source, Passable):
            return handed_on(name, source)
        frames, reader = source.framing(), source.read_stream(ASKED, TARGET)

        def passed(data: bytes) -> bytes:
            for frame in frames.feed(data):
                reader.feed(frame)
            return data

        writer, common = target.write_stream(ASKED), InCommon(to)

        def translated(data: bytes) -> bytes:
            read = [event for frame in frames.feed(data) for event in reader.feed(frame)]
            return b"".join([writer.feed(told) for event in read for told in common.feed(event)])

        return passed if name == to else translated

    return begin


def handed_on(name: str, source: Passable) -> Callable[[bytes], bytes]:
    """As `Router.araw` does it, and the gateway."""
    passed, ready = Passed(source.watch_stream(TARGET), name), deque[bytes]()

    def through(data: bytes) -> bytes:
        passed.feed(data, ready)
        return ready.popleft() if ready else b""

    return through


# ---- over sockets: what a stream costs that is handed on, event by event ---------------------------------------------------------------


async def source(data: bytes, listening: socket.socket) -> None:
    """The provider and the caller, in a process of their own: sends each event as soon as the one before has come out again."""
    end = b"\r\n\r\n" if b"\r\n" in data else b"\n\n"
    pieces = [piece + end for piece in data.split(end) if piece]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await reader.read(65536)  # it is out again: the next may come
        writer.close()

    server = await asyncio.start_unix_server(serve, sock=listening)
    async with server:
        await server.serve_forever()


async def relayed(place: str, begin: Callable[[], Callable[[bytes], bytes]], times: int) -> float:
    """CPU seconds for `times` streams."""
    begun = process_time()
    for _ in range(times):
        reader, writer = await asyncio.open_unix_connection(place)
        relay = begin()
        while data := await reader.read(65536):
            writer.write(relay(data) or b"\n")
        writer.close()
    return process_time() - begun


def over_sockets(name: str, count: int, times: int, rounds: int) -> dict[str, float]:
    """CPU µs for an event: bytes alone, the same dialect, and each other one; the ways take turns."""
    data, place = written(name, count), f"/tmp/headrace-dialects-{os.getpid()}-{name}"
    ways = {"bytes": lambda: lambda data: data, name: through(name, name), **{to: through(name, to) for to in CALLERS}}
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(place)
    listening.listen()
    process = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(source(data, listening)), daemon=True)
    process.start()
    try:
        readings: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, begin in ways.items():
                readings[way].append(asyncio.run(relayed(place, begin, times)) / times / count * 1e6)
        return {way: min(found) for way, found in readings.items()}
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
    print("CPU µs, the least of the rounds")
    print(table([["dialect", "answer read and written", "event read in passing", "event said in another"], *rows]))
    shown = []
    for name in CALLERS:
        found = over_sockets(name, count, 2 if quick else 10, 3 * rounds)
        floor = found.pop("bytes")
        same = found.pop(name) / floor
        shown.append([name, f"{floor:.1f}", f"{same:.2f}", *[f"{found[to] / floor:.2f}" if to in found else "" for to in CALLERS]])
    print(f"\nstreams handed on over sockets, as ratios to the bytes alone; targets: the same dialect {PASSED}, another {TRANSLATED}")
    print(table([["from", "bytes, µs an event", "same", *[f"to {to}" for to in CALLERS]], *shown]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
