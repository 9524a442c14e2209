"""The limit store in Valkey or Redis: one thread and one connection serve all threads and event loops of a process.

Callers queue a question for the thread and wait on their own clock. Questions that arrive together are sent in one
script call, along with messages that were queued to be sent at leisure. In a cluster, each account needs a call of its
own.
"""

from __future__ import annotations

import atexit
import math
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from importlib.resources import files
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias

from msgspec import Struct

from headrace.errors import ConfigurationError
from headrace.limits.store import Message, Then, several
from headrace.runtime.redis_address import Address, address_of, client_at

PREFIX: Final = "headrace:1"
"""Prefix of every key; the number is the version of the key format."""
BEAT: Final = 1.0
"""Seconds between heartbeats."""
MOST_AT_ONCE: Final = 100
"""Maximum number of questions per batch."""
PARTS: Final = ("books", "flight", "members", "rests", "wants")
"""The keys of an account in the script's order; they are followed by the key that tells since when the store exists."""
BEGIN: Final = """
local time = redis.call('TIME')
redis.call('SET', KEYS[1], string.format('%.0f', time[1] * 1000000 + time[2]), 'NX')
"""
ELSEWHERE: Final = "hash to the same slot"
"""Part of a cluster's error for a call whose accounts are on several servers."""


class _Question(Struct, eq=False):
    message: Message
    then: Then | None
    due: float
    """The monotonic time by which it must be sent."""


_Letter: TypeAlias = "list[_Question]"
"""The questions of one script call, in order."""


class RedisStore:
    """`limits.store.Store` over a redis-py client: `redis.Redis`, a Sentinel's `master_for(…)`, `RedisCluster`; or
    valkey-py's.

    The client's own timeouts decide how soon the store counts as lost; configure short ones.
    """

    def __init__(self, client: Any, *, name: str = "the store") -> None:
        """`name`: identifies the store in error messages; must not contain the password."""
        self.name = name
        self.calls = 0
        """Script calls so far."""
        self.trips = 0
        """Round trips so far."""
        self.error: str = ""
        """The last error; empty after a success."""
        self._client = client
        self._apart = hasattr(client, "get_nodes") or hasattr(client, "nodes_manager")
        """Whether each account needs a call of its own, as in a cluster, where accounts may be on different servers."""
        self._source = files("headrace.limits").joinpath("admit.lua").read_text("utf-8")
        self._sha = ""
        self._questions: SimpleQueue[list[_Question] | None] = SimpleQueue()
        self._kept: dict[str, _Letter] = {}
        """Questions not yet sent; by account if those need separate calls. Used only by the thread."""
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._name = secrets.token_hex(6)
        self._starting = threading.Lock()
        self._beats: list[weakref.WeakMethod[Callable[[float], None]]] = []

    # ---- the port

    def post(self, message: Message, then: Then | None = None) -> None:
        self.post_all([(message, then)])

    def post_all(self, questions: Sequence[tuple[Message, Then | None]]) -> None:
        if self._thread is None or self._pid != os.getpid():
            self._start()
        now = time.monotonic()
        self._questions.put([_Question(message, then, now + message.patience) for message, then in questions])

    @property
    def process(self) -> str:
        return f"{self._name}{os.getpid():x}"  # a forked child is another process

    def attach(self, beat: Callable[[float], None]) -> None:
        self._beats.append(weakref.WeakMethod(beat))

    def reach(self) -> None:
        """Send a first request from the caller's thread. Raises ConfigurationError if the store does not answer or may
        not run scripts."""
        try:
            self._client.eval(BEGIN, 1, _since("reach", self._apart))
        except Exception as error:  # whatever a client raises
            raise unreachable(self.name, error) from None

    def close(self) -> None:
        """Send what is queued and end the thread."""
        thread = self._thread
        if thread is not None and self._pid == os.getpid():
            self._questions.put(None)
            thread.join(2.0)
            self._thread = None

    # ---- the thread

    def _start(self) -> None:
        with self._starting:
            if self._thread is not None and self._pid == os.getpid():
                return
            if self._pid != os.getpid():
                self._questions = SimpleQueue()  # the parent's thread may have held its lock during the fork
                self._kept = {}
            self._pid = os.getpid()
            self._thread = threading.Thread(target=self._run, name="headrace-store", daemon=True)
            self._thread.start()
            atexit.register(self.close)

    def _run(self) -> None:
        beat_at = time.monotonic() + BEAT
        open = True
        while open:
            letters, open = self._next(beat_at)
            if letters:
                self._answer(letters)
            if time.monotonic() >= beat_at:
                self._beat()
                beat_at = time.monotonic() + BEAT
        atexit.unregister(self.close)
        self._client.close()

    def _next(self, until: float) -> tuple[list[_Letter], bool]:
        """The batches to send, after waiting for questions until `until` at most; False with the last ones."""
        soonest = min((question.due for letter in self._kept.values() for question in letter), default=until)
        open = self._take_up(max(0.0, min(until, soonest) - time.monotonic()))
        return self._ripe(time.monotonic() if open else math.inf), open

    def _take_up(self, timeout: float) -> bool:
        """Collect queued questions, waiting up to `timeout` for the first. False after `close`."""
        try:
            for _ in range(MOST_AT_ONCE):
                questions = self._questions.get(timeout=timeout)
                if questions is None:
                    return False
                for question in questions:
                    self._kept.setdefault(question.message.account if self._apart else "", []).append(question)
                timeout = 0.0
        except Empty:
            pass
        return True

    def _ripe(self, now: float) -> list[_Letter]:
        """The batches with a due question, complete with those that are not due yet."""
        ripe = [place for place, letter in self._kept.items() if any(question.due <= now for question in letter)]
        return [self._kept.pop(place) for place in ripe]

    def _beat(self) -> None:
        now = time.monotonic()
        for reference in list(self._beats):
            beat = reference()
            if beat is None:
                self._beats.remove(reference)
            else:
                beat(now)

    def _answer(self, letters: list[_Letter]) -> None:
        replies = self._ask(letters)
        if not self._apart and ELSEWHERE in self.error:
            self._apart = True  # a cluster behind a proxy: nothing was executed
            return self._answer([[question for question in letters[0] if question.message.account == one] for one in _accounts(letters[0])])
        now = time.monotonic()
        for letter, answers in zip(letters, replies, strict=True):
            for question, answer in zip(letter, answers, strict=True):
                if question.then is not None:
                    question.then(answer, now)
        return None

    def _ask(self, letters: list[_Letter]) -> list[list[list[str] | None]]:
        """The replies, None for each question without one. An error reply from the store counts as none."""
        try:
            self.trips += 1
            replies = self._send([_arguments(letter, self._apart) for letter in letters])
            self.error = ""
        except Exception as error:  # whatever a client raises: the store counts as lost
            self.error = f"{type(error).__name__}: {error}"[:300]
            return [[None] * len(letter) for letter in letters]
        return [self._read(reply, len(letter)) for letter, reply in zip(letters, replies, strict=True)]

    def _read(self, reply: Any, count: int) -> list[list[str] | None]:
        if isinstance(reply, Exception):
            self.error = f"{type(reply).__name__}: {reply}"[:300]
            return [None] * count
        answers = [reply] if count == 1 else reply
        return [[part.decode() if isinstance(part, bytes) else str(part) for part in answer] for answer in answers]

    def _send(self, calls: list[list[Any]]) -> list[Any]:
        if not self._sha:
            self._sha = _digest(self._source)
        replies = [self._one([self._sha, *call]) for call in calls]
        for at, reply in enumerate(replies):
            if type(reply).__name__ == "NoScriptError":  # one by one, to keep the order: the first call loads the script
                replies[at] = self._client.eval(self._source, *calls[at])
        self.calls += len(calls)
        return replies

    def _one(self, call: list[Any]) -> Any:
        try:
            return self._client.evalsha(*call)
        except Exception as error:
            if type(error).__name__ == "NoScriptError":
                return error
            raise

    def __repr__(self) -> str:
        return f"<RedisStore {self.name}{f', lost: {self.error}' if self.error else ''}>"


def _accounts(letter: _Letter) -> list[str]:
    return list(dict.fromkeys([question.message.account for question in letter]))


def _since(account: str, apart: bool) -> str:
    """The key that tells since when the store exists. With separate accounts, one per 256th of them, since a single server may be new."""
    return f"{PREFIX}:{{{account[:2]}}}:since" if apart else f"{PREFIX}:since"


def _keys(account: str, apart: bool) -> list[str]:
    return [*[f"{PREFIX}:{{{account[:2]}}}:{account}:{part}" for part in PARTS], _since(account, apart)]


def _arguments(letter: _Letter, apart: bool) -> list[Any]:
    """Arguments of a script call: number of keys, keys (those of an account share a cluster slot), operation, time
    (empty: the server's), and the operation's arguments.
    """
    accounts = _accounts(letter)
    keys = [key for account in accounts for key in _keys(account, apart)]
    messages = [question.message for question in letter]
    if len(messages) == 1:
        return [len(keys), *keys, messages[0].operation, "", *messages[0].arguments]
    return [len(keys), *keys, "several", "", *several(messages, accounts)]


def unreachable(name: str, error: Exception) -> ConfigurationError:
    """The error if the store does not answer at startup: without it, a Router cannot know what others use of its limits."""
    return ConfigurationError(
        f"limits cannot be shared: {name} does not answer ({type(error).__name__}: {str(error)[:200]}). "
        "Start it, correct the address, or remove it: then each process keeps its limits for itself"
    )


def _digest(source: str) -> str:
    import hashlib  # late: it loads OpenSSL

    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


# ---- by address


_stores: dict[Address, RedisStore] = {}
_opening = threading.Lock()


def redis_store(url: Any = None, *, host: Any = None, port: Any = None, password: Any = None, db: Any = None) -> RedisStore:
    """The process's store at an address, checked to be reachable.

    Raises ConfigurationError if the address is invalid, redis-py is not installed, or no store answers.
    """
    address = address_of(url, host=host, port=port, password=password, db=db)
    with _opening:
        if address not in _stores:
            name = f"the store at {address.place}"
            try:
                store = RedisStore(client_at(address), name=name)
            except ConfigurationError:
                raise
            except Exception as error:  # a cluster's client connects on creation, and may raise anything
                raise unreachable(name, error) from None
            store.reach()
            _stores[address] = store
        return _stores[address]
