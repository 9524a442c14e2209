"""Every way to fail, exact to the byte and the TCP flag, each over a real socket."""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

import pytest

from headrace.simulator.server import Running, running
from simulator.conftest import KEY, Wire, ask, events, fleet, quick


def stats(base: Running, name: str = "a") -> Any:
    return base.stats()[name]


def eventually(base: Running, name: str, **expected: int) -> None:
    """The statistics come to say `expected`: the server learns of a client that left a moment later."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(stats(base, name)[key] != value for key, value in expected.items()):
        time.sleep(0.005)
    assert {key: stats(base, name)[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (401, "invalid_request_error", "invalid_api_key"),
        (404, "invalid_request_error", "model_not_found"),
        (429, "requests", "rate_limit_exceeded"),
        (500, "server_error", None),
        (503, "server_error", "service_unavailable"),
        (529, "overloaded_error", None),
        (504, "server_error", None),
        (418, "invalid_request_error", None),
        (599, "server_error", None),
    ],
)
def test_any_status_can_be_had(wire: Wire, status: int, kind: str, code: str | None) -> None:
    reply = wire.chat(simulate=f"status={status}; retry_after=1.5").reply()
    assert (reply.status, reply.json["error"]["type"], reply.json["error"]["code"]) == (status, kind, code)
    assert (reply.headers["retry-after"], reply.headers["retry-after-ms"]) == ("2", "1500")
    assert reply.headers["content-type"] == "application/json"
    assert wire.chat().reply().status == 200, "the connection lives on"


def test_a_fault_can_be_part_of_the_models_name(wire: Wire) -> None:
    assert wire.chat(model="gpt-sim?status=503").reply().status == 503
    plain = wire.chat(model="gpt-sim?tokens=3").reply().json
    assert (plain["model"], plain["usage"]["completion_tokens"]) == ("gpt-sim", 3)


def test_a_wish_that_means_nothing_is_refused(wire: Wire) -> None:
    reply = wire.chat(simulate="explode").reply()
    assert (reply.status, reply.json["error"]["code"]) == (400, "invalid_simulation")


@pytest.mark.parametrize("stream", [False, True])
def test_a_reset_before_the_headers(wire: Wire, stream: bool) -> None:
    reply = wire.chat(simulate="reset", stream=stream).reply()
    assert (reply.status, reply.end) == (0, "reset")


@pytest.mark.parametrize("stream", [False, True])
def test_a_reset_in_the_middle_of_the_body(wire: Wire, stream: bool) -> None:
    reply = wire.chat(simulate="break", stream=stream).reply()
    assert (reply.status, reply.end) == (200, "reset")


@pytest.mark.parametrize("stream", [False, True])
def test_silence_before_the_headers(base: Running, stream: bool) -> None:
    wire = Wire(base, timeout=0.2).chat(simulate="hang", stream=stream)
    with pytest.raises(TimeoutError):
        wire.reply()
    assert stats(base)["in_flight"] == 1
    wire.close()
    eventually(base, "a", in_flight=0)


@pytest.mark.parametrize("stream", [False, True])
def test_silence_in_the_middle_of_the_body(base: Running, stream: bool) -> None:
    wire = Wire(base, timeout=0.2).chat(simulate="stall; after=3", stream=stream)
    reply = wire.reply()
    assert (reply.status, reply.end) == (200, "silent")
    assert len(events(reply.body)) == (3 if stream else 0)
    wire.close()
    eventually(base, "a", in_flight=0)


def test_a_stream_cut_in_the_middle_of_a_word(wire: Wire) -> None:
    reply = wire.chat(simulate="cut; after=3", stream=True).reply()
    assert reply.end == "closed"
    complete, _, rest = reply.body.rpartition(b"\n\n")
    assert len(events(complete)) == 3
    assert rest.rpartition(b'"content":"')[2].isascii()
    assert 0 < len(rest.rpartition(b'"content":"')[2]) <= 2
    assert b"[DONE]" not in reply.body


def test_a_whole_body_that_is_cut(wire: Wire) -> None:
    reply = wire.chat(simulate="cut").reply()
    assert (reply.end, len(reply.body)) == ("closed", int(reply.headers["content-length"]) // 2)


def test_a_stream_that_ends_without_saying_so(wire: Wire) -> None:
    reply = wire.chat(simulate="unfinished; after=4", stream=True).reply()
    assert reply.end == "open", "HTTP itself ended properly"
    found = events(reply.body)
    assert len(found) == 4
    assert all(event["choices"][0]["finish_reason"] is None for event in found)
    assert wire.chat().reply().status == 200


def test_faults_beyond_the_end_of_a_stream_still_happen(wire: Wire) -> None:
    reply = wire.chat(simulate="cut; after=999; tokens=2", stream=True).reply()
    assert reply.end == "closed"
    assert b"[DONE]" not in reply.body


@pytest.mark.parametrize("stream", [False, True])
def test_broken_json(wire: Wire, stream: bool) -> None:
    reply = wire.chat(simulate="garbage; after=2", stream=stream).reply()
    assert (reply.status, reply.end) == (200, "open")
    if stream:
        found = events(reply.body)
        assert [type(event) for event in found].count(str) == 2, "one broken, and [DONE]"
        assert found[2] == '{"id":"chatcm'
    else:
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            json.loads(reply.body)


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_page_of_a_proxy(wire: Wire, stream: bool) -> None:
    reply = wire.chat(simulate="html; status=502", stream=stream).reply()
    assert (reply.status, reply.headers["content-type"]) == (502, "text/html")
    assert reply.body.startswith(b"<html>")
    assert reply.headers["content-length"] == str(len(reply.body))


@pytest.mark.parametrize("size", [14, 100, 1_000_000])
def test_an_oversized_body_has_exactly_its_size(wire: Wire, size: int) -> None:
    reply = wire.chat(simulate=f"oversized; bytes={size}").reply()
    assert (len(reply.body), reply.headers["content-length"]) == (size, str(size))
    assert list(reply.json) == ["padding"]


def test_an_error_inside_a_stream(wire: Wire) -> None:
    reply = wire.chat(simulate="error_event; after=3; status=529", stream=True).reply()
    found = events(reply.body)
    assert (reply.status, reply.end, len(found)) == (200, "open", 4)
    assert found[-1] == {"error": {"message": "Overloaded", "type": "overloaded_error", "param": None, "code": None}}
    assert wire.chat(simulate="error_event; status=503").reply().status == 503, "a reply in one piece fails as a whole"


def test_slow_multiplies_every_delay(wire: Wire) -> None:
    begun = time.monotonic()
    assert wire.chat(simulate="slow; factor=4; ttft=0.02; gap=0.01; tokens=3").reply().status == 200
    assert time.monotonic() - begun >= 4 * (0.02 + 3 * 0.01)


def test_a_reply_takes_its_time_to_the_first_token_and_between(wire: Wire) -> None:
    begun = time.monotonic()
    reply = wire.chat(simulate="ttft=0.05; gap=0.01; tokens=10", stream=True).reply()
    assert time.monotonic() - begun >= 0.05 + 9 * 0.01
    assert len(events(reply.body)) == 13


def test_rules_strike_by_turn_and_are_counted() -> None:
    faults = [{"kind": "status", "status": 503, "every": 2}, {"kind": "html", "models": ["embed-sim"]}]
    config = fleet(quick(faults=quick().faults))
    with running(config) as base:
        base.control(provider="a", faults=faults)
        wire = Wire(base)
        assert [wire.chat().reply().status for _ in range(4)] == [200, 503, 200, 503]
        assert wire.send("POST", "/a/v1/embeddings", {"model": "embed-sim", "input": "x"}).reply().status == 502
        assert stats(base)["faults"] == {"status=503": 2, "html": 1}
        base.control(provider="a", faults=[])
        assert wire.chat().reply().status == 200
        wire.close()


def test_a_provider_dies_and_recovers() -> None:
    with running(fleet(quick("a"), quick("b"))) as base:
        base.control(provider="a", dies=True)
        assert ask(base).end == "reset"
        assert ask(base, "/b/v1/chat/completions").status == 200
        base.control(provider="a", dies={"kind": "status", "status": 503})
        wire = Wire(base)
        assert wire.chat().reply().status == 503
        base.control(recovers=True)
        assert wire.chat().reply().status == 200
        wire.close()
        assert stats(base)["admitted"] == 1, "what a dead provider turns away, it does not charge"


def test_a_key_can_be_revoked() -> None:
    with running(fleet(quick(api_keys=(KEY,)))) as base:
        assert ask(base).status == 200
        base.control(provider="a", api_keys=["sk-another-one-5678"])
        assert ask(base).status == 401


@pytest.mark.parametrize("stream", [False, True])
def test_who_hangs_up_frees_the_slot_and_stops_the_work(stream: bool) -> None:
    config = fleet(quick(concurrency=1, tpm=10_000, accounting="settle", enforcer="sliding"))
    with running(config) as base:
        wire = Wire(base).chat(simulate="tokens=1000; ttft=0; gap=0.02", stream=stream, max_tokens=2_000)
        time.sleep(0.15)
        assert ask(base).status == 429
        wire.close()
        eventually(base, "a", in_flight=0, left=1, finished=0)
        made = stats(base)["tokens"]["output"]
        assert 0 < made < 100
        [tokens] = [limit for limit in stats(base)["limits"] if limit["name"] == "tokens/60s"]
        assert tokens["charged"] == 6 + made, "what was not produced is given back"
        time.sleep(0.1)
        assert stats(base)["tokens"]["output"] == made
        assert ask(base, max_tokens=5).status == 200


def test_a_slow_reader_slows_the_stream_not_the_server(base: Running) -> None:
    wire = Wire(base).chat(simulate="oversized; bytes=30000000")
    for _ in range(3):
        other = Wire(base)
        assert other.chat().reply().status == 200
        other.close()
    assert len(wire.reply().body) == 30_000_000
    wire.close()


def test_who_hangs_up_in_a_large_body_is_written_to_no_more(base: Running, caplog: pytest.LogCaptureFixture) -> None:
    """asyncio warned of each of thousands of writes to nobody."""
    for _ in range(3):
        wire = Wire(base).chat(simulate="oversized; bytes=300000000")
        wire.socket.recv(1000)
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()
    eventually(base, "a", in_flight=0)
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []
