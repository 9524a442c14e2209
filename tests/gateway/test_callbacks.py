"""Custom loggers and integrations, as named in LiteLLM's configuration."""

from __future__ import annotations

import json
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.conftest import CHAT
from tests.gateway.test_serve import HERE, config, start

from headrace import Router
from headrace.gateway.callbacks import CallbackService, read_callbacks
from headrace.layers import around

LOGGER = """
import json
from litellm.integrations.custom_logger import CustomLogger

class Mine(CustomLogger):
    def note(self, how, kwargs):
        told = kwargs["litellm_params"]["metadata"]
        with open("heard.txt", "a") as file:
            who = [told.get(f"user_api_key_{name}") for name in ("alias", "team_id")]
            print(json.dumps([how, kwargs["model"], *who, told.get("mill")]), file=file)

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        self.note(str(response_obj is not None), kwargs)

    async def async_log_failure_event(self, kwargs, response_obj, start_time, end_time):
        self.note("failed", kwargs)

mine = Mine()
"""


def ask(address: str, path: str, body: Any, key: str) -> Any:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(address + path, json.dumps(body).encode(), headers)) as answer:
        said = answer.read()
    return None if body.get("stream") else json.loads(said)


def test_a_logger_beside_the_configuration_hears_of_every_call_and_whose_it_was(tmp_path: Path, upstream: object, eventually: Any) -> None:
    (tmp_path / "custom_callbacks.py").write_text(LOGGER)
    given = config(upstream, master_key="sk-master") | {"litellm_settings": {"callbacks": "custom_callbacks.mine"}}
    (tmp_path / "config.json").write_text(json.dumps(given))
    heard = tmp_path / "heard.txt"
    with start(tmp_path, "--config", "config.json") as program:
        assert program.stdout is not None
        address = program.stdout.readline().strip().rpartition(" ")[2]
        team = ask(address, "/team/new", {"team_alias": "wheel"}, "sk-master")["team_id"]
        key = ask(address, "/key/generate", {"key_alias": "mill", "team_id": team}, "sk-master")["key"]
        spoofed = {"metadata": {"user_api_key_team_id": "another's", "mill": "m"}}
        for more in (spoofed, {}, {"stream": True}, {}):  # heads that are known would take the fast path
            ask(address, "/v1/chat/completions", {**CHAT, "model": "gpt", **more}, key)
        ask(address, "/v1/messages", {**CHAT, "model": "gpt", "max_tokens": 9}, key)
        assert eventually(lambda: heard.exists() and len(heard.read_text().splitlines()) == 5)
        program.send_signal(2)
        program.wait(10)
        assert "has no effect here" not in program.stderr.read()  # type: ignore[union-attr]
    told = [json.loads(line) for line in heard.read_text().splitlines()]
    assert told[0] == ["True", "gpt-sim", "mill", team, "m"]
    assert [one[:4] for one in told] == [["True", "gpt-sim", "mill", team]] * 5


def test_langfuse_is_told_by_its_name(tmp_path: Path, upstream: object, eventually: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[str, Any]] = []

    class Langfuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Langfuse)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    for name, value in {"HOST": f"http://127.0.0.1:{service.server_port}", "PUBLIC_KEY": "pk", "SECRET_KEY": "sk-lf"}.items():
        monkeypatch.setitem(HERE, f"LANGFUSE_{name}", value)
    given = config(upstream, master_key="sk-master") | {"litellm_settings": {"success_callback": ["langfuse", "prometheus", "datadog"]}}
    (tmp_path / "config.json").write_text(json.dumps(given))
    with start(tmp_path, "--config", "config.json") as program:
        assert program.stdout is not None
        address = program.stdout.readline().strip().rpartition(" ")[2]
        ask(address, "/v1/chat/completions", {**CHAT, "model": "gpt"}, "sk-master")
        assert eventually(lambda: bool(taken))
        program.send_signal(2)
        program.wait(10)
        assert program.stderr.read() == "litellm_settings.success_callback: datadog has no effect here\n"  # type: ignore[union-attr]
    service.shutdown()
    service.server_close()
    assert taken[0][0] == "/api/public/otel/v1/traces"
    assert "gpt-sim" in json.dumps(taken[0][1])


@pytest.mark.usefixtures("litellm_put_away")
def test_lists_are_read_and_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "loggers_of_mine.py").write_text("def told(kwargs, answer, start, end): ...\nbroken = None\n")
    wrong: list[str] = []
    given = {"callbacks": ["otel", "prometheus", "loggers_of_mine.told"], "failure_callback": "langsmith"}
    standing, layers = Router.standing, around.standing()
    found = read_callbacks(given, tmp_path, wrong.append)
    assert (wrong, found.unused) == ([], ("litellm_settings.failure_callback: langsmith",))
    (name, function) = found.lists["callbacks"]
    assert (name, function.__name__) == ("otel", "told")
    assert (Router.standing, around.standing()) == (standing, layers)  # none of litellm's other ways
    telling = CallbackService(read_callbacks({"success_callback": ["loggers_of_mine.told"]}, tmp_path, wrong.append))
    telling._runs = True
    telling.use(telling_of := read_callbacks({"success_callback": ["loggers_of_mine.told"]}, tmp_path, wrong.append))
    import litellm  # late: headrace stands in for it by now

    assert litellm.success_callback == list(telling_of.lists["success_callback"])
    assert len(around.standing()) == len(layers) + 1
    telling.use(read_callbacks({}, tmp_path, wrong.append))
    assert (litellm.success_callback, around.standing()) == ([], layers)


@pytest.mark.usefixtures("litellm_put_away")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"callbacks": ["hide_secrets"]}, "litellm_settings.callbacks: 'hide_secrets' is not supported: use the section `guardrails`"),
        ({"callbacks": [{"websearch_interception": {}}]}, "litellm_settings.callbacks: a callback must be the name of an integration or"),
        ({"success_callback": "no.such_logger"}, "litellm_settings.success_callback: there is no 'no.such_logger' (ModuleNotFoundError"),
        ({"callbacks": ["loggers_of_mine.nobody"]}, "litellm_settings.callbacks: there is no 'loggers_of_mine.nobody' (AttributeError"),
    ],
)
def test_what_is_no_logger_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any, said: str) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "loggers_of_mine", raising=False)
    (tmp_path / "loggers_of_mine.py").write_text("")
    wrong: list[str] = []
    assert read_callbacks(given, tmp_path, wrong.append).lists == {}
    assert wrong[0].startswith(said)
