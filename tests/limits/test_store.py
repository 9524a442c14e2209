"""The shared books: the script on a real server against its model, and what both promise."""

from __future__ import annotations

import asyncio
import re
import threading
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import structs

from headrace.bridge import complete
from headrace.limits import books as model
from headrace.limits.books import Books, Since
from headrace.limits.question import answers_to
from headrace.limits.store import (
    EPOCH,
    MICRO,
    Answer,
    Argument,
    Claim,
    Correction,
    Grant,
    Message,
    Standing,
    StoreLost,
    Term,
    Wish,
    amending,
    closing,
    delaying,
    read_answer,
    read_grant,
    read_sign,
    reporting,
    resting,
    restoring,
    settlement,
    several,
)
from headrace.ports import Clock
from headrace.runtime.clocks import AsyncClock, BlockingClock
from headrace.runtime.redis_address import address_of, client_at
from headrace.runtime.redis_store import RedisStore

if TYPE_CHECKING:
    from limits.conftest import Server

START = 1_764_000_000 * MICRO


class Script:
    """The script on the server, at times of the test's choosing."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url, decode_responses=True)
        self.evaluate = self.client.register_script(RedisStore(self.client)._source)
        self.run = uuid.uuid4().hex

    def call(self, account: str, operation: str, now: int | str, arguments: Sequence[Argument]) -> list[str]:
        reply: list[str] = self.evaluate(keys=_keys(account), args=[operation, now, *arguments])
        return reply

    def several(self, accounts: Sequence[str], now: int, messages: Sequence[Message]) -> list[list[str]]:
        """accounts: by the names that stand in the messages, a key for each in the server."""
        keys = [key for account in accounts for key in _keys(f"{self.run}{account}")]
        reply: list[list[str]] = self.evaluate(keys=keys, args=["several", now, *several(messages, accounts)])
        return reply


def _keys(account: str) -> list[str]:
    since = f"test:{{{account}}}:since" if account.startswith("new") else "test:since"
    return [*[f"test:{{{account}}}:{part}" for part in ("books", "flight", "members", "rests", "wants")], since]


async def admitted(store: RedisStore, claim: Claim, clock: Clock) -> Answer:
    (answer,) = await answers_to(store, [claim], clock, lambda at, answer: None)
    assert answer is not None
    return answer


@pytest.fixture(scope="module")
def script(valkey: Server) -> Any:
    found = Script(valkey.url)
    found.client.set("test:since", 1)
    yield found
    found.client.close()


REQUESTS = Term("requests/60", room=10, cost=1, window=60.0, span=60.5, rate=10 / 60, tolerance=8.0, expected=1)
TOKENS = Term("tokens/60", room=5000, cost=700.5, window=60.0, span=60.5, rate=5000 / 60, tolerance=8.0, expected=333.25)
SHORT = Term("requests/1", room=3, cost=1, window=1.0, span=1.25)
FLIGHT = Term("in_flight/0", room=3, cost=1, window=0.0, tolerance=0.2)

terms = st.lists(st.sampled_from([REQUESTS, TOKENS, SHORT, FLIGHT]), min_size=1, max_size=4, unique=True).map(tuple)
seconds = st.sampled_from([0.0, 0.0, 0.01, 0.1, 0.3, 1.0, 7.3, 30.0, 61.0, 200.0])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), terms, st.floats(0.1, 2.0), st.booleans(), st.integers(0, 3), st.booleans(), st.integers(0, 3)),
        st.tuples(st.just("block"), terms, st.floats(0.1, 4.0), st.integers(0, 3)),
        st.tuples(st.just("amend"), st.integers(0, 20), st.floats(-700, 900), st.floats(0, 300), st.integers(0, 3), st.floats(0, 900)),
        st.tuples(st.just("settle"), st.integers(0, 20), st.floats(-700, 900), st.floats(0, 300)),
        st.tuples(st.just("delay"), st.integers(0, 20), st.floats(0, 2)),
        st.tuples(st.just("hold"), st.sampled_from([0.5, 3.0])),
        st.tuples(st.just("rest"), st.sampled_from(["d1", "d2", "d3"]), st.sampled_from([0.0, 0.5, 9.0])),
        st.tuples(
            st.just("restore"), st.sampled_from([0.0, float(START)]), st.lists(st.tuples(st.floats(0, 80), st.floats(0, 400)), max_size=5)
        ),
        st.tuples(st.just("report"), st.integers(0, 3), st.floats(0, 100)),
    ).flatmap(lambda step: seconds.map(lambda passed: (passed, step))),
    max_size=40,
)


class History:
    """Random steps as messages; the answers of one side decide the arguments of the next for both."""

    def __init__(self) -> None:
        self.granted: list[tuple[str, Answer, tuple[Term, ...]]] = []
        self.blocks: list[tuple[str, Grant, tuple[Term, ...]]] = []
        self.turns: dict[int, float] = {}
        self.count = 0

    def message(self, step: Any) -> Message:
        match step:
            case ("admit", asked, factor, more, process, told, holds):
                self.count += 1
                scaled = tuple(term if term is FLIGHT else _times(term, factor) for term in asked)
                return Claim(
                    "a",
                    f"c{self.count}",
                    scaled,
                    30.0,
                    turn=self.turns.get(process, 0.0),
                    fresh=True,
                    more=more,
                    waits=more or process == 0,
                    process=f"p{process}",
                    holds=holds,
                    told=told,
                ).message()
            case ("block", asked, factor, process):
                self.count += 1
                scaled = tuple(_times(term, factor) for term in asked)
                expected = tuple(structs.replace(term, expected=term.expected or 1.0) for term in scaled)
                return Wish("a", f"b{self.count}", expected, (2.0,) * len(expected), 0.6, 30.0, f"p{process}", 1).message()
            case ("amend", which, difference, written, wanted, unused):
                if not self.blocks:
                    return amending("a", "nobody", float(START), 0, 30.0, [])
                id, grant, held = self.blocks[which % len(self.blocks)]
                corrections = [
                    Correction(term.key, term.window, term.span, term.rate, difference, written, difference) for term in held if term.window
                ]
                return amending("a", id, grant.at, min(wanted, grant.seats), 30.0, corrections, {TOKENS.key: unused})
            case ("settle", which, difference, written):
                if not self.granted:
                    return settlement("a", "nobody", float(START), 30.0, [])
                id, answer, held = self.granted[which % len(self.granted)]
                corrections = [
                    Correction(term.key, term.window, term.span, term.rate, difference, written, difference) for term in held if term.window
                ]
                return settlement("a", id, answer.at, 30.0, corrections)
            case ("delay", which, late):
                id, answer, held = self.granted[which % len(self.granted)] if self.granted else ("nobody", None, ())
                at = 0.0 if answer is None else answer.at
                return delaying("a", id, at, at + round(late * MICRO), 30.0, held)
            case ("hold", duration):
                return closing("a", duration)
            case ("rest", name, duration):
                return resting("a", name, duration)
            case ("restore", born, charges):
                return restoring("a", born, 20.0, 30.0, ["r1", "b3*2"], [Standing("tokens/60", 60.0, 60.5, 5000 / 60, 2.0, tuple(charges))])
            case ("report", process, demand):
                return reporting("a", f"p{process}", demand, 30.0, ["c1", "b2*3"][:process], [TOKENS, SHORT][:process])
        raise AssertionError(step)

    def learn(self, step: Any, message: Message, reply: Sequence[str]) -> None:
        if step[0] == "admit":
            answer = read_answer(reply)
            if answer.granted:
                self.granted.append((str(message.arguments[0]), answer, _terms(message)))
            self.turns[step[4]] = answer.until
        elif step[0] == "block":
            grant = read_grant(reply)
            if grant.granted:
                self.blocks.append((str(message.arguments[0]), grant, _terms(message)))


def _times(term: Term, factor: float) -> Term:
    return Term(
        term.key, term.room, term.cost * factor, term.window, term.span, term.rate, term.tolerance, term.expected * factor
    )  # fmt: skip


def _terms(message: Message) -> tuple[Term, ...]:
    known = {term.key: term for term in (REQUESTS, TOKENS, SHORT, FLIGHT)}
    return tuple(known[argument] for argument in message.arguments if isinstance(argument, str) and argument in known)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_the_script_and_its_model_say_the_same(script: Script, steps: Any) -> None:
    account, books, history, now = f"new{uuid.uuid4().hex}", Books(Since(None)), History(), START
    for passed, step in steps:
        now += round(passed * MICRO)
        message = history.message(step)
        said = script.call(account, message.operation, now, message.arguments)
        assert said == books.call(message.operation, float(now), message.arguments), step
        history.learn(step, message, said)


@settings(max_examples=100)
@given(st.lists(st.tuples(seconds, st.floats(0.2, 3.0), st.integers(0, 2), st.booleans()), max_size=120))
def test_no_window_ever_holds_more_than_its_limit(offers: Any) -> None:
    """Whoever asks, whenever, in whatever turn: charges within any 60 seconds stay below the limit."""
    books, now, sent = Books(), START, []
    turns: dict[int, float] = {}
    for passed, factor, process, more in offers:
        now += round(passed * MICRO)
        claim = Claim("a", f"c{len(sent)}/{now}/{factor}", (_times(TOKENS, factor),), 30.0, turn=turns.get(process, 0.0), more=more)
        message = claim.message()
        answer = read_answer(books.call("admit", float(now), message.arguments))
        turns[process] = answer.until
        if answer.granted:
            sent.append((answer.at, TOKENS.cost * factor))
    for end, _ in sent:
        assert sum(cost for at, cost in sent if end - 60 * MICRO < at <= end) <= TOKENS.room + 1e-3


def test_a_limit_is_used_to_the_end(script: Script) -> None:
    """Coming back when told brings all that the limit allows: no room is lost to slots or turns."""
    account, now, admitted, asked = uuid.uuid4().hex, START, 0, 0
    term, turn, fresh = Term("requests/60", 60, 1, 60.0, 60.5, 1.0, 4.0, 1), 0.0, False
    while now < START + 600 * MICRO:
        claim = Claim(account, f"c{asked}", (term,), 700.0, turn=turn, fresh=fresh, more=True)
        answer = read_answer(script.call(account, "admit", now, claim.message().arguments))
        asked += 1
        admitted += answer.granted
        turn, fresh = (answer.until, True) if answer.turn else (turn, False)
        now += max(0, round((answer.turn - 0.1) * MICRO))
    assert 0.98 * 60 * 10 <= admitted <= 60 * 10 + 4
    assert asked <= 1.1 * admitted


def test_processes_take_turns_and_hardly_ask_in_vain(script: Script) -> None:
    """Eight processes with long queues before one limit: one question a call, and equal parts for all."""
    account, term = uuid.uuid4().hex, Term("requests/60", 600, 1, 60.0, 60.5, 10.0, 4.0, 1)
    wakes = {process: START + 1000 * process for process in range(8)}
    turns = dict.fromkeys(range(8), (0.0, False))
    admitted, asked = dict.fromkeys(range(8), 0), 0
    while min(wakes.values()) < START + 180 * MICRO:
        process = min(wakes, key=lambda one: wakes[one])
        now, (turn, fresh) = wakes[process], turns[process]
        claim = Claim(account, f"c{asked}", (term,), 700.0, turn=turn, fresh=fresh, more=True)
        answer = read_answer(script.call(account, "admit", now, claim.message().arguments))
        asked += 1
        admitted[process] += answer.granted
        turns[process] = (answer.until, True) if answer.turn else (turn, False)
        wakes[process] = now + max(500, round((answer.turn - 0.12) * MICRO))
    total = sum(admitted.values())
    assert total >= 0.98 * 600 * 3
    assert asked <= 1.5 * total
    assert min(admitted.values()) >= 0.7 * total / 8


def test_a_store_that_has_just_begun_waits_for_what_others_have_to_tell(script: Script) -> None:
    """Whoever has told what he charged may pass, others when all have; and a process that lives on knows that there is a store."""
    account = f"new{uuid.uuid4().hex}"

    def ask(id: str, after: float, *, told: bool = False) -> Answer:
        message = Claim(account, id, (TOKENS,), 30.0, horizon=0.0, told=told).message()
        return read_answer(script.call(account, "admit", START + round(after * MICRO), message.arguments))

    script.call(account, "report", START, reporting(account, "p", 1.0, 30.0, []).arguments)
    early = ask("c1", 1.0)
    assert (early.granted, early.turn, early.binding, early.used) == (False, pytest.approx(3.0), None, (0.0,))
    assert ask("c2", 1.0, told=True).granted
    assert not ask("c3", 3.99).granted
    assert ask("c4", 4.1).granted


def test_settling_twice_gives_back_once(script: Script) -> None:
    account, now = uuid.uuid4().hex, START
    granted = read_answer(script.call(account, "admit", now, Claim(account, "c1", (TOKENS,), 30.0).message().arguments))
    end = settlement(account, "c1", granted.at, 30.0, [Correction(TOKENS.key, 60.0, 60.5, TOKENS.rate, -500.5, 0.0, -133.25)])
    assert script.call(account, "settle", now, end.arguments) == ["1"]
    assert script.call(account, "settle", now, end.arguments) == ["0"]
    after = read_answer(script.call(account, "admit", now, Claim(account, "c2", (TOKENS,), 30.0).message().arguments))
    assert after.used == (200 + 700.5,)
    assert after.debt[0] == pytest.approx((200 + 333.25) / TOKENS.rate)


def test_asking_again_with_the_same_id_charges_nothing(script: Script) -> None:
    account = uuid.uuid4().hex
    message = Claim(account, "c1", (TOKENS,), 30.0).message()
    first, again = (read_answer(script.call(account, "admit", START, message.arguments)) for _ in range(2))
    assert first.granted
    assert again.granted
    assert again.used == first.used == (700.5,)


def test_what_a_killed_process_held_in_flight_comes_back(script: Script) -> None:
    account, now = uuid.uuid4().hex, START

    def ask(id: str) -> Answer:
        return read_answer(script.call(account, "admit", now, Claim(account, id, (FLIGHT,), 30.0).message().arguments))

    assert [ask(id).granted for id in ("a", "b", "c")] == [True, True, True]
    assert not ask("d").granted
    now += 20 * MICRO
    script.call(account, "report", now, reporting(account, "p1", 1.0, 30.0, ["a"]).arguments)  # its process lives and says so
    now += 10 * MICRO
    assert [ask(id).granted for id in ("e", "f", "g")] == [True, True, False]


def test_who_looks_for_a_place_in_vain_looks_again_after_all_others(script: Script) -> None:
    """Nobody can promise when a call ends: a turn among those who wait is over with one look, and is none at other limits."""
    account, books = uuid.uuid4().hex, Books()

    def look(process: str, id: str, now: int, *, more: bool) -> Answer:
        message = Claim(account, id, (FLIGHT,), 30.0, more=more, process=process).message()
        said = script.call(account, "admit", now, message.arguments)
        assert said == books.call("admit", float(now), message.arguments)
        return read_answer(said)

    assert all(look("a", id, START, more=False).granted for id in ("a1", "a2", "a3"))
    answers = [
        (after, look(process, f"{process}{after}", START + round(after * MICRO), more=True))
        for process, after in (("d", 0.0), ("e", 0.0), ("d", 0.4), ("e", 0.6))
    ]
    assert [round(after + answer.turn, 2) for after, answer in answers] == [0.2, 0.48, 0.77, 1.05]
    assert {answer.until for _, answer in answers} == {0.0}


def test_all_limits_or_none(script: Script) -> None:
    """A call that one limit refuses is charged to no other."""
    account = uuid.uuid4().hex
    full = Term("tokens/60", 1000, 900, 60.0, 60.5)
    for number, granted in enumerate((True, False, False)):
        answer = read_answer(script.call(account, "admit", START, Claim(account, f"c{number}", (SHORT, full), 30.0).message().arguments))
        assert answer.granted is granted
        assert answer.used == (1.0, 900.0)
    assert answer.binding == 1


def test_every_key_expires(valkey: Server) -> None:
    store = RedisStore(redis.Redis.from_url(valkey.url, decode_responses=True))
    account = uuid.uuid4().hex
    try:
        one_place = structs.replace(FLIGHT, room=1)
        complete(admitted(store, Claim(account, "c1", (TOKENS, one_place), 30.0, more=True, process="p"), BlockingClock()))
        told = threading.Event()
        store.post(closing(account, 1.0))
        store.post(resting(account, "d", 1.0))
        store.post(reporting(account, "p", 1.0, 30.0, ["c1"]), lambda *_: told.set())
        assert told.wait(5)
        with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
            keys = sorted(client.scan_iter(f"*{account}*"))
            assert [key.rsplit(":", 1)[-1] for key in keys] == ["books", "flight", "members", "rests", "wants"]
            assert all(key.startswith(f"headrace:1:{{{account[:2]}}}:{account}:") for key in keys)
            assert all(0 < client.pttl(key) <= 200_000 for key in keys)
    finally:
        store.close()


def test_books_are_kept_as_long_as_anybody_reports(valkey: Server) -> None:
    """Whoever finds other books than before then knows that they have forgotten something."""
    store, account, told = RedisStore(redis.Redis.from_url(valkey.url, decode_responses=True)), uuid.uuid4().hex, threading.Event()
    try:
        with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
            complete(admitted(store, Claim(account, "c1", (TOKENS,), 30.0), BlockingClock()))
            books = f"headrace:1:{{{account[:2]}}}:{account}:books"
            client.pexpire(books, 5000)
            store.post(reporting(account, "p", 1.0, 30.0, []), lambda *_: told.set())
            assert told.wait(5)
            assert 50_000 < client.pttl(books) <= 60_000
    finally:
        store.close()


def test_a_gate_that_one_client_closes_holds_the_others(valkey: Server) -> None:
    """Two connections: what a provider told the one, the other obeys."""
    one, other = (RedisStore(redis.Redis.from_url(valkey.url, decode_responses=True)) for _ in range(2))
    account, clock = uuid.uuid4().hex, BlockingClock()
    try:
        told = threading.Event()
        one.post(closing(account, 5.0), lambda *_: told.set())
        assert told.wait(5)
        refused = complete(admitted(other, Claim(account, "c1", (TOKENS,), 30.0), clock))
        assert not refused.granted
        assert 4 < refused.turn <= 5
        assert refused.used == (0.0,)
    finally:
        one.close(), other.close()


def test_questions_that_come_together_travel_together(valkey: Server) -> None:
    store = RedisStore(redis.Redis.from_url(valkey.url, decode_responses=True))
    accounts, wide = [uuid.uuid4().hex for _ in range(5)], Term("requests/60", 1000, 1, 60.0, 60.5)

    async def ask(number: int) -> Answer:
        return await admitted(store, Claim(accounts[number % 5], f"c{number}", (wide,), 30.0), AsyncClock())

    async def all_at_once() -> list[Answer]:
        await ask(-1)
        return await asyncio.gather(*[ask(number) for number in range(50)])

    try:
        answers = asyncio.run(all_at_once())
        assert all(answer.granted for answer in answers)
        assert max(answer.used[0] for answer in answers) == 11
        assert store.calls < 40, "whatever their accounts, in one call of the script"
        assert store.trips == store.calls
    finally:
        store.close()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), steps.filter(bool)), min_size=1, max_size=6))
def test_several_in_one_call_say_what_they_say_one_by_one(script: Script, steps: Any) -> None:
    """Whatever is asked of whichever account: each has its own books."""
    script.run = uuid.uuid4().hex
    books = {account: Books() for account in ("c", "a", "b")}
    histories = {account: History() for account in books}
    asked = [(account, histories[account].message(step)) for account, some in steps for _, step in some]
    messages = [structs.replace(message, account=account) for account, message in asked]
    said = script.several(list(books), START, messages)
    assert said == model.several(messages, float(START), books.__getitem__)


def test_what_one_account_refuses_is_charged_to_none_behind_it(script: Script) -> None:
    """The first call fits everywhere, the second not under the key: it is not looked at in the team's books, and charged in none."""
    script.run, books = uuid.uuid4().hex, {"key": Books(), "team": Books()}
    one = Term("requests/60", room=1, cost=1, window=60.0, span=60.0)
    ten = Term("requests/60", room=10, cost=1, window=60.0, span=60.0)
    for call, granted, used in (("c1", True, 1.0), ("c2", False, 1.0)):
        messages = [Claim("key", call, (one,), 30.0).message(), Claim("team", call, (ten,), 30.0).message(also=True)]
        said = script.several(["key", "team"], START, messages)
        assert said == model.several(messages, float(START), books.__getitem__)
        assert read_answer(said[0]).granted is granted
        assert read_answer(said[1]).used == (1.0,) if granted else said[1] == [""]
        assert books["team"].rows["requests/60"].sum == used


def test_all_claims_of_a_call_go_in_one_call_of_the_script(valkey: Server) -> None:
    """And none behind one that was refused is charged."""
    store, accounts = RedisStore(redis.Redis.from_url(valkey.url, decode_responses=True)), [uuid.uuid4().hex for _ in range(3)]
    full = Term("requests/60", room=1, cost=1, window=60.0, span=60.0)
    wide = Term("requests/60", room=10, cost=1, window=60.0, span=60.0)

    def ask(id: str) -> list[Answer | None]:
        claims = [Claim(account, id, (term,), 30.0) for account, term in zip(accounts, (wide, full, wide), strict=True)]
        return complete(answers_to(store, claims, BlockingClock(), lambda at, answer: None))

    try:
        assert [answer is not None and answer.granted for answer in ask("c1")] == [True, True, True]
        first, second, third = ask("c2")
        assert (first is not None and first.granted, second is not None and second.granted, third) == (True, False, None)
        assert store.trips == store.calls == 2
    finally:
        store.close()


def test_a_report_leaves_books_that_are_right(script: Script) -> None:
    """It forgets what has left the window, and says so in the books."""
    account = uuid.uuid4().hex
    then, later = START + 30 * MICRO, START + 61 * MICRO
    for at, id in ((START, "c1"), (then, "c2")):
        script.call(account, "admit", at, Claim(account, id, (TOKENS,), 30.0).message().arguments)
    for at, used in ((then, 1401.0), (later, 700.5)):
        sign = read_sign(script.call(account, "report", at, reporting("a", "p", 1.0, 30.0, [], [TOKENS]).arguments))
        assert [(state[0], state[2]) for state in sign.states] == [(used, 1401.0)]
    answer = read_answer(script.call(account, "admit", later, Claim(account, "c3", (TOKENS,), 30.0).message().arguments))
    assert (answer.used, answer.ever) == ((1401.0,), (2101.5,))


def test_an_end_that_nobody_waits_for_travels_with_the_next_question(valkey: Server) -> None:
    """Of any account. It cost a call of the script for itself: two for each admission."""
    store, account = RedisStore(redis.Redis.from_url(valkey.url, decode_responses=True)), uuid.uuid4().hex
    clock = BlockingClock()
    try:
        first = complete(admitted(store, Claim(account, "c1", (TOKENS,), 30.0), clock))
        back = Correction(TOKENS.key, 60.0, 60.5, TOKENS.rate, -500.5, 0.0, 0.0)
        store.post(settlement(account, "c1", first.at, 30.0, [back], patience=30.0))
        other = complete(admitted(store, Claim(uuid.uuid4().hex, "c2", (TOKENS,), 30.0), clock))
        assert other.used == (700.5,)
        assert store.calls == 2
        third = complete(admitted(store, Claim(account, "c3", (TOKENS,), 30.0), clock))
        assert third.used == (200 + 700.5,)
        assert store.calls == 3, "the end went with the second"
    finally:
        store.close()


def test_an_end_without_a_question_to_follow_is_told_after_its_patience_or_at_the_end_of_the_process(valkey: Server) -> None:
    account, clock = uuid.uuid4().hex, BlockingClock()
    ends = [Correction(TOKENS.key, 60.0, 60.5, TOKENS.rate, -500.5, 0.0, 0.0)]
    store = RedisStore(redis.Redis.from_url(valkey.url, decode_responses=True))
    told = threading.Event()
    one, two = (complete(admitted(store, Claim(account, id, (TOKENS,), 30.0), clock)) for id in ("c1", "c2"))
    store.post(settlement(account, "c1", one.at, 30.0, ends, patience=0.05), lambda *_: told.set())
    assert told.wait(5)
    store.post(settlement(account, "c2", two.at, 30.0, ends, patience=600.0))
    store.close()
    other = RedisStore(redis.Redis.from_url(valkey.url, decode_responses=True))
    try:
        assert complete(admitted(other, Claim(account, "c3", (TOKENS,), 30.0), clock)).used == (200 + 200 + 700.5,)
    finally:
        other.close()


def test_a_store_that_is_not_there_is_lost_soon() -> None:
    store = RedisStore(client_at(address_of("redis://:s3cret@127.0.0.1:9/0")), name="the store at redis://127.0.0.1:9/0")
    with pytest.raises(StoreLost) as caught:
        complete(admitted(store, Claim("a", "c1", (TOKENS,), 30.0), BlockingClock()))
    assert "127.0.0.1:9/0" in str(caught.value)
    assert "s3cret" not in str(caught.value) + repr(store)
    store.close()


@example([[1.0], [1.0] * 6, [1.0] * 6], 0)
@given(st.lists(st.lists(st.floats(0, 1000), min_size=1, max_size=6), min_size=2, max_size=6), st.integers(0, 5))
def test_shares_never_add_up_to_more_than_the_limit(epochs: Any, late: int) -> None:
    """Whatever each wants, whichever of the last two tables it has seen, and however many have just come: each took all that is kept."""
    books, views = Books(), {}
    for number, demands in enumerate(epochs):
        now = START + number * EPOCH * MICRO
        for process, demand in enumerate(demands):
            if number == len(epochs) - 1 and process == late:
                continue  # the store was lost before this one reported again
            message = reporting("a", f"p{process}", demand, 30.0, [])
            views[process] = read_sign(books.call("report", now + process, message.arguments)).share or 0.0
    alive = [share for process, share in views.items() if process < len(epochs[-1]) or process < len(epochs[-2])]
    assert sum(alive) <= 1 + 1e-9


def test_the_script_uses_no_command_newer_than_redis_6_2(script: Script) -> None:
    """By the servers' own documentation: each of these is as old as 2.6, and HSET takes several fields since 4.0."""
    source = RedisStore(script.client)._source
    assert set(re.findall(r"redis\.call\('(\w+)'", source)) <= {
        "TIME", "HGET", "HMGET", "HGETALL", "HSET", "HDEL", "DEL", "PEXPIRE", "PTTL", "ZADD", "ZREM", "ZCARD", "ZSCORE", "ZRANGEBYSCORE",
        "ZREMRANGEBYSCORE",
        "GET", "SET",
    }  # fmt: skip
    assert script.client.info("server")["redis_version"]
