"""Loggers of services, against a server that takes what they send."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.compat.test_calls import MESSAGES, call, settings, told

import headrace
from conftest import Colour
from headrace.compat.litellm import accept, callbacks, integrations
from headrace.compat.litellm.langfuse import LangfuseOtelLogger
from headrace.compat.litellm.opik import OpikLogger

__all__ = ["settings"]

PUBLIC, SECRET = "pk-lf-public", "sk-lf-secret-nobody-may-see"


class Service:
    """Notes what is posted, and answers with `status`."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.status = 200
        self.url = ""


@pytest.fixture
def service() -> Iterator[Service]:
    noted = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            noted.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(noted.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    noted.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield noted
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def langfuse(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    for name, value in (("PUBLIC_KEY", PUBLIC), ("SECRET_KEY", SECRET), ("HOST", service.url)):
        monkeypatch.setenv(f"LANGFUSE_{name}", value)
    integrations.named.cache_clear()
    return service


def span_of(body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The one span of an OTLP body, and its attributes as plain values."""
    (resource,) = body["resourceSpans"]
    (scope,) = resource["scopeSpans"]
    (span,) = scope["spans"]
    return span, {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


@pytest.mark.parametrize("name", ["langfuse", "langfuse_otel"])
@pytest.mark.parametrize("stream", [False, True])
def test_langfuse_is_sent_an_observation_of_every_call(langfuse: Service, colour: Colour, name: str, stream: bool) -> None:
    accept("success_callback", [name])
    accept("failure_callback", [name])
    metadata = {"trace_user_id": "anna", "session_id": "s1", "tags": ["a", "b"], "trace_id": "0" * 31 + "a", "own": {"n": 1}}
    metadata |= {"generation_name": "greeting"}
    call(colour, mock_response="Hi there", metadata=metadata, temperature=0.5, stream=stream, stream_options={"include_usage": True})
    ((path, headers, body),) = langfuse.seen
    assert path == "/api/public/otel/v1/traces"
    assert headers["authorization"] == "Basic " + base64.b64encode(f"{PUBLIC}:{SECRET}".encode()).decode()
    span, said = span_of(body)
    assert (span["traceId"], span["name"], len(span["spanId"])) == ("0" * 31 + "a", "greeting", 16)
    assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
    assert json.loads(said["langfuse.observation.input"]) == MESSAGES
    assert json.loads(said["langfuse.observation.output"])["content"] == "Hi there"
    assert said["langfuse.observation.type"] == "generation"
    assert said["langfuse.observation.model.name"] == "gpt-4o"
    assert json.loads(said["langfuse.observation.model.parameters"])["temperature"] == 0.5
    usage = json.loads(said["langfuse.observation.usage_details"])
    assert usage["total"] == usage["input"] + usage["output"] > 0
    assert json.loads(said["langfuse.observation.cost_details"])["total"] > 0
    assert (said["user.id"], said["session.id"]) == ("anna", "s1")
    assert [one["stringValue"] for one in said["langfuse.trace.tags"]["values"]] == ["a", "b"]
    assert json.loads(said["langfuse.trace.metadata.own"]) == {"n": 1}


def test_a_failure_is_an_observation_too(langfuse: Service, colour: Colour) -> None:
    accept("failure_callback", ["langfuse"])
    with pytest.raises(headrace.BadRequestError):
        call(colour, mock_response=headrace.BadRequestError("no such thing", "m", "openai"))
    told()
    span, said = span_of(langfuse.seen[0][2])
    assert span["status"] == {"code": 2, "message": "no such thing"}
    assert said["langfuse.observation.level"] == "ERROR"


def test_keys_may_come_with_the_call_and_go_nowhere_else(service: Service, colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    """Symptom: `langfuse_secret_key` of a call was sent to the model's provider."""
    monkeypatch.delenv("LANGFUSE_HOST", raising=False)
    accept("callbacks", [])
    heard: list[dict[str, Any]] = []
    keys = {"langfuse_public_key": PUBLIC, "langfuse_secret_key": SECRET, "langfuse_host": service.url}
    call(colour, mock_response="Hi", success_callback=[LangfuseOtelLogger()], logger_fn=lambda said: heard.append(dict(said)), **keys)
    assert service.seen[0][1]["authorization"].startswith("Basic ")
    assert SECRET not in json.dumps(service.seen[0][2])
    assert not keys.keys() & heard[0]["optional_params"].keys()


def test_without_keys_the_log_says_so(colour: Colour, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("PUBLIC_KEY", "SECRET_KEY"):
        monkeypatch.delenv(f"LANGFUSE_{name}", raising=False)
    monkeypatch.setattr(logging.getLogger("LiteLLM"), "propagate", True)
    accept("callbacks", [LangfuseOtelLogger()])
    assert call(colour, mock_response="Hi").choices
    told()
    assert "LANGFUSE_PUBLIC_KEY" in caplog.text


def test_a_service_that_refuses_is_told_of_without_its_key(
    langfuse: Service, colour: Colour, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("LiteLLM"), "propagate", True)
    langfuse.status = 401
    accept("success_callback", ["langfuse"])
    assert call(colour, mock_response="Hi").choices
    told()
    assert "/api/public/otel/v1/traces failed: HTTP Error 401" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_opik_is_sent_a_trace_and_its_span(service: Service, colour: Colour, stream: bool) -> None:
    logger = OpikLogger(url=f"{service.url}/opik/api", api_key="key", workspace="ours", project_name="p")
    accept("callbacks", [logger])
    call(colour, mock_response="Hi there", metadata={"opik": {"tags": ["t"], "thread_id": "th"}, "own": 1}, stream=stream)
    (first, headers, traces), (second, _, spans) = service.seen
    assert (first, second) == ("/opik/api/v1/private/traces/batch", "/opik/api/v1/private/spans/batch")
    assert (headers["authorization"], headers["comet-workspace"]) == ("key", "ours")
    (trace,), (span,) = traces["traces"], spans["spans"]
    assert span["trace_id"] == trace["id"]
    assert "parent_span_id" not in span
    assert (trace["thread_id"], trace["project_name"], span["type"], span["model"], span["provider"]) == (
        "th",
        "p",
        "llm",
        "gpt-4o",
        "openai",
    )
    assert trace["input"] == {"messages": MESSAGES}
    assert trace["output"]["choices"][0]["message"]["content"] == "Hi there"
    assert span["usage"]["total_tokens"] > 0
    assert span["total_estimated_cost"] > 0
    assert trace["tags"] == ["t", "openai"]
    assert (trace["metadata"]["own"], trace["metadata"]["created_from"]) == (1, "litellm")
    assert trace["id"][14] == span["id"][14] == "7"
    assert trace["start_time"].endswith("Z")


def test_a_call_within_a_trace_of_opiks_is_a_span_of_it(service: Service, colour: Colour) -> None:
    accept("callbacks", [OpikLogger(url=service.url)])
    call(colour, mock_response="Hi", metadata={"opik": {"current_span_data": {"trace_id": "t1", "id": "s1"}}})
    ((path, _, spans),) = service.seen
    assert path == "/v1/private/spans/batch"
    assert (spans["spans"][0]["trace_id"], spans["spans"][0]["parent_span_id"]) == ("t1", "s1")


def test_opiks_settings_stand_in_the_environment_and_in_its_file(service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    file = tmp_path / "opik.config"
    file.write_text(f"[opik]\nurl_override = {service.url}\nproject_name = of the file\nworkspace = w\n")
    monkeypatch.setattr("headrace.compat.litellm.opik.FILE", file)
    monkeypatch.setenv("OPIK_PROJECT_NAME", "of the environment")
    accept("callbacks", [OpikLogger()])
    call(Colour("sync"), mock_response="Hi")
    assert service.seen[0][1]["comet-workspace"] == "w"
    assert service.seen[0][2]["traces"][0]["project_name"] == "of the environment"


def test_what_is_awaited_has_begun_when_its_call_is_the_loops_last(service: Service) -> None:
    """Symptom: a program whose only line is `asyncio.run(acompletion(…))` logged nothing."""
    accept("callbacks", [OpikLogger(url=service.url)])
    asyncio.run(headrace.acompletion("openai/gpt-4o", MESSAGES, mock_response="Hi"))
    callbacks.executor.submit(int).result()
    assert len(service.seen) == 2
