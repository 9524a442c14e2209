"""Endpoints other than chat: the official OpenAI client, the gateway, and a provider that records what it receives."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.parser import BytesParser
from typing import Any

import openai
import pytest
from tests.client.upstream import Reply, Upstream, standing
from tests.gateway.conftest import KEY, serving

from headrace import Router
from headrace.gateway.config import Settings
from headrace.gateway.records import Outcome, Record

SOUND = bytes(range(256)) * 9000
"""More than stays in memory."""


@pytest.fixture
def provider() -> Iterator[Upstream]:
    with standing() as made:
        yield made


@pytest.fixture
def address(provider: Upstream) -> Iterator[str]:
    with serving(router_over(provider), Settings(key=KEY)) as base:
        yield base


def router_over(provider: Upstream) -> Router:
    def entry(name: str, model: str) -> dict[str, Any]:
        return {"model_name": name, "litellm_params": {"model": model, "api_key": "sk-upstream", "base_url": provider.url}}

    return Router([entry("many", "openai/own-name"), entry("omni", "openai/omni-moderation-latest")], num_retries=0)


@pytest.fixture
def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(api_key=KEY, base_url=f"{address}/v1", max_retries=0)


@pytest.fixture
def azure(address: str) -> openai.AzureOpenAI:
    return openai.AzureOpenAI(api_key=KEY, azure_endpoint=address, api_version="2024-10-21", max_retries=0)


def form(provider: Upstream) -> dict[str, Any]:
    """The parts of the last form that the provider got: texts, and files as (content, name, type)."""
    seen = provider.seen[-1]
    message = BytesParser().parsebytes(b"content-type: " + seen.headers["content-type"].encode() + b"\r\n\r\n" + seen.body)
    found: dict[str, Any] = {}
    for part in message.get_payload():
        name, content = str(part.get_param("name", header="content-disposition")), part.get_payload(decode=True)  # type: ignore[union-attr]
        found[name] = (content, part.get_filename(), part.get_content_type()) if part.get_filename() else content.decode()  # type: ignore[union-attr]
    return found


def raw(address: str, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
    """Status and JSON of whatever is answered."""
    request = urllib.request.Request(address + path, body, {"authorization": f"Bearer {KEY}", **headers})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


# ---- pictures ------------------------------------------------------------------------------------------------------------


def test_pictures_are_made(client: openai.OpenAI, azure: openai.AzureOpenAI, provider: Upstream) -> None:
    provider.answer(Reply({"created": 1, "data": [{"b64_json": "AAAA"}]}))
    for asked in (client, azure):
        assert asked.images.generate(model="many", prompt="a mill", n=1).data[0].b64_json == "AAAA"
        assert provider.seen[-1].path == "/v1/images/generations"
        assert provider.seen[-1].body == {"model": "own-name", "prompt": "a mill", "n": 1}


def test_pictures_are_changed(client: openai.OpenAI, azure: openai.AzureOpenAI, provider: Upstream) -> None:
    provider.answer(Reply({"created": 1, "data": [{"b64_json": "AAAA"}]}))
    for asked in (client, azure):
        asked.images.edit(model="many", image=("mill.png", SOUND, "image/png"), prompt="at night", mask=b"mask")
        assert provider.seen[-1].path == "/v1/images/edits"
        found = form(provider)
        assert found["image"] == (SOUND, "mill.png", "image/png")
        assert found["mask"][0] == b"mask"
        assert (found["model"], found["prompt"]) == ("own-name", "at night")


def test_several_pictures_are_changed_together(client: openai.OpenAI, provider: Upstream) -> None:
    provider.answer(Reply({"created": 1, "data": [{"b64_json": "AAAA"}]}))
    client.images.edit(model="many", image=[("a.png", b"a", "image/png"), ("b.png", b"b", "image/png")], prompt="join")
    assert provider.seen[-1].body.count(b'name="image[]"') == 2


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # in the SDK, and still called
def test_pictures_are_varied(client: openai.OpenAI, provider: Upstream) -> None:
    provider.answer(Reply({"created": 1, "data": [{"url": "http://x"}]}))
    assert client.images.create_variation(model="many", image=b"png").data[0].url == "http://x"
    assert provider.seen[-1].path == "/v1/images/variations"


# ---- sounds --------------------------------------------------------------------------------------------------------------


def test_a_text_is_spoken(client: openai.OpenAI, azure: openai.AzureOpenAI, provider: Upstream) -> None:
    provider.answer(Reply(SOUND, headers={"content-type": "audio/mpeg"}))
    for asked in (client, azure):
        answer = asked.audio.speech.create(model="many", input="hello", voice="alloy")
        assert answer.content == SOUND
        assert answer.response.headers["content-type"] == "audio/mpeg"
        assert provider.seen[-1].body == {"model": "own-name", "input": "hello", "voice": "alloy"}


def test_a_recording_is_written_down(client: openai.OpenAI, azure: openai.AzureOpenAI, provider: Upstream) -> None:
    provider.answer(Reply({"text": "hello"}))
    for asked in (client, azure):
        said = asked.audio.transcriptions.create(model="many", file=("hello.wav", SOUND, "audio/wav"), timestamp_granularities=["word"])
        assert said.text == "hello"
        assert provider.seen[-1].path == "/v1/audio/transcriptions"
        assert form(provider)["file"] == (SOUND, "hello.wav", "audio/wav")
        assert form(provider)["timestamp_granularities[]"] == "word"


def test_a_recording_is_written_down_as_subtitles_where_those_are_asked_for(client: openai.OpenAI, provider: Upstream) -> None:
    provider.answer(Reply(b"1\n00:00 --> 00:01\nhello\n", headers={"content-type": "text/plain"}))
    said = client.audio.transcriptions.create(model="many", file=SOUND, response_format="srt")
    assert said == "1\n00:00 --> 00:01\nhello\n"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # in the SDK, and still called
def test_a_recording_is_translated(client: openai.OpenAI, provider: Upstream) -> None:
    provider.answer(Reply({"text": "hello"}))
    assert client.audio.translations.create(model="many", file=SOUND).text == "hello"
    assert provider.seen[-1].path == "/v1/audio/translations"


STREAMED = {
    "images": (
        {"type": "image_generation.partial_image", "b64_json": "AA", "partial_image_index": 0},
        {"type": "image_generation.completed", "b64_json": "AAAA", "usage": {"input_tokens": 2, "output_tokens": 5, "total_tokens": 7}},
    ),
    "transcriptions": (
        {"type": "transcript.text.delta", "delta": "hel"},
        {"type": "transcript.text.done", "text": "hello", "usage": {"type": "tokens", "input_tokens": 2, "output_tokens": 5}},
    ),
}


class Written:
    """A ledger that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, record: Record, decision: Any = None) -> None:
        self.records.append(record)


@pytest.mark.parametrize("what", STREAMED)
def test_pictures_and_what_was_heard_are_streamed_and_counted(provider: Upstream, what: str) -> None:
    events = STREAMED[what]
    sent: list[Any] = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
    provider.answer(Reply(pieces=sent), Reply(pieces=sent[:1], cut=True))
    ledger = Written()
    with serving(router_over(provider), Settings(key=KEY), ledger=ledger) as address:
        client = openai.OpenAI(api_key=KEY, base_url=f"{address}/v1", max_retries=0)

        def ask() -> Any:
            if what == "images":
                return client.images.generate(model="many", prompt="a mill", stream=True, partial_images=1)
            return client.audio.transcriptions.create(model="many", file=SOUND, stream=True)

        with ask() as stream:
            assert [event.to_dict() for event in stream] == list(events)
        with pytest.raises(openai.APIError, match="in the middle of the body"), ask() as stream:
            list(stream)
    whole, cut = ledger.records
    assert (whole.operation, whole.stream, whole.outcome, whole.usage) == (what, True, Outcome.ANSWERED, {"input": 2, "output": 5})
    assert cut.outcome is Outcome.FAILED


# ---- moderation and ranking ----------------------------------------------------------------------------------------------


def test_texts_are_moderated_by_who_moderates_unless_told_otherwise(client: openai.OpenAI, provider: Upstream) -> None:
    provider.answer(Reply({"id": "m", "model": "omni", "results": [{"flagged": True, "categories": {}, "category_scores": {}}]}))
    assert client.moderations.create(input="something").results[0].flagged is True
    assert provider.seen[-1].body == {"model": "omni-moderation-latest", "input": "something"}
    client.moderations.create(input="something", model="many")
    assert provider.seen[-1].body["model"] == "own-name"


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_documents_are_ranked(address: str, provider: Upstream, path: str) -> None:
    provider.answer(Reply({"id": "r", "results": [{"index": 1, "relevance_score": 0.9}]}))
    body = json.dumps({"model": "many", "query": "capital?", "documents": ["Lyon", "Paris"], "top_n": 1}).encode()
    status, answer = raw(address, path, body, **{"content-type": "application/json"})
    assert (status, answer["results"][0]["index"]) == (200, 1)
    assert provider.seen[-1].body == {"model": "own-name", "query": "capital?", "documents": ["Lyon", "Paris"], "top_n": 1}


def test_ranking_without_documents_is_refused_by_the_name_of_the_field(address: str) -> None:
    status, answer = raw(address, "/v2/rerank", b'{"model": "many", "query": "x"}', **{"content-type": "application/json"})
    assert status == 400
    assert "documents" in answer["message"]


# ---- files and batches ---------------------------------------------------------------------------------------------------

FILE = {"id": "file-1", "object": "file", "bytes": 1, "created_at": 1, "filename": "x", "purpose": "batch", "status": "processed"}
BATCH = {
    "id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "file-1", "completion_window": "24h",
    "status": "completed", "created_at": 1, "output_file_id": "file-2",
}  # fmt: skip


def line(model: str) -> bytes:
    return json.dumps(
        {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": model, "messages": []}}
    ).encode()


def test_a_batch_goes_from_its_file_to_its_answers_by_ids_that_know_the_way(client: openai.OpenAI, provider: Upstream) -> None:
    provider.answer(Reply(FILE))
    file = client.files.create(file=("calls.jsonl", line("many") + b"\n" + line("many")), purpose="batch", extra_body={"model": "many"})
    sent = [json.loads(one) for one in form(provider)["file"][0].splitlines()]
    assert [one["body"]["model"] for one in sent] == ["own-name", "own-name"]
    assert file.id.startswith("file-")
    assert file.id != "file-1"

    provider.answer(Reply(BATCH))
    made = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"a": "b"})
    assert provider.seen[-1].body["input_file_id"] == "file-1"
    assert provider.seen[-1].body["metadata"] == {"a": "b"}
    assert made.input_file_id == file.id
    assert client.batches.retrieve(made.id).status == "completed"
    assert provider.seen[-1].path == "/v1/batches/batch_1"
    client.batches.cancel(made.id)
    assert (provider.seen[-1].method, provider.seen[-1].path) == ("POST", "/v1/batches/batch_1/cancel")

    provider.answer(Reply({"object": "list", "data": [BATCH], "first_id": "batch_1", "last_id": "batch_1", "has_more": False}))
    assert [one.id for one in client.batches.list(limit=3, after=made.id)] == [made.id]
    assert provider.seen[-1].path in ("/v1/batches?limit=3&after=batch_1", "/v1/batches?after=batch_1&limit=3")

    provider.answer(Reply(b'{"answer": 1}\n', headers={"content-type": "application/jsonl"}))
    assert client.files.content(str(made.output_file_id)).content == b'{"answer": 1}\n'
    assert provider.seen[-1].path == "/v1/files/file-2/content"


def test_a_batch_goes_where_files_of_calls_are_kept_in_the_providers_own_form(provider: Upstream) -> None:
    """Anthropic keeps none, so without a model named the file is Gemini's; ids that are addresses are given out in one piece."""

    def entry(name: str, model: str) -> dict[str, Any]:
        return {"model_name": name, "litellm_params": {"model": model, "api_key": f"sk-{name}", "base_url": provider.url}}

    with serving(Router([entry("claude", "anthropic/claude-x"), entry("gem", "gemini/gemini-x")]), Settings(key=KEY)) as base:
        client = openai.OpenAI(api_key=KEY, base_url=f"{base}/v1", max_retries=0)
        provider.answer(Reply({"file": {"name": "files/abc", "uri": "https://g.test/v1beta/files/abc", "displayName": "calls.jsonl"}}))
        chat = {"model": "gem", "messages": [{"role": "user", "content": "hi"}]}
        calls = json.dumps({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": chat}).encode()
        file = client.files.create(file=("calls.jsonl", calls), purpose="batch")
        assert provider.seen[-1].path == "/upload/v1/files"
        assert b'{"key":"1","request":{"contents"' in provider.seen[-1].body
        provider.answer(Reply({"name": "batches/b1", "metadata": {"state": "BATCH_STATE_PENDING", "createTime": "2026-08-19T14:34:12Z"}}))
        made = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        assert provider.seen[-1].path == "/v1/models/gemini-x:batchGenerateContent"
        assert provider.seen[-1].body["batch"]["inputConfig"] == {"fileName": "files/abc"}
        assert (made.status, made.input_file_id) == ("validating", file.id)
        assert client.batches.retrieve(made.id).id == made.id
        assert provider.seen[-1].path == "/v1/batches/b1"
        with pytest.raises(openai.APIStatusError, match="that serves 'claude'"):
            client.files.create(file=("calls.jsonl", calls), purpose="batch", extra_body={"model": "claude"})


def test_files_are_listed_looked_at_and_forgotten(client: openai.OpenAI, provider: Upstream) -> None:
    provider.answer(Reply({"object": "list", "data": [FILE], "has_more": False}))
    (file,) = client.files.list(purpose="batch")
    assert provider.seen[-1].path == "/v1/files?purpose=batch"
    provider.answer(Reply(FILE))
    assert client.files.retrieve(file.id).id == file.id
    provider.answer(Reply({"id": "file-1", "object": "file", "deleted": True}))
    assert client.files.delete(file.id).id == file.id
    assert (provider.seen[-1].method, provider.seen[-1].path) == ("DELETE", "/v1/files/file-1")


def test_a_line_that_asks_for_another_model_is_named(client: openai.OpenAI, provider: Upstream) -> None:
    with pytest.raises(openai.BadRequestError, match="line 2 names the model 'omni'"):
        client.files.create(file=("calls.jsonl", line("many") + b"\n" + line("omni")), purpose="batch", extra_body={"model": "many"})
    assert provider.seen == []


@pytest.mark.parametrize("id", ["file-1", "file-" + "A" * 30, "nothing"])
def test_an_id_that_was_not_given_out_here_is_not_found(client: openai.OpenAI, id: str) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist for this key"):
        client.files.retrieve(id)


# ---- bounds --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind", "body", "status"),
    [
        ("/v1/chat/completions", "multipart/form-data; boundary=x", b"--x--", 415),
        ("/v1/chat/completions", "text/plain", b"{}", 415),
        ("/v1/audio/transcriptions", "application/json", b"{}", 415),
        ("/v1/audio/transcriptions", "multipart/form-data", b"{}", 415),
        ("/v1/audio/transcriptions", "multipart/form-data; boundary=x", b"nothing of a form", 400),
        ("/v1/audio/transcriptions", "multipart/form-data; boundary=x", b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nb', 400),
        ("/v1/audio/transcriptions", "multipart/form-data; boundary=x", b"--x\r\ncontent-type: text/plain\r\n\r\nb\r\n--x--\r\n", 400),
        (
            "/v1/audio/transcriptions", "multipart/form-data; boundary=x",
            b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n\r\n' * 300 + b"--x--\r\n", 413,
        ),
        (
            "/v1/audio/transcriptions", "multipart/form-data; boundary=x",
            b'--x\r\ncontent-disposition: form-data; name="prompt"\r\n\r\n' + b"a" * (2 << 20) + b"\r\n--x--\r\n", 413,
        ),
        (
            "/v1/audio/transcriptions", "multipart/form-data; boundary=x",
            b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\nno file\r\n--x--\r\n', 400,
        ),
        (
            "/v1/audio/transcriptions", "multipart/form-data; boundary=x",
            b'--x\r\ncontent-disposition: form-data; name="base_url"\r\n\r\nhttp://elsewhere\r\n--x--\r\n', 400,
        ),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_with_its_status(
    address: str, provider: Upstream, path: str, kind: str, body: bytes, status: int
) -> None:
    found, answer = raw(address, path, body, **{"content-type": kind})
    assert found == status
    assert answer["error"]["message"]
    assert provider.seen == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", "soon"), ("timeout", 0), ("timeout", {"read": 1}), ("request_timeout", -1), ("stream_timeout", [1]), ("deadline", -1),
        ("deadline", True), ("max_wait", "1"),
        ("num_retries", "many"), ("max_retries", -1), ("total_timeout", {}), ("priority", -1), ("priority", "high"),
        ("allowed_model_region", 1),
    ],
)  # fmt: skip
def test_an_option_of_the_caller_s_that_is_none_is_the_caller_s_mistake(
    address: str, provider: Upstream, option: str, value: object
) -> None:
    """The Router took it for a fault of its configuration: a failure of the gateway's own, to be tried again."""
    body = {"model": "many", "messages": [{"role": "user", "content": "hi"}], option: value}
    status, told = raw(address, "/v1/chat/completions", json.dumps(body).encode(), **{"content-type": "application/json"})
    assert (status, told["error"]["type"], told["error"]["param"]) == (400, "invalid_request_error", option)
    assert provider.seen == []


@pytest.mark.parametrize(
    "option", [{"max_tokens": -1}, {"n": -2, "max_tokens": 5}, {"n": "x", "max_tokens": 5}, {"n": [1], "max_tokens": 5}]
)
def test_a_bound_that_is_none_is_for_the_provider_to_refuse(address: str, provider: Upstream, option: dict[str, object]) -> None:
    """The limiter failed at it."""
    provider.answer(Reply({"error": {"message": "max_tokens", "type": "invalid_request_error"}}, status=400))
    body = {"model": "many", "messages": [{"role": "user", "content": "hi"}], **option}
    assert raw(address, "/v1/chat/completions", json.dumps(body).encode(), **{"content-type": "application/json"})[0] == 400
    assert {name: provider.seen[-1].body[name] for name in option} == option


def test_a_form_larger_than_is_taken_is_refused_while_it_arrives(provider: Upstream) -> None:
    router = Router([{"model_name": "many", "litellm_params": {"model": "openai/m", "api_key": "k", "base_url": provider.url}}])
    with serving(router, Settings(key=KEY, max_upload=1 << 20)) as base:
        client = openai.OpenAI(api_key=KEY, base_url=base, max_retries=0)
        with pytest.raises(openai.APIStatusError) as caught:
            client.audio.transcriptions.create(model="many", file=SOUND)
    assert caught.value.status_code == 413


# ---- Cursor --------------------------------------------------------------------------------------------------------------


def test_a_body_in_the_words_of_responses_is_answered_as_the_chat_it_was_sent_as(
    client: openai.OpenAI, address: str, provider: Upstream
) -> None:
    asked = {
        "model": "many",
        "input": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "tools": [{"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": False}],
        "max_output_tokens": 20,
    }
    status, answer = raw(address, "/chat/completions", json.dumps(asked).encode(), **{"content-type": "application/json"})
    assert (status, answer["object"]) == (200, "chat.completion")
    sent = provider.seen[-1].body
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert sent["tools"][0]["function"]["name"] == "look"
    assert "input" not in sent
