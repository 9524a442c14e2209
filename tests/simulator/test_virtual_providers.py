"""The providers in virtual time: what the transport promises, and that it agrees with HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.ports import Transport
from headrace.runtime.virtual import Cancelled, Stuck, World
from headrace.simulator.config import ProviderConfig
from headrace.simulator.fleet import Fleet
from headrace.simulator.server import running
from headrace.simulator.virtual import VirtualProviders
from headrace.wire import Fault, HttpRequest, HttpResponse, Timeouts, TransportError
from simulator.conftest import KEY, Reply, Wire, events, fleet, quick

NO_LIMIT = Timeouts(connect=None)


@pytest.fixture
def world() -> Iterator[World]:
    with World(seed=1) as world:
        yield world


def providers(world: World, *configs: ProviderConfig, delay: float = 0.1) -> VirtualProviders:
    return VirtualProviders(world, fleet(*(configs or (quick(),))), delay=lambda: delay)


def request(to: VirtualProviders, provider: str = "a", *, simulate: str = "", **more: Any) -> HttpRequest:
    body = {"model": "gpt-sim", "messages": [{"role": "user", "content": "hello"}], **more}
    headers = (("Authorization", f"Bearer {KEY}"), ("X-Simulate", simulate))
    return HttpRequest("POST", f"{to.url(provider)}/chat/completions", headers, json.dumps(body).encode())


def fetched(world: World, to: VirtualProviders, asked: HttpRequest, timeouts: Timeouts = NO_LIMIT, **more: Any) -> HttpResponse:
    return world.complete(to.fetch(asked, timeouts, **more))


def test_it_is_a_transport(world: World) -> None:
    transport: Transport = providers(world)
    assert transport is not None


def test_a_reply_takes_the_network_both_ways_and_the_models_time(world: World) -> None:
    to = providers(world, delay=0.1)
    response = fetched(world, to, request(to, simulate="ttft=0.5; gap=0.01; tokens=20"))
    assert response.status == 200
    assert json.loads(response.body)["usage"]["completion_tokens"] == 20
    assert response.headers["content-type"] == "application/json"
    assert world.now() == pytest.approx(0.1 + 0.5 + 20 * 0.01 + 0.1)
    assert to.stats()["a"]["finished"] == 1


def test_the_network_takes_between_20_and_300_milliseconds_each_way(world: World) -> None:
    to = VirtualProviders(world, fleet(quick()))
    times = []
    for _ in range(200):
        begun = world.now()
        fetched(world, to, request(to))
        times.append(world.now() - begun)
    assert 0.04 <= min(times) < 0.12
    assert 0.5 < max(times) <= 0.6


def test_a_stream_comes_piece_by_piece(world: World) -> None:
    to = providers(world)

    async def follow() -> list[tuple[float, int]]:
        stream = await to.open(request(to, simulate="ttft=0.5; gap=0.25; tokens=4", stream=True), NO_LIMIT)
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        log = []
        while part := await stream.read():
            log.append((round(world.now(), 6), len(events(part))))
        assert await stream.read() == b""
        return log

    assert world.complete(follow()) == [(0.7, 2), (0.95, 1), (1.2, 1), (1.45, 3)]
    assert to.stats()["a"]["tokens"]["output"] == 4


def test_a_provider_does_not_wait_for_its_reader(world: World) -> None:
    to = providers(world)

    async def dawdle() -> bytes:
        stream = await to.open(request(to, simulate="gap=0.25; tokens=8", stream=True), NO_LIMIT)
        await world.sleep(60)
        assert to.stats()["a"]["finished"] == 1
        return await stream.read()

    assert events(world.complete(dawdle()))[-1] == "[DONE]"


def test_who_closes_a_stream_stops_the_work(world: World) -> None:
    to = providers(world, quick(concurrency=1))

    async def leave() -> None:
        stream = await to.open(request(to, simulate="gap=1; tokens=100", stream=True), NO_LIMIT)
        await stream.read()
        await world.sleep(10)
        stream.close()
        stream.close()
        await stream.read()
        with pytest.raises(TransportError):
            await stream.read()

    world.complete(leave())
    world.run()
    seen = to.stats()["a"]
    assert (seen["left"], seen["finished"], seen["in_flight"]) == (1, 0, 0)
    assert 9 <= seen["tokens"]["output"] <= 12
    assert fetched(world, to, request(to)).status == 200


@pytest.mark.parametrize(("simulate", "after"), [("hang", 5.0), ("ttft=100", 5.0), ("ttft=10; gap=1; tokens=50", 40.0)])
def test_cancelling_frees_the_slot(world: World, simulate: str, after: float) -> None:
    to = providers(world)
    task = world.spawn(to.fetch(request(to, simulate=simulate), NO_LIMIT))
    world.at(after, task.cancel)
    world.run()
    assert isinstance(task.exception(), Cancelled)
    seen = to.stats()["a"]
    assert (seen["in_flight"], seen["left"]) == (0, 1)
    assert seen["tokens"]["output"] == (pytest.approx(33, abs=2) if "gap" in simulate else pytest.approx(1, abs=1))


@pytest.mark.parametrize(
    ("simulate", "stream", "timeouts", "fault", "when"),
    [
        ("hang", False, Timeouts(first_byte=5), Fault.FIRST_BYTE_TIMEOUT, 5.0),
        ("hang", False, Timeouts(first_byte=5, total=3), Fault.TOTAL_TIMEOUT, 3.0),
        ("ttft=4.9", False, Timeouts(first_byte=5), Fault.FIRST_BYTE_TIMEOUT, 5.0),
        ("", False, Timeouts(total=0.05), Fault.TOTAL_TIMEOUT, 0.05),
        ("", False, Timeouts(total=0.15), Fault.TOTAL_TIMEOUT, 0.15),
        ("reset", False, Timeouts(), Fault.CLOSED, 0.2),
        ("cut", False, Timeouts(), Fault.CLOSED, 0.2),
        ("break", False, Timeouts(), Fault.CLOSED, 0.2),
        ("stall", False, Timeouts(between_bytes=7), Fault.BETWEEN_BYTES_TIMEOUT, 7.2),
        ("stall", True, Timeouts(between_bytes=7), Fault.BETWEEN_BYTES_TIMEOUT, 7.2),
        ("stall", True, Timeouts(between_bytes=7, total=4), Fault.TOTAL_TIMEOUT, 4.0),
        ("gap=2", True, Timeouts(between_bytes=1), Fault.BETWEEN_BYTES_TIMEOUT, 1.2),
        ("cut", True, Timeouts(), Fault.CLOSED, 0.2),
        ("break", True, Timeouts(), Fault.CLOSED, 0.2),
    ],
)
def test_every_way_to_fail_is_a_transport_error_at_its_time(
    world: World, simulate: str, stream: bool, timeouts: Timeouts, fault: Fault, when: float
) -> None:
    to = providers(world)
    with pytest.raises(TransportError) as caught:
        fetched(world, to, request(to, simulate=simulate, stream=stream), timeouts)
    assert (caught.value.fault, caught.value.sent) == (fault, True)
    assert world.now() == pytest.approx(when)
    world.run()
    assert to.stats()["a"]["in_flight"] == 0, "whoever gave up has left"
    assert to.stats()["a"]["requests"] == 1, "what was on its way arrives nevertheless"


def test_silence_without_a_limit_lasts(world: World) -> None:
    to = providers(world)
    with pytest.raises(Stuck, match="nothing is scheduled"):
        fetched(world, to, request(to, simulate="hang"))


def test_a_body_may_be_too_large(world: World) -> None:
    to = providers(world)
    for simulate in ("oversized; bytes=5000", "tokens=2000"):
        with pytest.raises(TransportError) as caught:
            fetched(world, to, request(to, simulate=simulate), max_body=4000)
        assert caught.value.fault is Fault.TOO_LARGE
    assert len(fetched(world, to, request(to, simulate="oversized; bytes=5000")).body) == 5000


def test_a_provider_dies_and_recovers_in_its_time(world: World) -> None:
    to = providers(world, quick("a"), quick("b"))
    world.at(10, lambda: to.control(provider="a", dies=True))
    world.at(20, lambda: to.control(provider="a", recovers=True))

    async def ask_every_second() -> list[bool]:
        fine = []
        for second in range(30):
            await world.sleep(max(0.0, second + 0.5 - world.now()))
            try:
                fine.append((await to.fetch(request(to), NO_LIMIT)).status == 200)
            except TransportError:
                fine.append(False)
        return fine

    assert world.complete(ask_every_second()) == [True] * 10 + [False] * 10 + [True] * 10


def test_the_same_seed_gives_the_same_day() -> None:
    def day(seed: int) -> tuple[list[tuple[float, int, str]], Any]:
        with World(seed=seed) as world:
            faults = ({"kind": "status", "status": 503, "probability": 0.2},)
            config = ProviderConfig(name="a", rpm=100, tpm=20_000)
            to = VirtualProviders(world, fleet(config, seed=seed))
            to.control(faults=faults)
            log: list[tuple[float, int, str]] = []

            async def one() -> None:
                response = await to.fetch(request(to), NO_LIMIT)
                log.append((world.now(), response.status, response.body.decode()))

            async def offer() -> None:
                for _ in range(300):
                    world.spawn(one())
                    await world.sleep(0.3)

            world.spawn(offer())
            world.run()
            return log, to.stats()

    first, again, other = day(1), day(1), day(2)
    assert first == again
    assert first != other
    assert {status for _, status, _ in first[0]} == {200, 429, 503}


SCRIPT: list[dict[str, Any]] = [
    {"max_tokens": 50, "simulate": "tokens=30"},
    {"max_tokens": 400, "simulate": "tokens=10"},
    {"stream": True, "max_tokens": 20, "simulate": "tokens=5"},
    {"max_tokens": 900},
    {"simulate": "status=503"},
    {"simulate": "status=404"},
    {"max_tokens": 100, "simulate": "tokens=100"},
    {"stream": True, "simulate": "cut; after=2; tokens=9", "max_tokens": 9},
    {"simulate": "garbage; tokens=3", "max_tokens": 3},
    {"temperature": 9},
    {"max_tokens": 10, "simulate": "reset"},
    {"simulate": "html"},
    *({"max_tokens": 5, "simulate": "tokens=5"} for _ in range(8)),
]


def outcome(status: int, body: bytes) -> tuple[int, str]:
    """A reply without what the moment puts into it: ids, times and remaining seconds."""
    if status == 429:
        return status, json.loads(body)["error"]["message"].partition("Limit")[0]
    text = body.decode()
    for name in ("id", "created"):
        for part in text.split(f'"{name}":')[1:]:
            text = text.replace(f'"{name}":{part.partition(",")[0]}', f'"{name}":0')
    return status, text


def over_http(config: ProviderConfig) -> tuple[list[Any], dict[str, Any]]:
    with running(fleet(config)) as base:
        found: list[Any] = []
        for step in SCRIPT:
            with Wire(base) as wire:
                reply: Reply = wire.chat(**step).reply()
            found.append(outcome(reply.status, reply.body) if reply.end == "open" else "broken")
        return found, base.stats()["a"]


def in_virtual_time(config: ProviderConfig) -> tuple[list[Any], dict[str, Any]]:
    with World() as world:
        to = VirtualProviders(world, fleet(config), delay=lambda: 0.0)
        found: list[Any] = []
        for step in SCRIPT:
            try:
                response = fetched(world, to, request(to, **step))
                found.append(outcome(response.status, response.body))
            except TransportError:
                found.append("broken")
        return found, to.stats()["a"]


@pytest.mark.parametrize("accounting", ["reserve", "settle", "post"])
@pytest.mark.parametrize("enforcer", ["sliding", "bucket"])
@pytest.mark.parametrize("count_failed", [False, True])
def test_virtual_time_and_http_give_the_same_verdicts(accounting: Any, enforcer: Any, count_failed: bool) -> None:
    """A minute's limits and a script of seconds: what the clock adds in between is less than one request or token run."""
    config = quick(rpm=14, tpm=1_000, accounting=accounting, enforcer=enforcer, count_failed=count_failed, windows=(3600.0,))
    http, seen = over_http(config)
    virtual, seen_virtually = in_virtual_time(config)
    assert [step if step == "broken" else step[0] for step in http] == [step if step == "broken" else step[0] for step in virtual]
    assert http == virtual
    for name in ("requests", "admitted", "finished", "left", "rejected", "statuses", "faults", "tokens", "max_in_flight"):
        assert seen[name] == seen_virtually[name], name
    assert 429 in {int(status) for status in seen["statuses"]}


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 400), st.integers(0, 400)), min_size=1, max_size=40),
    st.sampled_from(["reserve", "settle"]),
)
def test_a_fleet_never_lets_in_more_than_its_limits(plan: list[tuple[float, int, int]], accounting: Any) -> None:
    """Through the whole way of a request: what was admitted in any minute stays within both limits of a sliding log."""
    with World() as world:
        to = providers(world, quick(rpm=10, tpm=2_000, enforcer="sliding", accounting=accounting, concurrency=5), delay=0.0)
        admitted: list[tuple[float, int]] = []

        async def one(limit: int, tokens: int) -> None:
            began = world.now()
            response = await to.fetch(request(to, max_tokens=limit, simulate=f"tokens={tokens}; gap=0.1"), NO_LIMIT)
            if response.status == 200:
                used = json.loads(response.body)["usage"]
                admitted.append((began, used["prompt_tokens"] + (limit if accounting == "reserve" else used["completion_tokens"])))

        async def offer() -> None:
            for pause, limit, tokens in plan:
                await world.sleep(pause)
                world.spawn(one(limit, tokens))

        world.spawn(offer())
        world.run()
        for when, _ in admitted:
            window = [tokens for moment, tokens in admitted if when - 59.999 < moment <= when]
            assert len(window) <= 10
            assert sum(window) <= 2_000
        assert to.stats()["a"]["max_in_flight"] <= 5


def test_a_fleet_needs_no_event_loop() -> None:
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert Fleet(fleet(quick())).report(0)["providers"]["a"]["requests"] == 0
