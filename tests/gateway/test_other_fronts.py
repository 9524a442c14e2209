"""Ollama's and Cohere's chat APIs at the gateway, with a provider of OpenAI's dialect and one of the same dialect behind it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.client.upstream import Reply, Upstream, chunk, sse, standing
from tests.gateway.conftest import KEY, serving

from headrace import Router
from headrace.gateway.config import Settings
from headrace.layers import around
from headrace.layers.guardrails import Guardrails
from headrace.layers.pii import PII

LINES = [
    b'{"model":"own","created_at":"2026-11-29T08:00:00Z","message":{"role":"assistant","content":"hel"},"done":false}\n',
    b'{"model":"own","created_at":"2026-11-29T08:00:01Z","message":{"role":"assistant","content":"lo"},"done":false}\n',
    b'{"model":"own","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","eval_count":2,"of_tomorrow":1}\n',
]
MESSAGES = [{"role": "user", "content": "hi"}]
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture
def provider() -> Iterator[Upstream]:
    with standing() as made:
        yield made


def router_over(provider: Upstream) -> Router:
    def entry(name: str, model: str, base: str) -> dict[str, Any]:
        return {"model_name": name, "litellm_params": {"model": model, "api_key": "sk-upstream", "base_url": base}}

    host = provider.url.removesuffix("/v1")
    return Router(
        [
            entry("gpt", "openai/own", provider.url),
            entry("local", "ollama_chat/own", host),
            entry("command", "cohere/own", f"{host}/v2"),
            entry("known", "openai/gpt-4o", provider.url),
        ],
        num_retries=0,
    )


@pytest.fixture
def address(provider: Upstream) -> Iterator[str]:
    with serving(router_over(provider), Settings(key=KEY)) as base:
        yield base


def ask(address: str, path: str, body: Any = None) -> tuple[int, str, bytes]:
    """Status, content type and all that came."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, content, {"authorization": f"Bearer {KEY}", "content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers["content-type"], answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["content-type"], error.read()


def test_a_response_of_a_stored_prompt_needs_no_input(address: str, provider: Upstream) -> None:
    provider.answer(Reply({"id": "resp_1", "object": "response", "model": "own", "status": "completed", "output": []}))
    assert ask(address, "/v1/responses", {"model": "gpt", "prompt": {"id": "pmpt_1"}})[0] == 200
    assert provider.seen[-1].body == {"model": "own", "prompt": {"id": "pmpt_1"}}
    assert ask(address, "/v1/responses", {"model": "gpt"})[0] == 400


def test_the_curl_calls_of_ollamas_documentation_were_refused(address: str, provider: Upstream) -> None:
    """`curl -d` says application/x-www-form-urlencoded unless it is told otherwise."""
    body = json.dumps({"model": "gpt", "messages": MESSAGES, "stream": False}).encode()
    form = {"authorization": f"Bearer {KEY}", "content-type": "application/x-www-form-urlencoded"}
    with urllib.request.urlopen(urllib.request.Request(f"{address}/api/chat", body, form)) as answer:
        assert json.load(answer)["message"]["content"] == "hello"


@pytest.mark.parametrize("model", ["gpt", "gpt:latest"])
def test_ollamas_chat_is_answered_by_a_provider_of_other_words(address: str, provider: Upstream, model: str) -> None:
    asked = {"model": model, "messages": MESSAGES, "stream": False, "tools": TOOLS, "keep_alive": "5m", "options": {"temperature": 0.5}}
    status, kind, body = ask(address, "/api/chat", asked)
    told = json.loads(body)
    assert (status, kind, told["message"], told["done"]) == (200, "application/json", {"role": "assistant", "content": "hello"}, True)
    assert (told["prompt_eval_count"], told["eval_count"]) == (3, 1)
    sent = provider.seen[-1].body
    assert (provider.seen[-1].path, sent["model"], sent["temperature"]) == ("/v1/chat/completions", "own", 0.5)
    assert sent["tools"][0]["function"]["name"] == "look"


def test_ollamas_chat_streams_unless_told_not_to(address: str, provider: Upstream) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    provider.answer(Reply(pieces=sse(chunk("hel"), chunk("lo"), chunk(finish="stop"), chunk(usage=usage))))
    status, kind, body = ask(address, "/api/chat", {"model": "gpt", "messages": MESSAGES})
    lines = [json.loads(line) for line in body.splitlines()]
    assert (status, kind) == (200, "application/x-ndjson")
    assert "".join(line["message"]["content"] for line in lines) == "hello"
    assert [line["done"] for line in lines] == [False, False, True]
    assert (lines[-1]["done_reason"], lines[-1]["eval_count"]) == ("stop", 2)


def test_a_sign_of_life_leaves_every_line_readable(provider: Upstream) -> None:
    provider.answer(Reply(pieces=sse(chunk("hello"), chunk(finish="stop")), pause=0.5))
    with serving(router_over(provider), Settings(key=KEY, keep_alive=0.1)) as address:
        _, _, body = ask(address, "/api/chat", {"model": "gpt", "messages": MESSAGES})
    assert body.startswith(b" ")
    assert "".join(json.loads(line)["message"]["content"] for line in body.splitlines()) == "hello"


def test_ollamas_own_answers_pass_as_they_come(address: str, provider: Upstream) -> None:
    provider.answer(Reply(pieces=list(LINES), headers={"content-type": "application/x-ndjson"}))
    asked = {"model": "local", "messages": MESSAGES, "keep_alive": "5m", "of_tomorrow": [1]}
    assert ask(address, "/api/chat", asked) == (200, "application/x-ndjson", b"".join(LINES))
    assert provider.seen[-1].path == "/api/chat"
    assert provider.seen[-1].body == {**asked, "model": "own", "stream": True}


def test_what_cannot_be_is_refused_in_ollamas_words(address: str, provider: Upstream) -> None:
    status, _, body = ask(address, "/api/chat", {"model": "none", "messages": MESSAGES})
    assert (status, list(json.loads(body))) == (404, ["error"])
    assert "no model 'none'" in json.loads(body)["error"]
    provider.answer(Reply({"error": {"message": "too long", "type": "invalid_request_error"}}, status=400))
    status, _, body = ask(address, "/api/chat", {"model": "gpt", "messages": MESSAGES})
    assert (status, "too long" in json.loads(body)["error"]) == (400, True)


def test_ollamas_programs_find_the_models_they_may_call(address: str, provider: Upstream) -> None:
    assert json.loads(ask(address, "/api/version")[2])["version"]
    assert [one["model"] for one in json.loads(ask(address, "/api/tags")[2])["models"]] == ["gpt", "local", "command", "known"]
    shown = json.loads(ask(address, "/api/show", {"model": "gpt:latest"})[2])
    assert (shown["model"], "completion" in shown["capabilities"]) == ("gpt", True)
    assert ask(address, "/api/show", {"model": "none"})[0] == 404
    assert ask(address, "/api/show", {})[0] == 400
    vectors = [{"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}]
    provider.answer(Reply({"object": "list", "data": vectors, "model": "own", "usage": {"prompt_tokens": 3, "total_tokens": 3}}))
    told = json.loads(ask(address, "/api/embed", {"model": "gpt", "input": "hi", "truncate": True})[2])
    assert told == {"model": "gpt", "embeddings": [[0.5, 1.0]], "prompt_eval_count": 3}


def test_vs_codes_copilot_asked_for_a_newer_ollama(address: str) -> None:
    """It wants 0.6.4 at least, and takes a model's window and abilities from what is shown of it."""
    version = json.loads(ask(address, "/api/version")[2])["version"]
    assert tuple(int(part) for part in version.split(".")) >= (0, 6, 4)
    shown = json.loads(ask(address, "/api/show", {"model": "known"})[2])
    facts, family = shown["model_info"], shown["model_info"]["general.architecture"]
    assert (facts[f"{family}.context_length"], set(shown["capabilities"])) == (128_000, {"completion", "tools", "vision"})
    assert json.loads(ask(address, "/api/show", {"model": "gpt"})[2])["capabilities"] == ["completion", "tools"], "nobody knows better"


def test_ollamas_programs_look_for_what_is_loaded_and_fetch_what_is_not(address: str) -> None:
    assert [one["model"] for one in json.loads(ask(address, "/api/ps")[2])["models"]] == ["gpt", "local", "command", "known"]
    assert json.loads(ask(address, "/api/pull", {"model": "gpt:latest"})[2]) == {"status": "success"}
    assert ask(address, "/api/pull", {"model": "none"})[0] == 404


def test_ollamas_older_programs_ask_for_one_vector_at_a_time(address: str, provider: Upstream) -> None:
    vectors = [{"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}]
    provider.answer(Reply({"object": "list", "data": vectors, "model": "own"}))
    assert json.loads(ask(address, "/api/embeddings", {"model": "gpt", "prompt": "hi"})[2]) == {"embedding": [0.5, 1.0]}
    assert provider.seen[-1].body == {"model": "own", "input": "hi"}
    status, _, body = ask(address, "/api/embeddings", {"model": "gpt", "prompt": ["hi"]})
    assert (status, "prompt must be a string" in body.decode()) == (400, True)


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/api/chat", {"format": SCHEMA}),
        ("/v2/chat", {"response_format": {"type": "json_object", "json_schema": SCHEMA}}),
        ("/v2/chat", {"response_format": {"type": "json_object", "schema": SCHEMA}}),  # LangChain's
    ],
)
def test_a_schema_without_a_name_was_refused_by_openai(address: str, provider: Upstream, path: str, form: Any) -> None:
    """Ollama's and Cohere's have none, and Chat Completions wants one."""
    provider.answer(Reply({"error": {"message": "enough seen"}}, status=400))
    ask(address, path, {"model": "gpt", "messages": MESSAGES, "stream": False, **form})
    assert provider.seen[-1].body["response_format"] == {"type": "json_schema", "json_schema": {"name": "output", "schema": SCHEMA}}


def test_langchain_found_no_billed_tokens_in_coheres_answers(address: str, provider: Upstream) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    provider.answer(Reply(pieces=sse(chunk("hello"), chunk(finish="stop"), {**chunk(), "choices": [], "usage": usage})))
    _, _, body = ask(address, "/v2/chat", {"model": "gpt", "messages": MESSAGES, "stream": True})
    last = json.loads(body.decode().strip().splitlines()[-1].removeprefix("data: "))
    assert last["delta"]["usage"]["billed_units"] == {"input_tokens": 3, "output_tokens": 2}


def test_what_a_tool_found_was_refused_as_coheres_document(address: str, provider: Upstream) -> None:
    called = {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]}
    found = [{"type": "document", "document": {"data": data}} for data in ({"output": "rain"}, "all day")]
    turns = [*MESSAGES, called, {"role": "tool", "tool_call_id": "c1", "content": found}]
    assert ask(address, "/v2/chat", {"model": "gpt", "messages": turns})[0] == 200
    said = provider.seen[-1].body["messages"][-1]["content"]
    assert ('{"output":"rain"}' in said, "all day" in said) == (True, True)


def test_coheres_older_vectors_are_a_list(address: str, provider: Upstream) -> None:
    vectors = [{"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}]
    provider.answer(Reply({"object": "list", "data": vectors, "model": "own"}))
    asked = {"model": "gpt", "texts": ["hi"], "input_type": "search_query"}
    told = json.loads(ask(address, "/v1/embed", asked)[2])
    assert (told["embeddings"], told["response_type"]) == ([[0.5, 1.0]], "embeddings_floats")
    told = json.loads(ask(address, "/v1/embed", {**asked, "embedding_types": ["float"]})[2])
    assert told["embeddings"] == {"float": [[0.5, 1.0]]}
    status, _, body = ask(address, "/v1/embed", {"model": "none", "texts": ["hi"]})
    assert (status, "message" in json.loads(body)) == (404, True)


def test_llamaindex_chose_no_tool_where_there_are_none(address: str, provider: Upstream) -> None:
    """Chat Completions refuses a choice among none; Responses and Gemini do not."""
    asked = {"model": "gpt", "contents": [{"parts": [{"text": "hi"}]}], "toolConfig": {"functionCallingConfig": {"mode": "NONE"}}}
    assert ask(address, "/v1beta/models/gpt:generateContent", asked)[0] == 200
    assert "tool_choice" not in provider.seen[-1].body
    ask(address, "/v2/chat", {"model": "gpt", "messages": MESSAGES, "tools": TOOLS, "tool_choice": "NONE"})
    assert provider.seen[-1].body["tool_choice"] == "none"


def test_options_of_ollamas_vectors_were_refused(address: str, provider: Upstream) -> None:
    """LangChain sends how a model is to be run with every text."""
    provider.answer(Reply({"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "model": "own"}))
    assert ask(address, "/api/embed", {"model": "gpt", "input": "hi", "options": {"num_ctx": 99}})[0] == 200
    assert provider.seen[-1].body == {"model": "own", "input": "hi"}


PROMPT = {"prompt": "hi", "system": "be brief", "options": {"temperature": 0.5}, "keep_alive": "5m", "context": []}


@pytest.mark.parametrize(("model", "path"), [("gpt", "/v1/chat/completions"), ("local:latest", "/api/chat")])
def test_ollamas_completion_is_a_chat_of_one_question(address: str, provider: Upstream, model: str, path: str) -> None:
    if model != "gpt":
        thought = {"role": "assistant", "content": "hello", "thinking": "hm"}
        provider.answer(Reply({"model": "own", "created_at": "2026-11-29T08:00:00Z", "message": thought, "done": True, "eval_count": 1}))
    status, kind, body = ask(address, "/api/generate", {"model": model, "stream": False, **PROMPT})
    told = json.loads(body)
    assert (status, kind, told["response"], told["done"], told["eval_count"]) == (200, "application/json", "hello", True, 1)
    assert "message" not in told
    assert told.get("thinking") == (None if model == "gpt" else "hm")
    sent = provider.seen[-1]
    assert (sent.path, sent.body["model"]) == (path, "own")
    assert [turn["role"] for turn in sent.body["messages"]] == ["system", "user"]


def test_ollamas_completion_streams_in_its_own_words(provider: Upstream) -> None:
    provider.answer(Reply(pieces=list(LINES), headers={"content-type": "application/x-ndjson"}, pause=0.3))
    with serving(router_over(provider), Settings(key=KEY, keep_alive=0.1)) as address:
        status, kind, body = ask(address, "/api/generate", {"model": "local", "prompt": "hi"})
    lines = [json.loads(line) for line in body.splitlines()]
    assert (status, kind, body[:1]) == (200, "application/x-ndjson", b" ")
    assert [line["response"] for line in lines] == ["hel", "lo", ""]
    assert (lines[-1]["done"], lines[-1]["eval_count"], lines[-1]["of_tomorrow"]) == (True, 2, 1)
    assert not any("message" in line for line in lines)


def test_a_completion_stream_that_is_cut_or_refused_ends_in_ollamas_error(address: str, provider: Upstream) -> None:
    provider.answer(Reply(pieces=LINES[:2], headers={"content-type": "application/x-ndjson"}))
    lines = [json.loads(line) for line in ask(address, "/api/generate", {"model": "local", "prompt": "hi"})[2].splitlines()]
    assert "the stream ended early" in lines[-1]["error"]
    for more, named in (
        ({"suffix": "x"}, "suffix"), ({"raw": True}, "raw"), ({"template": "{{ .Prompt }}"}, "template"), ({"context": [1]}, "context"),
        ({"prompt": 5}, "prompt"), ({"system": ["x"]}, "system"),
    ):  # fmt: skip
        status, _, body = ask(address, "/api/generate", {"model": "local", "prompt": "hi", **more})
        assert (status, named in json.loads(body)["error"]) == (400, True)


def test_a_model_that_is_loaded_is_there_and_costs_nothing(address: str, provider: Upstream) -> None:
    told = json.loads(ask(address, "/api/generate", {"model": "gpt:latest", "keep_alive": "5m"})[2])
    assert told == {"model": "gpt", "response": "", "done": True, "done_reason": "load"}
    assert ask(address, "/api/generate", {"model": "none"})[0] == 404
    assert ask(address, "/api/generate", {})[0] == 400
    assert provider.seen == []


VECTORS = [{"object": "embedding", "index": at, "embedding": [0.5, float(at)]} for at in range(2)]


def test_coheres_vectors_are_made_by_a_provider_of_other_words(address: str, provider: Upstream) -> None:
    answer = {"object": "list", "data": VECTORS, "model": "own", "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    provider.answer(Reply(answer))
    asked = {"model": "gpt", "texts": ["a", "b"], "input_type": "search_query", "embedding_types": ["float"], "output_dimension": 2}
    told = json.loads(ask(address, "/v2/embed", {**asked, "truncate": "END"})[2])
    assert told["embeddings"] == {"float": [[0.5, 0.0], [0.5, 1.0]]}
    assert (told["texts"], told["response_type"], told["meta"]["billed_units"]) == (["a", "b"], "embeddings_by_type", {"input_tokens": 3})
    sent = provider.seen[-1]
    assert (sent.path, sent.body) == ("/v1/embeddings", {"model": "own", "input": ["a", "b"], "dimensions": 2})


def test_coheres_own_vectors_keep_their_types_and_what_they_are_for(address: str, provider: Upstream) -> None:
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 2}}
    provider.answer(Reply({"id": "e", "embeddings": {"float": [[0.5]], "int8": [[64]]}, "texts": ["a"], "meta": meta}))
    asked = {"model": "command", "texts": ["a"], "input_type": "search_query", "embedding_types": ["float", "int8"], "truncate": "END"}
    told = json.loads(ask(address, "/v2/embed", asked)[2])
    assert (told["id"], told["embeddings"], told["meta"]) == ("e", {"float": [[0.5]], "int8": [[64]]}, meta)
    sent = provider.seen[-1]
    assert (sent.path, sent.body) == ("/v2/embed", {**asked, "model": "own"})


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "texts, images and inputs"),
        ({"texts": ["a"], "images": ["data:image/png;base64,AA"]}, "exactly one"),
        ({"texts": "a"}, "exactly one"),
        ({"texts": ["a"], "embedding_types": ["int8"]}, "int8"),
        ({"texts": ["a"], "embedding_types": "float"}, "embedding_types"),
        ({"images": ["data:image/png;base64,AA"]}, "images"),
    ],
)
def test_vectors_that_cannot_be_are_refused_by_the_field(address: str, provider: Upstream, body: Any, named: str) -> None:
    status, _, told = ask(address, "/v2/embed", {"model": "gpt", **body})
    assert (status, named in json.loads(told)["message"]) == (400, True)
    assert provider.seen == []


def test_coheres_chat_is_answered_by_a_provider_of_other_words(address: str, provider: Upstream) -> None:
    status, _, body = ask(address, "/v2/chat", {"model": "gpt", "messages": MESSAGES, "max_tokens": 20})
    told = json.loads(body)
    assert (status, told["message"]["content"], told["finish_reason"]) == (200, [{"type": "text", "text": "hello"}], "COMPLETE")
    assert provider.seen[-1].path == "/v1/chat/completions"
    provider.answer(Reply(pieces=sse(chunk("hel"), chunk("lo"), chunk(finish="stop"))))
    _, kind, body = ask(address, "/v2/chat", {"model": "gpt", "messages": MESSAGES, "stream": True})
    events = [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: {")]
    assert kind == "text/event-stream"
    assert [event["type"] for event in events][:: len(events) - 1] == ["message-start", "message-end"]
    said = [event["delta"]["message"]["content"]["text"] for event in events if event["type"] == "content-delta"]
    assert "".join(said) == "hello"


def test_coheres_own_answers_pass_as_they_come(address: str, provider: Upstream) -> None:
    answer = b'{"id":"c","message":{"role":"assistant","content":[{"type":"text","text":"hi"}]} , "finish_reason":"COMPLETE"}'
    provider.answer(Reply(answer))
    assert ask(address, "/v2/chat", {"model": "command", "messages": MESSAGES})[2] == answer
    assert provider.seen[-1].path == "/v2/chat"


EVENTS = [
    {"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant", "content": [], "of_tomorrow": 1}}},
    {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "hello"}}}},
    {"type": "content-end", "index": 0},
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 3, "output_tokens": 1}}}},
]


def in_events(events: list[dict[str, Any]]) -> list[bytes]:
    return [f"event: {event['type']}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n".encode() for event in events]


def test_coheres_own_streams_pass_with_what_nobody_here_knows(address: str, provider: Upstream) -> None:
    provider.answer(Reply(pieces=list(in_events(EVENTS))))
    asked = {"model": "command", "messages": MESSAGES, "stream": True}
    assert ask(address, "/v2/chat", asked) == (200, "text/event-stream", b"".join(in_events(EVENTS)))


@pytest.mark.parametrize(
    ("path", "model", "pieces", "kind"),
    [
        ("/api/chat", "local", LINES[:2], "application/x-ndjson"),
        ("/v2/chat", "command", in_events(EVENTS[:3]), "text/event-stream"),
    ],
)
def test_a_stream_of_theirs_that_is_cut_ends_in_an_error(
    address: str, provider: Upstream, path: str, model: str, pieces: list[bytes], kind: str
) -> None:
    provider.answer(Reply(pieces=list(pieces), headers={"content-type": kind}))
    _, _, body = ask(address, path, {"model": model, "messages": MESSAGES, "stream": True})
    assert body.startswith(pieces[0])
    last = json.loads(body.decode().strip().splitlines()[-1].removeprefix("data: "))
    assert "the stream ended early" in last.get("delta", last)["error"]
    assert last.get("delta", {}).get("finish_reason", "ERROR") == "ERROR"
    assert not last.get("done")


MAIL = "Write to anna@example.org today, please, and not to somebody else."
TEXTS = [MAIL[at : at + 7] for at in range(0, len(MAIL), 7)]


@pytest.mark.parametrize("path", ["/api/chat", "/v2/chat"])
@pytest.mark.parametrize("calls", [False, True])
def test_guardrails_look_at_these_streams_too(
    address: str, provider: Upstream, monkeypatch: pytest.MonkeyPatch, path: str, calls: bool
) -> None:
    monkeypatch.setattr(around, "_layers", ())
    Guardrails([PII()]).install()
    said = [chunk(text) for text in TEXTS]
    if calls:
        named = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}
        deltas = [named, *[{"index": 0, "function": {"arguments": text}} for text in ['{"at": "', *TEXTS, '"}']]]
        said = [{**chunk(), "choices": [{"index": 0, "delta": {"tool_calls": [delta]}, "finish_reason": None}]} for delta in deltas]
    provider.answer(Reply(pieces=sse(*said, chunk(finish="tool_calls" if calls else "stop"))))
    status, _, body = ask(address, path, {"model": "gpt", "messages": MESSAGES, "stream": True})
    events = [json.loads(line.removeprefix("data: ")) for line in body.decode().splitlines() if "{" in line]
    assert status == 200
    whole = "".join(map(str, _texts_in(events)))
    assert "anna" not in whole
    assert "<EMAIL_ADDRESS>" in whole
    assert "somebody else" in whole


def _texts_in(value: Any) -> Iterator[Any]:
    """Every text and whatever else holds nothing."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if inner is None:
        yield value
        return
    for one in inner:
        yield from _texts_in(one)


def test_tokens_of_a_call_of_responses_are_counted_before_it_is_made(address: str, provider: Upstream) -> None:
    few, many = (
        json.loads(ask(address, "/v1/responses/input_tokens", {"model": "gpt", "input": text, "instructions": "be brief"})[2])
        for text in ("hi", "hi " * 500)
    )
    assert few["object"] == "response.input_tokens"
    assert many["input_tokens"] > 400 > few["input_tokens"] > 0
    assert provider.seen == []


def test_a_conversation_is_compacted_where_its_provider_does(address: str, provider: Upstream) -> None:
    made = {"id": "resp_1", "object": "response.compaction", "created_at": 1, "output": [{"type": "compaction", "encrypted_content": "x"}]}
    provider.answer(Reply(made))
    status, _, body = ask(address, "/v1/responses/compact", {"model": "gpt", "input": MESSAGES})
    assert (status, json.loads(body)["output"]) == (200, made["output"])
    assert (provider.seen[-1].path, provider.seen[-1].body) == ("/v1/responses/compact", {"model": "own", "input": MESSAGES})
    assert json.loads(body)["id"] != "resp_1"
