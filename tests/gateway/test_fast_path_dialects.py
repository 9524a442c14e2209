"""Messages, Responses and embeddings give the same results on the fast path and the slow path."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.gateway.fast_path_scene import Client, Scripted, answering, booked, left_out, patience, router_over, world
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headrace import Router
from headrace.gateway.sockets import Connection

pytestmark = pytest.mark.usefixtures("nobody_else_listens")

ANTHROPIC_USAGE = {"input_tokens": 20, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2, "output_tokens": 28}
RESPONSES_USAGE = {
    "input_tokens": 23, "output_tokens": 28, "total_tokens": 51, "input_tokens_details": {"cached_tokens": 3},
    "output_tokens_details": {"reasoning_tokens": 4},
}  # fmt: skip


def message(text: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    said = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content, "stop_reason": "end_turn"}
    return {**said, "stop_sequence": None, "usage": ANTHROPIC_USAGE, **more}


def response(text: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    output = [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}]
    said = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": output}
    return {**said, "usage": RESPONSES_USAGE, "error": None, **more}


class Speaks(Scripted):
    """The same provider where it is asked in other words."""

    def elsewhere(self, wanted: str, turn: int) -> None:
        where = self.path.rpartition("/")[2]
        match wanted:
            case "broken":
                self.answer(500, {"type": "error", "error": {"message": "broken", "type": "api_error"}})
            case "broken once" if turn % 2:
                self.answer(500, {"type": "error", "error": {"message": "broken", "type": "api_error"}})
            case "bad":
                self.answer(400, {"type": "error", "error": {"message": "what is this", "type": "invalid_request_error"}})
            case "no json":
                self.send_whole(200, b"<html>", {"content-type": "text/html"})
            case "hidden error":
                self.answer(200, {"type": "error", "error": {"message": "behind me", "type": "overloaded_error"}})
            case "no usage":
                self.answer(200, {name: value for name, value in self.said(where, wanted).items() if name != "usage"})
            case "unheard of":
                said = self.said(where, wanted)
                self.answer(200, {**said, "stop_reason": "new_reason", "new": [1], **({"content": []} if "content" in said else {})})
            case "hangs up":
                self.close_connection = True
            case str() if wanted.startswith("stream"):
                self.streams()
                for number, (kind, event) in enumerate(self.events(where)):
                    if wanted == "stream cut at once" or (wanted == "stream cut" and number == 2):
                        self.close_connection = True
                        return
                    if wanted == "stream an error" and number == 2:
                        kind, event = "error", {"type": "error", "error": {"type": "overloaded_error", "message": "no more"}}
                    if wanted == "stream slowly":
                        time.sleep(0.25)
                    self.chunk(f"event: {kind}\ndata: {json.dumps(event)}\n\n".encode())
                self.chunk(b"")
            case _:
                self.answer(200, self.said(where, wanted))

    def said(self, where: str, wanted: str) -> dict[str, Any]:
        if where == "messages":
            return message(wanted)
        if where == "responses":
            return response(wanted)
        vectors = [{"object": "embedding", "index": 0, "embedding": [0.1, -2.5e-3, 1]}]
        return {"object": "list", "model": "m", "data": vectors, "usage": {"prompt_tokens": 5, "total_tokens": 5}}

    def events(self, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
        if where == "messages":
            told: list[dict[str, Any]] = [
                {
                    "type": "message_start",
                    "message": message("", content=[], stop_reason=None, usage={"input_tokens": 20, "output_tokens": 1}),
                },
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
                {"type": "content_block_stop", "index": 0},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 28}},
                {"type": "message_stop"},
            ]
        else:
            created = response("", status="in_progress", output=[], usage=None)
            told = [
                {"type": "response.created", "response": created},
                {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": "Hello"},
                {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": " you"},
                {"type": "response.completed", "response": response("Hello you")},
            ]
        for number, event in enumerate(told):
            yield event["type"], {**event, **({"sequence_number": number} if where == "responses" else {})}


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with answering(Speaks) as address:
        yield address


def over(provider: str) -> Router:
    """The chats' models, and one of Anthropic's."""
    router = router_over(provider)
    params = {"model": "anthropic/claude-there", "api_key": "sk-ant-one", "base_url": provider, "rpm": 100_000, "tpm": 10**9}
    info = {"id": "claude", "input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5}
    router.upsert_deployment({"model_name": "claude", "litellm_params": params, "model_info": info})
    return router


def asked(where: str, prompt: Any, **more: Any) -> tuple[str, bytes]:
    if where == "messages":
        body = {"model": "claude", "max_tokens": 50, "messages": [{"role": "user", "content": prompt}], **more}
    else:
        body = {"model": "gpt", "input": prompt, **more}
    return f"/v1/{where}", json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


EVERYWHERE = ("hello", "broken", "broken once", "bad", "bad key", "no json", "hidden error", "no usage", "unheard of", "hangs up")
STREAMS = ("stream", "stream cut", "stream cut at once", "stream an error", "stream slowly")

CASES: dict[str, tuple[tuple[str, bytes], bool]] = {
    **{f"{where}: {said}": (asked(where, said), True) for where in ("messages", "responses", "embeddings") for said in EVERYWHERE},
    **{f"{where}: a {said}": (asked(where, said, stream=True), True) for where in ("messages", "responses") for said in STREAMS},
    **{f"{where}: bad stream": (asked(where, "bad", stream=True), True) for where in ("messages", "responses")},
    "messages: beyond ASCII": (asked("messages", "grüße 水"), True),
    "messages: parts": (asked("messages", "hello", system=[{"type": "text", "text": "be brief"}], tools=[], temperature=0.5), True),
    "messages: for a customer": (asked("messages", "hello", metadata={"user_id": "c-7"}), True),
    "messages: with notes": (asked("messages", "hello", metadata={"user_id": "c-7", "session_id": "s"}), False),
    "messages: large": (asked("messages", "The water runs. " * 8_000), True),
    "messages: a file": (asked("messages", [{"type": "document", "source": {"type": "file", "file_id": "file-1"}}]), False),
    "messages: betas in the body": (asked("messages", "hello", betas=["x-1"]), False),
    "messages: to a provider of other words": (asked("messages", "hello", model="gpt"), False),
    "messages: no messages": (("/v1/messages", b'{"model":"claude","max_tokens":5}'), False),
    "responses: parts": (asked("responses", [{"role": "user", "content": "hello"}], instructions="be brief", store=False), True),
    "responses: notes of its own": (asked("responses", "hello", metadata={"topic": "water"}, user="c-7"), True),
    "responses: goes on": (asked("responses", "hello", previous_response_id="resp_x"), False),
    "responses: of a conversation": (asked("responses", "hello", conversation="conv_1"), False),
    "responses: to a provider of other words": (asked("responses", "hello", model="claude"), False),
    "embeddings: several": (asked("embeddings", ["one", "two"], dimensions=3, encoding_format="float", user="c-7"), True),
    "embeddings: tokens": (asked("embeddings", [1, 2, 3]), False),
    "embeddings: nothing": (asked("embeddings", []), False),
    "embeddings: too many for one request": (asked("embeddings", ["x"] * 2049), False),
    "embeddings: streamed": (asked("embeddings", "hello", stream=True), False),
    "embeddings: one of two": (asked("embeddings", "hello", model="two"), True),
}


@pytest.mark.parametrize("case", CASES)
def test_both_ways_come_to_the_same(provider: str, case: str) -> None:
    """Answer, headers, what the provider was sent, and the ledger's row."""
    (path, content), fast = CASES[case]
    told = []
    for http in (Connection, HttpToolsProtocol):
        with world(provider, http, over, patience(content)) as here:
            warm(here.client, path, "claude" if path.endswith("messages") else "gpt")
            here.kept.records.clear()
            here.taken.clear()
            for noted in (Scripted.seen, Scripted.turns, Scripted.betas):
                noted.clear()  # type: ignore[attr-defined]
            status, headers, body = here.client.post(content, path, **{"anthropic-beta": "one-1, two-2"})
            sent = [(path, sent) for path, _, sent in Scripted.seen], list(Scripted.betas)
            records = [booked(record) for record in here.kept.records]
            body = re.sub(rb"\d+ bytes|req_\w+|\"created_at\":1\d{9}", b"..", body)  # what is translated is dated by the second
            for sign in (b": waiting\n\n", b'event: ping\ndata: {"type": "ping"}\n\n'):
                body = body.replace(sign, b"")
            told.append((status, left_out(headers), body, sent, records))
            assert here.taken == ([fast] if http is Connection else [])
    assert told[0] == told[1]


def warm(client: Client, path: str, model: str) -> None:
    """Opens the connections that are kept, and makes the request's head known."""
    where = path.rpartition("/")[2]
    for name in (model, *(("two", "two") if model == "gpt" else ())):
        for _ in range(2):
            assert client.post(asked(where, "warm", model=name)[1], path, **{"anthropic-beta": "one-1, two-2"})[0] == 200


def test_claude_code_s_requests_take_the_fast_path(provider: str) -> None:
    """It asks at `/v1/messages?beta=true`, says which session it is of, and whom it asks for."""
    _, content = asked("messages", "hello", metadata={"user_id": "user_1_session_2"}, stream=True)
    headers = {"anthropic-beta": "claude-code-20250219", "x-claude-code-session-id": "s-1", "anthropic-version": "2023-06-01"}
    with world(provider, Connection, over) as here:
        for _ in range(3):
            status, _, _ = here.client.post(content.replace(b"hello", b"stream"), "/v1/messages?beta=true", **headers)
            assert status == 200
        assert here.taken[-1] is True
        assert here.kept.records[-1].customer == "user_1_session_2"
    assert Scripted.betas[-1] == "claude-code-20250219"


def test_ids_of_responses_are_sealed_on_the_fast_path_as_well(provider: str) -> None:
    """The provider's own id would open what somebody else asked for."""
    path, content = asked("responses", "hello")
    with world(provider, Connection, over) as here:
        for _ in range(3):
            _, _, body = here.client.post(content, path)
        made = json.loads(body)["id"]
        assert here.taken[-1] is True
        assert made not in ("", "resp_1")
        assert here.client.post(asked("responses", "more", previous_response_id=made)[1], path)[0] == 200
        assert Scripted.seen[-1][2]["previous_response_id"] == "resp_1"
        assert here.client.post(asked("responses", "more", previous_response_id="resp_1")[1], path)[0] == 404
