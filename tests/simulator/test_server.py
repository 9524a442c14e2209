"""The server: limits and their headers, statistics, controls, HTTP itself, and how it starts and stops."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from headrace.errors import ConfigurationError
from headrace.simulator.server import Running, running
from simulator.conftest import KEY, Wire, fleet, quick


def test_a_429_says_what_how_much_and_how_long() -> None:
    with running(fleet(quick(rpm=2, enforcer="sliding"))) as base:
        wire = Wire(base)
        first = wire.chat().reply()
        assert {name: value for name, value in first.headers.items() if name.startswith("x-ratelimit")} == {
            "x-ratelimit-limit-requests": "2",
            "x-ratelimit-remaining-requests": "1",
            "x-ratelimit-reset-requests": "1m0s",
        }
        assert wire.chat().reply().status == 200
        refused = wire.chat().reply()
        error = refused.json["error"]
        assert (refused.status, error["type"], error["param"], error["code"]) == (429, "requests", None, "rate_limit_exceeded")
        assert re.match(
            r"Rate limit reached for gpt-sim in organization org-simulated on requests per min \(RPM\): "
            r"Limit 2, Used 2, Requested 1\. Please try again in (59\.\d+|1m0)s\.$",
            error["message"],
        )
        assert refused.headers["retry-after"] == "60"
        assert 58_000 < int(refused.headers["retry-after-ms"]) <= 60_000
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert base.stats()["a"]["rejected"] == {"requests/60s": 1}
        wire.close()


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({"header_style": "none"}, {"retry-after", "retry-after-ms"}),
        (
            {"retry_after": "seconds"},
            {"retry-after", "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"},
        ),
        ({"retry_after": "none", "header_style": "none"}, set()),
    ],
)
def test_providers_may_be_silent_about_their_limits(more: dict[str, Any], names: set[str]) -> None:
    with running(fleet(quick(tpm=300, **more))) as base:
        wire = Wire(base)
        assert wire.chat().reply().status == 200
        refused = wire.chat().reply()
        assert (refused.status, refused.json["error"]["type"]) == (429, "tokens")
        assert {name for name in refused.headers if name.startswith(("retry", "x-rate"))} == names
        wire.close()


@pytest.mark.parametrize(
    ("per", "statuses"),
    [
        ("provider", [200, 429, 429, 429]),
        ("key", [200, 200, 429, 429]),
        ("model", [200, 429, 200, 429]),
        ("key+model", [200, 200, 200, 200]),
    ],
)
def test_limits_are_shared_or_apart(per: str, statuses: list[int]) -> None:
    with running(fleet(quick(rpm=1, models=("m", "n"), limits_per=per))) as base:
        wire = Wire(base)
        found = []
        for model, key in (("m", "sk-one-one-1111"), ("m", "sk-two-two-2222"), ("n", "sk-one-one-1111"), ("n", "sk-two-two-2222")):
            body = {"model": model, "messages": [{"role": "user", "content": "x"}]}
            found.append(wire.send("POST", "/a/v1/chat/completions", body, authorization=f"Bearer {key}").reply().status)
        assert found == statuses
        shown = json.dumps(base.stats()["a"])
        assert "sk-one" not in shown, "a key shows its last four characters"
        wire.close()


def test_statistics_over_http(base: Running) -> None:
    with running(fleet(quick(rpm=100, tpm=10_000, concurrency=5))) as base:
        wire = Wire(base)
        for _ in range(3):
            wire.chat(max_tokens=10).reply()
        seen = wire.send("GET", "/stats").reply().json["providers"]["a"]
        assert {name: seen[name] for name in ("requests", "admitted", "finished", "left", "in_flight", "max_in_flight")} == {
            "requests": 3, "admitted": 3, "finished": 3, "left": 0, "in_flight": 0, "max_in_flight": 1,
        }  # fmt: skip
        assert seen["tokens"] == {"prompt": 18, "output": 30}
        assert seen["statuses"] == {"200": 3}
        assert [(limit["name"], limit["limit"]) for limit in seen["limits"]] == [
            ("requests/60s", 100), ("tokens/60s", 10_000), ("concurrency", 5),
        ]  # fmt: skip
        assert seen["limits"][1]["charged"] == 48
        assert wire.send("POST", "/stats/reset").reply().status == 200
        again = wire.send("GET", "/stats").reply().json["providers"]["a"]
        assert (again["requests"], again["tokens"], again["limits"][0]["charged"]) == (0, {"prompt": 0, "output": 0}, 0)
        assert again["limits"][0]["room"] < 98, "the limits themselves forget nothing"
        wire.close()


def test_controls_over_http() -> None:
    with running(fleet(quick())) as base:
        wire = Wire(base)
        assert wire.send("POST", "/control", {"provider": "a", "rpm": 1}).reply().json == {"ok": True}
        assert [wire.chat().reply().status for _ in range(2)] == [200, 429]
        for order, told in [
            (b"{", "truncated"),
            ({"provider": "x"}, "'x' is not one of a"),
            ({"rpm": -1}, "rpm"),
            ({"rpn": 1}, "rpn"),
            ({"name": "b"}, "name cannot be changed"),
            ({"dies": {"kind": "boom"}}, "boom"),
        ]:
            reply = wire.send("POST", "/control", order).reply()
            assert reply.status == 400
            assert told in reply.json["error"]
        assert wire.send("POST", "/control", {"rpm": None}).reply().status == 200
        assert wire.chat().reply().status == 200
        assert wire.send("GET", "/control").reply().status == 405
        assert wire.send("GET", "/health").reply().json == {"ok": True}
        with pytest.raises(ConfigurationError, match="'x' is not one of a"):
            base.control(provider="x", dies=True)
        wire.close()


def test_one_provider_alone_needs_no_prefix() -> None:
    with running(fleet(quick())) as base:
        wire = Wire(base)
        assert wire.chat("/v1/chat/completions").reply().status == 200
        wire.close()


def test_a_provider_may_have_its_own_port() -> None:
    with running(fleet(quick("a"), quick("b", port=0))) as base:
        assert base.url("a") == f"{base}/a/v1"
        assert not base.url("b").startswith(base)
        wire = Wire(base.url("b"))
        assert wire.chat("/v1/chat/completions").reply().status == 200
        assert base.stats()["b"]["admitted"] == 1
        wire.close()


def test_requests_may_be_sent_ahead_and_are_answered_in_order(wire: Wire) -> None:
    for number in range(40):
        wire.chat(simulate=f"tokens={number}; ttft={0.002 * (number % 3)}")
    replies = [wire.reply() for _ in range(40)]
    assert [reply.json["usage"]["completion_tokens"] for reply in replies] == list(range(40))


def test_a_request_may_come_byte_by_byte(wire: Wire) -> None:
    body = json.dumps({"model": "gpt-sim", "messages": [{"role": "user", "content": "hi"}]}).encode()
    request = b"POST /a/v1/chat/completions?x=1 HTTP/1.1\r\nContent-Length: %d\r\nHost: x\r\n\r\n%b" % (len(body), body)
    for byte in request:
        wire.socket.send(bytes([byte]))
    assert wire.reply().status == 200


def test_a_chunked_request_and_expect_continue(wire: Wire) -> None:
    body = json.dumps({"model": "gpt-sim", "messages": [{"role": "user", "content": "hi"}]}).encode()
    wire.socket.sendall(b"POST /a/v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
    assert wire._until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.socket.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert wire.reply().status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_http_1_0_ends_with_the_connection(wire: Wire, stream: bool) -> None:
    body = {"model": "gpt-sim", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    reply = wire.send("POST", "/a/v1/chat/completions", body, version="1.0").reply()
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert "transfer-encoding" not in reply.headers
    assert reply.body.endswith(b"data: [DONE]\n\n" if stream else b"}")


def test_connection_close_is_kept(wire: Wire) -> None:
    reply = wire.send("GET", "/a/v1/models", connection="close").reply()
    assert reply.headers["connection"] == "close"
    assert wire.socket.recv(1) == b""


def test_head_has_no_body(wire: Wire) -> None:
    wire.send("HEAD", "/a/v1/models").send("GET", "/a/v1/models")
    assert b" 405 " in wire._until(b"\r\n\r\n")
    assert wire.reply().status == 200


def test_what_is_not_http_is_refused(wire: Wire) -> None:
    wire.socket.sendall(b"\x16\x03\x01 hello\r\n\r\n")
    assert b" 400 " in wire._until(b"\r\n\r\n")
    assert wire.socket.recv(1) == b""


def test_a_body_beyond_measure_is_refused(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.simulator.server.MAX_BODY", 1000)
    wire.send("POST", "/a/v1/chat/completions", b"x" * 2000)
    assert b" 413 " in wire._until(b"\r\n\r\n")


def test_the_openai_sdk_gets_along_with_it(base: Running) -> None:
    with openai.OpenAI(base_url=base.url("locked"), api_key=KEY, max_retries=0) as client:
        ask: Any = {"model": "gpt-sim", "messages": [{"role": "user", "content": "What is the weather?"}]}
        raw = client.chat.completions.with_raw_response.create(**ask)
        assert raw.headers["x-request-id"].startswith("req_locked")
        assert raw.parse().choices[0].message.content
        tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
        assert client.chat.completions.create(tools=[tool], **ask).choices[0].finish_reason == "tool_calls"
        with client.chat.completions.stream(**ask, stream_options={"include_usage": True}) as stream:
            final = stream.get_final_completion()
        assert final.usage is not None
        assert final.usage.completion_tokens > 0
        assert len(client.embeddings.create(model="embed-sim", input=["a", "b"]).data[1].embedding) == 1536
        assert client.completions.create(model="gpt-sim", prompt="Once").choices[0].text
        assert [model.id for model in client.models.list()] == ["gpt-sim", "embed-sim"]
        for wish, error in [
            ("status=401", openai.AuthenticationError), ("status=404", openai.NotFoundError), ("status=429", openai.RateLimitError),
            ("status=500", openai.InternalServerError), ("status=529", openai.InternalServerError), ("reset", openai.APIConnectionError),
        ]:  # fmt: skip
            with pytest.raises(error):
                client.chat.completions.create(**ask, extra_headers={"x-simulate": wish})
        with pytest.raises(openai.APIError, match="Overloaded"):
            list(client.chat.completions.create(**ask, stream=True, extra_headers={"x-simulate": "error_event; status=529"}))


def test_two_thousand_at_once() -> None:
    """All are in flight together, and every one of them is answered."""

    async def one(host: str, port: int, gate: asyncio.Semaphore) -> int:
        body = json.dumps({"model": "gpt-sim", "messages": [{"role": "user", "content": "hi"}]}).encode()
        async with gate:
            reader, writer = await asyncio.open_connection(host, port)
        writer.write(
            b"POST /a/v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        reply = await reader.read()
        writer.close()
        return int(reply.split()[1])

    async def all_of_them(base: str) -> list[int]:
        host, port = base.removeprefix("http://").split(":")
        gate = asyncio.Semaphore(200)
        return await asyncio.gather(*(one(host, int(port), gate) for _ in range(500)))

    with running(fleet(quick(ttft=1.5))) as base, ThreadPoolExecutor(4) as threads:
        statuses = [status for part in threads.map(lambda _: asyncio.run(all_of_them(base)), range(4)) for status in part]
        assert statuses == [200] * 2000
        seen = base.stats()["a"]
        assert (seen["finished"], seen["in_flight"]) == (2000, 0)
        assert seen["max_in_flight"] > 200


def test_it_ends_while_replies_are_under_way() -> None:
    with running(fleet(quick())) as base:
        wires = [
            Wire(base).chat(simulate="hang"),
            Wire(base).chat(simulate="ttft=60"),
            Wire(base).chat(simulate="gap=1", stream=True),
            Wire(base),
        ]
    assert all(wire.reply().end in ("reset", "closed") for wire in wires)
    for wire in wires:
        wire.close()


def test_a_taken_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = fleet(quick(), port=taken.getsockname()[1])
        with pytest.raises(OSError, match="address already in use"), running(config):
            raise AssertionError


def run(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "headrace.simulator", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    config = tmp_path / "sim.toml"
    config.write_text('[[providers]]\nname = "a"\nrpm = 60\nttft = 0.0\ngap = 0.0\n', "utf-8")
    with run(str(config), "--port", "0") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        second = process.stdout.readline()
        assert "/a/v1  models gpt-sim, embed-sim; 60 requests/60s (bucket, reserve)" in second
        found = re.search(r"http://[\d.]+:\d+", first)
        assert found is not None
        wire = Wire(found[0])
        assert wire.chat().reply().status == 200
        process.send_signal(number)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
        wire.close()


def test_the_command_tells_what_is_wrong_with_its_configuration(tmp_path: Path) -> None:
    config = tmp_path / "sim.toml"
    config.write_text('[[providers]]\nname = "a"\nrpm = "many"\n', "utf-8")
    with run(str(config)) as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (2, "")
    assert "providers[0].rpm" in err


def test_thousands_may_be_sent_ahead(wire: Wire) -> None:
    """Behind a reply that takes its time, in one go: answered one after another, not one inside another."""
    wire.chat(simulate="ttft=0.1; tokens=1")
    wire.socket.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 3000)
    assert wire.reply().json["usage"]["completion_tokens"] == 1
    assert all(wire.reply().json == {"ok": True} for _ in range(3000))


def test_the_simulator_says_how_late_it_was_itself() -> None:
    """Whoever was refused because calls had lain in its own sockets is told so."""
    with running(fleet(quick())) as base:
        base.loop.call_soon_threadsafe(time.sleep, 0.4)
        time.sleep(0.6)
        with urllib.request.urlopen(f"{base}/stats") as answer:
            assert json.load(answer)["late"] >= 0.3
        base.reset_stats()
        assert base.simulator.fleet.late < 0.3
