"""`headrace serve` in operation: reload, stop during calls, several workers, TLS, metrics and logs."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

HERE = {name: value for name, value in os.environ.items() if not name.startswith(("LLM_", "EMBEDDING_", "HEADRACE_", "PROMETHEUS_"))}
KEY = "sk-master"
Eventually = Callable[[Callable[[], bool]], bool]


def config(upstream: object, *names: str, **general: Any) -> str:
    params = {"model": "openai/gpt-sim", "api_key": "sk-upstream"}
    entries = [{"model_name": name, "litellm_params": {**params, "base_url": f"{upstream}/{name}/v1"}} for name in names]
    return json.dumps({"model_list": entries, "general_settings": {"master_key": KEY, "reload": 0.1, **general}})


class Served:
    """A gateway in a process of its own."""

    def __init__(self, program: subprocess.Popen[str]) -> None:
        assert program.stdout is not None
        self.program = program
        line = program.stdout.readline().strip()
        assert line, program.communicate()[1]
        self.address = line.rpartition(" ")[2]
        self.errors: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.program.stderr is not None
        self.errors.extend(self.program.stderr)

    def asked(self, path: str, body: Any = None, tls: ssl.SSLContext | None = None) -> urllib.request.Request | Any:
        content = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        return urllib.request.urlopen(urllib.request.Request(self.address + path, content, headers), context=tls, timeout=50)

    def models(self) -> list[str]:
        with self.asked("/v1/models") as answer:
            return [model["id"] for model in json.load(answer)["data"]]

    def logged(self) -> list[str]:
        self._reading.join(10)
        return self.errors


@contextmanager
def serve(folder: Path, *arguments: str) -> Iterator[Served]:
    command = [sys.executable, "-m", "headrace", "serve", "--port", "0", "--config", "config.json", *arguments]
    program = subprocess.Popen(command, cwd=folder, env=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    served = Served(program)
    try:
        yield served
    finally:
        program.terminate()
        program.wait(50)
        served.logged()
        for pipe in (program.stdout, program.stderr):
            assert pipe is not None
            pipe.close()


CHAT = {"model": "sim", "messages": [{"role": "user", "content": "hi"}]}


# ---- reloading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["changed", "told"])
def test_a_configuration_that_changes_is_in_force_without_a_call_being_dropped(
    tmp_path: Path, upstream: object, eventually: Eventually, how: str
) -> None:
    (tmp_path / "config.json").write_text(config(upstream, "sim", "slow", reload=0.1 if how == "changed" else 0))
    with (
        serve(tmp_path) as gateway,
        gateway.asked("/v1/chat/completions", {**CHAT, "model": "slow", "stream": True, "max_tokens": 10}) as stream,
    ):
        assert stream.readline().startswith(b"data:")
        (tmp_path / "config.json").write_text(config(upstream, "sim", "late", reload=0.1 if how == "changed" else 0))
        if how == "told":
            gateway.program.send_signal(signal.SIGHUP)
        assert eventually(lambda: gateway.models() == ["sim", "late"])
        assert stream.read().endswith(b"data: [DONE]\n\n")


def test_a_configuration_that_became_wrong_changes_nothing_and_is_logged(tmp_path: Path, upstream: object, eventually: Eventually) -> None:
    (tmp_path / "config.json").write_text(config(upstream, "sim"))
    with serve(tmp_path) as gateway:
        (tmp_path / "config.json").write_text('{"model_list": 3, "general_settings": {"max_body": "x"}}')
        assert eventually(lambda: any("max_body" in line for line in gateway.errors))
        assert gateway.models() == ["sim"]


def test_guardrails_of_a_configuration_refuse_and_change_with_it(tmp_path: Path, upstream: object, eventually: Eventually) -> None:
    without = config(upstream, "sim")
    rule = {"guardrail": "presidio", "mode": "pre_call", "default_on": True, "pii_entities_config": {"EMAIL_ADDRESS": "BLOCK"}}
    guarded = {**json.loads(without), "guardrails": [{"guardrail_name": "no mails", "litellm_params": rule}]}
    asked = {**CHAT, "messages": [{"role": "user", "content": "write to anna@example.org"}]}

    def refused() -> bool:
        try:
            with gateway.asked("/v1/chat/completions", asked):
                return False
        except urllib.error.HTTPError as error:
            with error:
                return b"the guardrail 'no mails' refuses the input: EMAIL_ADDRESS" in error.read()

    (tmp_path / "config.json").write_text(json.dumps(guarded))
    with serve(tmp_path) as gateway:
        assert refused()
        (tmp_path / "config.json").write_text(without)
        assert eventually(lambda: not refused())
        (tmp_path / "config.json").write_text(json.dumps(guarded))
        assert eventually(refused)


def test_terms_of_a_configuration_change_with_it(tmp_path: Path, upstream: object, eventually: Eventually) -> None:
    without = json.loads(config(upstream, "sim"))

    def made() -> Any:
        with gateway.asked("/key/generate", {}) as answer:
            return json.load(answer)["rpm_limit"]

    def budget() -> Any:
        with gateway.asked("/global/spend") as answer:
            return json.load(answer)["max_budget"]

    (tmp_path / "config.json").write_text(json.dumps(without))
    with serve(tmp_path) as gateway:
        assert (made(), budget()) == (None, None)
        terms = {"default_key_generate_params": {"rpm_limit": 7}, "max_budget": 3}
        (tmp_path / "config.json").write_text(json.dumps({**without, "litellm_settings": terms}))
        assert eventually(lambda: (made(), budget()) == (7, 3))


# ---- stopping ------------------------------------------------------------------------------------------------------------


def test_told_to_stop_it_ends_the_calls_under_way_first(tmp_path: Path, upstream: object, eventually: Eventually) -> None:
    (tmp_path / "config.json").write_text(config(upstream, "slow"))
    with serve(tmp_path) as gateway:
        host, port = gateway.address.removeprefix("http://").split(":")
        with gateway.asked("/v1/chat/completions", {**CHAT, "model": "slow", "stream": True, "max_tokens": 10}) as stream:
            assert stream.readline().startswith(b"data:")
            gateway.program.send_signal(signal.SIGTERM)

            def refused() -> bool:
                with socket.socket() as other:
                    return other.connect_ex((host, int(port))) != 0

            assert eventually(refused), "nobody new is let in"
            assert stream.read().endswith(b"data: [DONE]\n\n")
        assert gateway.program.wait(50) in (0, -signal.SIGTERM)


def test_who_still_waits_when_it_stops_is_told_to_ask_again(tmp_path: Path, upstream: object, eventually: Eventually) -> None:
    """It was answered with 500 and no JSON, and the log had a traceback."""
    narrow = json.loads(config(upstream, "sim", drain=1))
    narrow["model_list"][0]["litellm_params"]["rpm"] = 1
    (tmp_path / "config.json").write_text(json.dumps(narrow))
    told: list[tuple[int, str | None, Any]] = []

    def ask() -> None:
        try:
            gateway.asked("/v1/chat/completions", CHAT).close()
        except urllib.error.HTTPError as error:
            with error:
                told.append((error.code, error.headers["retry-after"], json.load(error)["error"]["message"]))

    with serve(tmp_path) as gateway:
        gateway.asked("/v1/chat/completions", CHAT).close()
        waiting = threading.Thread(target=ask)
        waiting.start()

        def in_line() -> bool:
            with gateway.asked("/health/backlog") as answer:
                return bool(json.load(answer)["queued_requests"])

        assert eventually(in_line)
        gateway.program.send_signal(signal.SIGTERM)
        waiting.join(50)
        gateway.program.wait(50)
        said = gateway.logged()
    assert told == [(503, "1", "the gateway is shutting down: try again")]
    assert not any("Traceback" in line for line in said)


def test_what_is_under_way_on_the_fast_path_when_it_stops_stands_in_the_ledger(tmp_path: Path, upstream: object) -> None:
    """Those calls were cut off, and written down nowhere."""
    (tmp_path / "config.json").write_text(config(upstream, "slow", drain=1))

    def body(**more: Any) -> str:
        return json.dumps({**CHAT, "model": "slow", **more})

    with serve(tmp_path) as gateway, closing(connection(gateway)) as one, closing(connection(gateway)) as two:
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        for kept in (one, two):  # the first request teaches its head
            kept.request("POST", "/v1/chat/completions", body(max_tokens=1), headers)
            kept.getresponse().read()
        one.request("POST", "/v1/chat/completions", body(max_tokens=100, stream=True), headers)
        stream = one.getresponse()
        while b'"content":"' not in (line := stream.readline()) or b'"content":""' in line:
            pass
        two.request("POST", "/v1/chat/completions", body(max_tokens=100), headers)
        time.sleep(0.2)
        gateway.program.send_signal(signal.SIGTERM)
        with pytest.raises(http.client.IncompleteRead):
            stream.read()
        whole = two.getresponse()
        assert (whole.status, whole.headers["retry-after"]) == (503, "1")
        assert json.load(whole)["error"]["message"] == "the gateway is shutting down: try again"
        gateway.program.wait(50)
    with closing(sqlite3.connect(tmp_path / ".headrace" / "headrace.db")) as database:
        rows = database.execute("SELECT stream, outcome, output FROM calls ORDER BY began").fetchall()
    assert [(bool(stream), outcome) for stream, outcome, _ in rows[2:]] == [(True, "left"), (False, "left")]
    assert rows[2][2] > 0


def connection(gateway: Served) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(gateway.address.removeprefix("http://"), timeout=50)


def test_told_to_stop_it_ended_responses_over_a_websocket_in_their_middle(tmp_path: Path, upstream: object) -> None:
    (tmp_path / "config.json").write_text(config(upstream, "slow"))
    key = {"authorization": f"Bearer {KEY}"}
    with serve(tmp_path) as gateway:
        at = gateway.address.replace("http", "ws", 1) + "/v1/responses"
        with connect(at, additional_headers=key) as talking, connect(at, additional_headers=key) as idle:
            talking.send(json.dumps({"type": "response.create", "model": "slow", "input": "hi", "max_output_tokens": 10}))
            assert json.loads(talking.recv(timeout=30))["type"] == "response.created"
            gateway.program.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as caught:
                idle.recv(timeout=30)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1012
            kinds = []
            with suppress(ConnectionClosed):
                while True:
                    kinds.append(json.loads(talking.recv(timeout=30))["type"])
        assert kinds[-1] in ("response.completed", "response.incomplete")
        assert gateway.program.wait(50) in (0, -signal.SIGTERM)


# ---- several workers -----------------------------------------------------------------------------------------------------


def test_several_workers_serve_one_address(tmp_path: Path, upstream: object, eventually: Eventually) -> None:
    (tmp_path / "config.json").write_text(config(upstream, "sim"))
    with serve(tmp_path, "--workers", "2") as gateway:
        for _ in range(8):
            with gateway.asked("/v1/chat/completions", CHAT) as answer:
                assert json.load(answer)["choices"]

        def counted() -> bool:
            with gateway.asked("/metrics") as answer:
                found = [line for line in answer.read().decode().splitlines() if line.startswith("headrace_calls_total{")]
            return sum(float(line.rpartition(" ")[2]) for line in found) == 8

        assert eventually(counted), "whoever is scraped tells of all"


def workers_of(gateway: Served) -> list[int]:
    """Their process numbers."""
    children = Path(f"/proc/{gateway.program.pid}/task/{gateway.program.pid}/children").read_text().split()
    return [int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers listen at one socket")
def test_many_connections_at_once_were_all_taken_by_the_worker_that_woke_first(
    tmp_path: Path, upstream: object, eventually: Eventually
) -> None:
    """The kernel shares them out, however busy one is; whoever is killed is replaced, and the others go on."""
    (tmp_path / "config.json").write_text(config(upstream, "sim"))
    with serve(tmp_path, "--workers", "2") as gateway, ExitStack() as stack:

        def both_listen() -> bool:
            tables = [Path(f"/proc/{gateway.program.pid}/net/{name}").read_text() for name in ("tcp", "tcp6")]
            port = int(gateway.address.rpartition(":")[2])
            return sum(f":{port:04X} 00000000:0000 0A" in line for table in tables for line in table.splitlines()) == 2

        assert eventually(both_listen)
        slow, free = workers_of(gateway)
        os.kill(slow, signal.SIGSTOP)
        stack.callback(os.kill, slow, signal.SIGCONT)
        open_before = len(os.listdir(f"/proc/{free}/fd"))
        host, port = gateway.address.removeprefix("http://").split(":")
        for _ in range(80):
            stack.enter_context(socket.create_connection((host, int(port))))
        assert eventually(lambda: len(os.listdir(f"/proc/{free}/fd")) >= open_before + 15)
        time.sleep(0.3)
        assert len(os.listdir(f"/proc/{free}/fd")) <= open_before + 65
        os.kill(slow, signal.SIGCONT)
        os.kill(free, signal.SIGKILL)
        assert eventually(lambda: free not in (now := workers_of(gateway)) and len(now) == 2 and both_listen())
        for _ in range(12):
            with gateway.asked("/v1/chat/completions", CHAT) as answer:
                assert json.load(answer)["choices"]


def test_workers_that_would_each_take_a_limit_for_themselves_are_refused(tmp_path: Path, upstream: object) -> None:
    given = json.loads(config(upstream, "sim"))
    given["model_list"][0]["litellm_params"]["rpm"] = 60
    (tmp_path / "config.json").write_text(json.dumps(given))
    command = [sys.executable, "-m", "headrace", "serve", "--port", "0", "--config", "config.json", "--workers", "2"]
    done = subprocess.run(command, cwd=tmp_path, env=HERE, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "redis_url" in done.stderr
    assert "Traceback" not in done.stderr


# ---- TLS -----------------------------------------------------------------------------------------------------------------


def test_it_is_served_over_tls_to_clients_with_a_certificate(tmp_path: Path, upstream: object) -> None:
    ca = trustme.CA()
    mine, theirs = ca.issue_cert("127.0.0.1"), ca.issue_cert("client@example.org")
    mine.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "config.json").write_text(config(upstream, "sim"))
    known, unknown = ssl.create_default_context(), ssl.create_default_context()
    for context in (known, unknown):
        ca.configure_trust(context)
    theirs.configure_cert(known)
    with serve(tmp_path, "--tls-cert", "server.pem", "--tls-client-ca", "ca.pem") as gateway:
        assert gateway.address.startswith("https://127.0.0.1:")
        with gateway.asked("/v1/chat/completions", CHAT, known) as answer:
            assert json.load(answer)["choices"]
        with pytest.raises((ssl.SSLError, urllib.error.URLError, ConnectionError)):
            gateway.asked("/v1/chat/completions", CHAT, unknown)


# ---- watching ------------------------------------------------------------------------------------------------------------


def test_metrics_are_for_who_may_see_what_concerns_everybody(tmp_path: Path, upstream: object) -> None:
    (tmp_path / "config.json").write_text(config(upstream, "sim"))
    with serve(tmp_path) as gateway:
        with gateway.asked("/v1/chat/completions", CHAT) as answer:
            answer.read()
        with gateway.asked("/metrics") as answer:
            assert answer.headers["content-type"].startswith("text/plain")
            assert "headrace_calls_total{" in answer.read().decode()
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{gateway.address}/metrics")
        assert caught.value.code == 401
        caught.value.close()


def test_every_answer_is_a_line_of_json_with_the_id_that_its_caller_was_told(tmp_path: Path, upstream: object) -> None:
    (tmp_path / "config.json").write_text(config(upstream, "sim"))
    with serve(tmp_path, "--log", "json", "--access-log") as gateway:
        with gateway.asked("/v1/chat/completions", CHAT) as answer:
            answer.read()
            id = answer.headers["x-request-id"]
        time.sleep(0)
    lines = [json.loads(line) for line in gateway.logged()]
    (line,) = [line for line in lines if line["logger"] == "headrace.access"]
    assert line["request_id"] == id
    assert (line["path"], line["status"], line["model"]) == ("/v1/chat/completions", 200, "sim")
    assert line["seconds"] >= 0
    assert KEY not in json.dumps(lines)


# ---- slow and large ------------------------------------------------------------------------------------------------------


def exchange(address: str, *pieces: bytes) -> bytes:
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 20) as connection:
        for piece in pieces:
            connection.sendall(piece)
        answer = b""
        while data := connection.recv(65536):
            answer += data
        return answer


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"


@pytest.mark.parametrize("begun", [b"", HEAD, HEAD + b"content-length: 9\r\n\r\n{"], ids=["nothing", "half a head", "half a body"])
def test_who_sends_too_slowly_is_let_go(tmp_path: Path, upstream: object, begun: bytes) -> None:
    (tmp_path / "config.json").write_text(config(upstream, "sim", slow_client=0.2))
    with serve(tmp_path) as gateway:
        assert exchange(gateway.address, begun).startswith(b"HTTP/1.1 4")


def test_a_head_that_does_not_end_is_refused(tmp_path: Path, upstream: object) -> None:
    (tmp_path / "config.json").write_text(config(upstream, "sim", max_headers=2000))
    with serve(tmp_path) as gateway:
        answer = exchange(gateway.address, b"GET /v1/models HTTP/1.1\r\n", b"x-long: " + b"a" * 4000)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_head_that_is_too_large_is_refused_also_where_it_comes_at_once(tmp_path: Path, upstream: object) -> None:
    """Only heads whose end was still to come had been measured."""
    (tmp_path / "config.json").write_text(config(upstream, "sim", max_headers=2000))
    get = b"GET /health/liveliness HTTP/1.1\r\nhost: x\r\n"
    with serve(tmp_path) as gateway:
        assert exchange(gateway.address, get + b"x-long: " + b"a" * 4000 + b"\r\n\r\n").startswith(b"HTTP/1.1 431 ")
        pieces = [get + b"\r\n", get + b"x-long: " + b"a" * 4000 + b"\r\n\r\n"]
        for sent in (pieces, [b"".join(pieces)]):
            assert b"HTTP/1.1 431 " in exchange(gateway.address, *sent)
        body = json.dumps(CHAT).encode() + b" " * 3000 + b"\r\n\r\n"
        head = HEAD + b"authorization: Bearer %b\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % (KEY.encode(), len(body))
        for cut in range(len(head) - 5, len(head) + 2):  # wherever its end is cut: a body may be as long as it likes
            assert exchange(gateway.address, head[:cut], head[cut:] + body).startswith(b"HTTP/1.1 200 ")


def test_a_head_that_comes_drop_by_drop_is_let_go(tmp_path: Path, upstream: object) -> None:
    """Each drop had begun its time anew, so that one could hold a connection for ever."""
    (tmp_path / "config.json").write_text(config(upstream, "sim", slow_client=0.4))
    with serve(tmp_path) as gateway, socket.create_connection(("127.0.0.1", int(gateway.address.rpartition(":")[2])), 20) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nx-drops: ")
        connection.settimeout(0.05)
        answer = b""
        for _ in range(200):
            try:
                connection.sendall(b"a")
                answer = connection.recv(65536)
                break
            except TimeoutError:
                continue
            except OSError:
                break
    assert answer.startswith(b"HTTP/1.1 408 ")
