"""The store in Valkey or Redis: one thread and one connection for all threads and event loops of a process.

Whoever asks leaves his question with the thread and waits by his own clock; questions that come together travel together.
"""

from __future__ import annotations

import atexit
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from importlib.resources import files
from queue import Empty, SimpleQueue
from typing import Any, Final

from msgspec import Struct

from headrace.errors import ConfigurationError
from headrace.limits.store import Answer, Claim, Message, StoreLost, read_answer
from headrace.ports import Clock, Waiter

PREFIX: Final = "headrace:1"
"""Of every key: the number is that of their form."""
TIMEOUT: Final = 0.1
"""Seconds to connect, and to answer."""
PATIENCE: Final = 0.5
"""Seconds a question may take altogether, on a machine too busy to let the thread run."""
BEAT: Final = 1.0
"""Seconds between signs of life."""
MOST_AT_ONCE: Final = 100
"""Messages that travel together."""


class _Question(Struct, eq=False):
    message: Message
    then: Callable[[list[str] | None], None] | None


class RedisStore:
    """`limits.store.Store` over a redis-py client: `redis.Redis`, a Sentinel's `master_for(…)`, `RedisCluster`; or valkey-py's.

    The client's own timeouts decide how soon the store is taken for lost; give it short ones.
    """

    def __init__(self, client: Any, *, name: str = "the store") -> None:
        """name: what error texts call it; no password in it."""
        self.name = name
        self.calls = 0
        """Calls of the script so far."""
        self.trips = 0
        """Round trips so far."""
        self.reached = False
        """Whether it ever answered."""
        self.error: str = ""
        """Why it did not answer last."""
        self._client = client
        self._cluster = hasattr(client, "get_nodes") or hasattr(client, "nodes_manager")
        self._source = files("headrace.limits").joinpath("admit.lua").read_text("utf-8")
        self._sha = ""
        self._questions: SimpleQueue[_Question | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._name = secrets.token_hex(6)
        self._starting = threading.Lock()
        self._beats: list[weakref.WeakMethod[Callable[[float], None]]] = []

    # ---- the port

    async def admit(self, claim: Claim, clock: Clock) -> Answer:
        waiter: Waiter = clock.waiter()
        replies: list[list[str] | None] = []

        def answered(reply: list[str] | None) -> None:
            replies.append(reply)
            waiter.wake()

        self.post(claim.message(), answered)
        end = clock.now() + PATIENCE
        while not replies and clock.now() < end:
            await waiter.wait(max(0.0, end - clock.now()))
        if not replies or replies[0] is None:
            raise StoreLost(f"{self.name} does not answer: {self.error or 'no time'}")
        return read_answer(replies[0])

    def post(self, message: Message, then: Callable[[list[str] | None], None] | None = None) -> None:
        if self._thread is None or self._pid != os.getpid():
            self._start()
        self._questions.put(_Question(message, then))

    @property
    def process(self) -> str:
        return f"{self._name}{os.getpid():x}"  # a forked child is another process

    def attach(self, beat: Callable[[float], None]) -> None:
        self._beats.append(weakref.WeakMethod(beat))

    def close(self) -> None:
        """Send what is left and end the thread."""
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
                self._questions = SimpleQueue()  # a parent's thread may have held the old one when it forked
            self._pid = os.getpid()
            self._thread = threading.Thread(target=self._run, name="headrace-store", daemon=True)
            self._thread.start()
            atexit.register(self.close)

    def _run(self) -> None:
        beat_at = time.monotonic() + BEAT
        open = True
        while open:
            batch, open = self._next(beat_at)
            if batch:
                self._answer(batch)
            if time.monotonic() >= beat_at:
                self._beat()
                beat_at = time.monotonic() + BEAT
        atexit.unregister(self.close)
        self._client.close()

    def _next(self, until: float) -> tuple[list[_Question], bool]:
        """What has come until then, the first of it waited for; False when that was the last."""
        batch: list[_Question] = []
        try:
            question = self._questions.get(timeout=max(0.0, until - time.monotonic()))
            while question is not None:
                batch.append(question)
                if len(batch) == MOST_AT_ONCE:
                    return batch, True
                question = self._questions.get_nowait()
        except Empty:
            return batch, True
        return batch, False

    def _beat(self) -> None:
        now = time.monotonic()
        for reference in list(self._beats):
            beat = reference()
            if beat is None:
                self._beats.remove(reference)
            else:
                beat(now)

    def _answer(self, batch: list[_Question]) -> None:
        replies = self._ask([question.message for question in batch])
        for question, reply in zip(batch, replies, strict=True):
            if question.then is not None:
                question.then(reply)

    def _ask(self, messages: list[Message]) -> list[list[str] | None]:
        """Their replies, None for each that got none. An error of the store is one of its replies, and counts as none."""
        try:
            self.trips += 1
            replies = self._send(messages)
            self.reached = True
        except Exception as error:  # whatever a client raises: the store is lost to us
            self.error = f"{type(error).__name__}: {error}"[:300]
            return [None] * len(messages)
        return [self._read(reply) for reply in replies]

    def _read(self, reply: Any) -> list[str] | None:
        if isinstance(reply, Exception):
            self.error = f"{type(reply).__name__}: {reply}"[:300]
            return None
        return [part.decode() if isinstance(part, bytes) else str(part) for part in reply]

    def _send(self, messages: list[Message]) -> list[Any]:
        if not self._sha:
            self._sha = _digest(self._source)
        replies = self._evaluate(messages)
        missing = [at for at, reply in enumerate(replies) if type(reply).__name__ == "NoScriptError"]
        if missing:
            for at, message in enumerate(messages):
                if at in missing:  # one by one: the first brings the script along, and the order stays
                    replies[at] = self._client.eval(self._source, 3, *_keys(message.account), *_arguments(message))
        self.calls += len(messages)
        return replies

    def _evaluate(self, messages: list[Message]) -> list[Any]:
        calls = [(self._sha, 3, *_keys(message.account), *_arguments(message)) for message in messages]
        if len(calls) == 1 or self._cluster:
            return [self._one(call) for call in calls]
        pipeline = self._client.pipeline(transaction=False)
        for call in calls:
            pipeline.evalsha(*call)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies

    def _one(self, call: tuple[Any, ...]) -> Any:
        try:
            return self._client.evalsha(*call)
        except Exception as error:
            if type(error).__name__ == "NoScriptError":
                return error
            raise

    def __repr__(self) -> str:
        return f"<RedisStore {self.name} {'reached' if self.reached else 'not reached yet'}>"


def _keys(account: str) -> tuple[str, str, str]:
    """The account's keys, all in one slot of a cluster."""
    stem = f"{PREFIX}:{{{account}}}"
    return f"{stem}:books", f"{stem}:flight", f"{stem}:members"


def _arguments(message: Message) -> list[Any]:
    return [message.operation, "", *message.arguments]


def _digest(source: str) -> str:
    import hashlib  # late: it loads OpenSSL

    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


# ---- by address


_stores: dict[tuple[Any, ...], RedisStore] = {}
_opening = threading.Lock()


def redis_store(
    url: str | None = None, *, host: str | None = None, port: Any = None, password: str | None = None, db: Any = None
) -> RedisStore:
    """The process's store at an address. Nothing is connected before the first call.

    Raises ConfigurationError when the address cannot be one, or when redis-py is not installed.
    """
    options = _options(url, host, port, password, db)
    key = tuple(sorted(options.items()))
    with _opening:
        if key not in _stores:
            _stores[key] = RedisStore(_client(options), name=_name(options))
        return _stores[key]


def _options(url: str | None, host: str | None, port: Any, password: str | None, db: Any) -> dict[str, Any]:
    """What decides which store it is."""
    if url is None:
        return {
            "host": host or "localhost",
            "port": _number("redis_port", port, 6379),
            "password": password,
            "db": _number("redis_db", db, 0),
        }
    if host is not None or port is not None:
        raise ConfigurationError("redis_url and redis_host/redis_port both say where the store is: give one of them")
    if not isinstance(url, str) or "://" not in url:
        raise ConfigurationError("redis_url must look like redis://:password@host:6379/0 (or rediss://, valkey://, unix://)")
    scheme, rest = url.split("://", 1)
    scheme = {"valkey": "redis", "valkeys": "rediss"}.get(scheme, scheme)
    if scheme not in ("redis", "rediss", "unix"):
        raise ConfigurationError(
            f"redis_url: {scheme!r} is not a scheme; known are redis, rediss, valkey, valkeys, unix. For a Sentinel or a cluster give "
            "store=RedisStore(client) with a client of its own"
        )
    options = {"url": f"{scheme}://{rest}", "password": password, "db": None if db is None else _number("redis_db", db, 0)}
    return {name: value for name, value in options.items() if value is not None}


def _number(name: str, value: Any, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)  # litellm takes these from the environment
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigurationError(f"{name} must be a whole number, got {type(value).__name__}")
    return value


def _client(options: Mapping[str, Any]) -> Any:
    try:
        import redis  # late: who shares no limits does not need it
        from redis.backoff import NoBackoff  # late as well
        from redis.retry import Retry  # late as well
    except ImportError:
        raise ConfigurationError("shared limits need redis-py: pip install 'headrace[redis]'") from None
    settings: dict[str, Any] = {
        "socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "retry": Retry(NoBackoff(), 0), "decode_responses": True,
    }  # fmt: skip
    given = {name: value for name, value in options.items() if name != "url"}
    try:
        if "url" in options:
            return redis.Redis.from_url(options["url"], **given, **settings)
        return redis.Redis(**given, **settings)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"redis_url cannot be used: {error}") from None


def _name(options: Mapping[str, Any]) -> str:
    """Where the store is, without its password."""
    if "url" not in options:
        return f"the store at {options['host']}:{options['port']}"
    scheme, rest = options["url"].split("://", 1)
    return f"the store at {scheme}://{rest.rsplit('@', 1)[-1].split('?', 1)[0]}"
