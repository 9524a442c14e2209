"""What a provider stores belongs to its creator: ids given to one key are unknown to other keys."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.client.upstream import Reply, Upstream, standing
from tests.gateway.persistence import Gateway, kept

from headrace import Router
from headrace.gateway.callers import Caller, Role
from headrace.gateway.keys import table
from headrace.gateway.persistence import Where
from headrace.gateway.stored_object_table import StoredObjectTable
from headrace.gateway.stored_objects import ObjectRef, StoredObject
from headrace.runtime.sql import Database

MADE = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": []}
ANSWER = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
}  # fmt: skip
FILE = {"id": "file-1", "object": "file", "bytes": 1, "created_at": 1, "filename": "x", "purpose": "user_data", "status": "processed"}
BATCH = {
    "id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "file-1", "completion_window": "24h",
    "status": "completed", "created_at": 1, "output_file_id": "file-2",
}  # fmt: skip


@pytest.fixture
def provider() -> Iterator[Upstream]:
    with standing() as made:
        yield made


@pytest.fixture
def place(provider: Upstream, tmp_path: Path) -> Iterator[Gateway]:
    params = {"model": "openai/own", "api_key": "sk-upstream", "base_url": provider.url}
    google = {"model": "gemini/own", "api_key": "sk-upstream", "base_url": provider.url.replace("/v1", "/v1beta")}
    router = Router([{"model_name": "m", "litellm_params": params}, {"model_name": "g", "litellm_params": google}], num_retries=0)
    with kept(router, Where(f"sqlite:///{tmp_path / 'headrace.db'}", tmp_path)) as (base, state):
        yield Gateway(base, state)


def client(place: Gateway, key: str) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=f"{place.base}/v1", max_retries=0)


def team(place: Gateway) -> str:
    return str(place.ask("/team/new", {"team_alias": "mill"})["team_id"])


def is_hidden(ask: Any, *given: Any, **named: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist for this key"):
        ask(*given, **named)


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_is_for_who_made_it_and_for_administrators(place: Gateway, provider: Upstream, stream: bool) -> None:
    mine, other, master = client(place, place.key()), client(place, place.key()), client(place, "sk-of-the-gateway")
    ended = f"event: response.completed\ndata: {json.dumps({'type': 'response.completed', 'response': MADE})}\n\n"
    provider.answer(Reply(pieces=[ended.encode()]) if stream else Reply(MADE))
    made = mine.responses.create(model="m", input="hi", stream=stream)
    id = list(made)[-1].response.id if stream else made.id  # type: ignore[union-attr]
    provider.answer(Reply(MADE))
    seen = len(provider.seen)
    asking: list[Any] = [other.responses.retrieve, other.responses.cancel, other.responses.delete, other.responses.input_items.list]
    for ask in asking:
        is_hidden(ask, id)
    is_hidden(other.responses.create, model="m", input="go on", previous_response_id=id)
    is_hidden(mine.responses.create, model="m", input="go on", previous_response_id="resp_1")
    assert len(provider.seen) == seen  # nothing of it reached the provider
    assert mine.responses.retrieve(id).id == id
    assert mine.responses.create(model="m", input="go on", previous_response_id=id).status == "completed"
    assert provider.seen[-1].body["previous_response_id"] == "resp_1"
    assert master.responses.retrieve(id).status == "completed"


def test_a_file_and_its_batch_are_for_who_made_them(place: Gateway, provider: Upstream) -> None:
    mine, other, master = client(place, place.key()), client(place, place.key()), client(place, "sk-of-the-gateway")
    provider.answer(Reply(FILE))
    file = mine.files.create(file=("x.txt", b"x"), purpose="user_data")
    asking: list[Any] = [other.files.retrieve, other.files.content, other.files.delete]
    for ask in asking:
        is_hidden(ask, file.id)
    is_hidden(other.batches.create, input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    provider.answer(Reply(BATCH))
    batch = mine.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    is_hidden(other.batches.retrieve, batch.id)
    is_hidden(other.batches.cancel, batch.id)
    seen = len(provider.seen)
    is_hidden(other.files.content, batch.output_file_id)
    assert len(provider.seen) == seen
    assert mine.batches.retrieve(batch.id).output_file_id == batch.output_file_id
    assert master.batches.retrieve(batch.id).status == "completed"


def test_what_an_administrator_made_is_nobody_else_s(place: Gateway, provider: Upstream) -> None:
    provider.answer(Reply(FILE))
    file = client(place, "sk-of-the-gateway").files.create(file=("x.txt", b"x"), purpose="user_data")
    is_hidden(client(place, place.key()).files.retrieve, file.id)


def test_keys_of_one_team_share_what_they_made(place: Gateway, provider: Upstream) -> None:
    mill = team(place)
    provider.answer(Reply(FILE))
    file = client(place, place.key(team_id=mill)).files.create(file=("x.txt", b"x"), purpose="user_data")
    assert client(place, place.key(team_id=mill)).files.retrieve(file.id).id == file.id
    is_hidden(client(place, place.key()).files.retrieve, file.id)


def test_the_list_of_an_account_is_for_administrators(place: Gateway, provider: Upstream) -> None:
    provider.answer(Reply({"object": "list", "data": [FILE], "has_more": False}))
    assert client(place, place.key()).files.list().data == []
    assert client(place, place.key()).batches.list().data == []
    assert provider.seen == []
    assert len(client(place, "sk-of-the-gateway").files.list().data) == 1


def test_a_key_lists_its_own_files(place: Gateway, provider: Upstream) -> None:
    mine, other = client(place, place.key()), client(place, place.key())
    made = []
    for number in range(3):
        provider.answer(Reply({**FILE, "id": f"file-{number}", "created_at": number, "purpose": "vision" if number == 1 else "user_data"}))
        made.append(mine.files.create(file=("x.txt", b"x"), purpose="user_data"))
    seen = len(provider.seen)
    assert [one.id for one in mine.files.list()] == [one.id for one in reversed(made)]
    assert [one.id for one in mine.files.list(order="asc", after=made[0].id)] == [made[1].id, made[2].id]
    assert [one.id for one in mine.files.list(purpose="vision")] == [made[1].id]
    page = mine.files.list(limit=2)
    assert page.has_more
    assert [one.id for one in page] == [one.id for one in reversed(made)]  # the client asks for the rest
    assert other.files.list().data == []
    is_hidden(other.files.list, after=made[0].id)
    with pytest.raises(openai.BadRequestError, match="limit must be a whole number from 1 to 10000"):
        mine.files.list(limit=0)
    assert len(provider.seen) == seen  # all that was known here
    provider.answer(Reply({"id": "file-1", "object": "file", "deleted": True}))
    mine.files.delete(made[1].id)
    assert [one.id for one in mine.files.list()] == [made[2].id, made[0].id]


def test_a_key_lists_its_own_batches_as_they_stand(place: Gateway, provider: Upstream) -> None:
    mine = client(place, place.key())
    provider.answer(Reply(FILE))
    file = mine.files.create(file=("x.txt", b"x"), purpose="user_data")
    provider.answer(Reply({**BATCH, "status": "in_progress", "output_file_id": None}))
    batch = mine.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    provider.answer(Reply({"error": {"message": "later"}}, status=500), Reply(BATCH))
    assert [one.status for one in mine.batches.list()] == ["in_progress"]  # its provider does not say: as it was
    listed = mine.batches.list().data
    assert [(one.id, one.status) for one in listed] == [(batch.id, "completed")]
    assert listed[0].output_file_id == mine.batches.retrieve(batch.id).output_file_id
    seen = len(provider.seen)
    assert [one.status for one in mine.batches.list()] == ["completed"]
    assert len(provider.seen) == seen  # it stays so
    assert client(place, place.key()).batches.list().data == []


FILE_PARTS = [
    ("/v1/chat/completions", lambda id: {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": id}}]}]}),
    ("/v1/responses", lambda id: {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": id}]}]}),
    ("/v1/responses", lambda id: {"input": "hi", "tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": [id]}}]}),
]


@pytest.mark.parametrize(("path", "body"), FILE_PARTS)
def test_a_call_speaks_of_its_own_files_alone(place: Gateway, provider: Upstream, path: str, body: Any) -> None:
    key, other = place.key(), place.key()
    provider.answer(Reply(FILE))
    file = client(place, key).files.create(file=("x.txt", b"x"), purpose="user_data")
    provider.answer(Reply(MADE if "responses" in path else ANSWER))
    place.ask(path, {"model": "m", **body(file.id)}, key)
    assert "file-1" in json.dumps(provider.seen[-1].body)
    assert file.id not in json.dumps(provider.seen[-1].body)
    seen = len(provider.seen)
    for who, id in ((other, file.id), (other, "file-1"), (key, "file-2")):
        assert "does not exist for this key" in json.dumps(place.ask(path, {"model": "m", **body(id)}, who, status=404))
    assert len(provider.seen) == seen
    place.ask(path, {"model": "m", **body(file.id)})  # the master key's
    place.ask(path, {"model": "m", **body("file-of-somebody")})


def test_what_a_tool_calls_a_file_is_the_tool_s(place: Gateway, provider: Upstream) -> None:
    provider.answer(Reply(ANSWER))
    called = {"id": "c", "type": "function", "function": {"name": "open", "arguments": '{"file_id": "file-9"}'}}
    schema = {"type": "object", "properties": {"file_id": {"type": "string"}}}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ]
    tools = [{"type": "function", "function": {"name": "open", "parameters": schema}}]
    place.ask("/v1/chat/completions", {"model": "m", "messages": messages, "tools": tools}, place.key())
    assert provider.seen[-1].body["tools"] == tools


def test_a_conversation_is_for_who_made_it(place: Gateway, provider: Upstream) -> None:
    key, other = place.key(), place.key()
    provider.answer(Reply({"id": "conv_1", "object": "conversation", "created_at": 1, "metadata": {}}))
    assert place.ask("/openai/v1/conversations", {}, key)["id"] == "conv_1"
    provider.answer(Reply(MADE))
    for conversation in ("conv_1", {"id": "conv_1"}):
        place.ask("/v1/responses", {"model": "m", "input": "hi", "conversation": conversation}, key)
        assert provider.seen[-1].body["conversation"] == conversation
        seen = len(provider.seen)
        assert "does not exist for this key" in json.dumps(
            place.ask("/v1/responses", {"model": "m", "input": "hi", "conversation": conversation}, other, status=404)
        )
        assert len(provider.seen) == seen
    place.ask("/openai/v1/conversations/conv_1/items", None, key)
    place.ask("/openai/v1/conversations/conv_1/items", None, other, status=404)
    place.ask("/openai/v1/conversations/conv_1/items", None)
    assert len(provider.seen) == seen + 2


def test_what_google_keeps_is_for_who_made_it(place: Gateway, provider: Upstream) -> None:
    key, other = place.key(), place.key()
    provider.answer(Reply({"name": "cachedContents/abc", "model": "models/own"}))
    place.ask("/gemini/v1beta/cachedContents", {"model": "models/own", "contents": []}, key)
    provider.answer(Reply({"file": {"name": "files/f1", "uri": "https://google.test/v1beta/files/f1"}}))
    place.ask("/gemini/upload/v1beta/files", {"file": {}}, key)
    generate = {"contents": [{"role": "user", "parts": [{"fileData": {"fileUri": "https://google.test/v1beta/files/f1"}}]}]}
    provider.answer(Reply({"candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}]}))
    for path in ("/v1beta/models/g:generateContent", "/gemini/v1beta/models/g:generateContent"):
        for body in (generate, {"contents": [], "cachedContent": "cachedContents/abc"}):
            seen = len(provider.seen)
            assert "does not exist for this key" in json.dumps(place.ask(path, body, other, status=404))
            assert len(provider.seen) == seen
            place.ask(path, {**body, "contents": body["contents"] or [{"role": "user", "parts": [{"text": "hi"}]}]}, key)
    other_uri = {"contents": [{"role": "user", "parts": [{"fileData": {"fileUri": "https://example.org/film"}}]}]}
    place.ask("/gemini/v1beta/models/g:generateContent", other_uri, other)
    provider.answer(Reply({"cachedContents": [{"name": "cachedContents/abc"}, {"name": "cachedContents/theirs"}], "nextPageToken": "t"}))
    assert place.ask("/gemini/v1beta/cachedContents", None, key) == {
        "cachedContents": [{"name": "cachedContents/abc"}],
        "nextPageToken": "t",
    }
    assert place.ask("/gemini/v1beta/cachedContents", None, other) == {"cachedContents": [], "nextPageToken": "t"}
    assert len(place.ask("/gemini/v1beta/cachedContents")["cachedContents"]) == 2
    place.ask("/gemini/v1beta/cachedContents/abc", None, other, status=404)
    place.ask("/gemini/v1beta/cachedContents/abc", None, key)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "v1/files"),
        ("GET", "v1//files/file-1"),
        ("GET", "v1/%66iles/file-1"),
        ("DELETE", "v1/Files/file-1"),
        ("POST", "v1/batches/b/cancel"),
        ("GET", "v1/files%2Ffile-1"),
        ("GET", "v1/responses/resp_1"),
        ("GET", "v1/responses"),
    ],
)
def test_past_the_gateways_own_paths_nobody_reaches_what_others_keep(place: Gateway, provider: Upstream, method: str, path: str) -> None:
    asked = urllib.request.Request(f"{place.base}/openai/other/{path}", method=method, headers={"authorization": f"Bearer {place.key()}"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked)
    with refused.value:
        assert refused.value.code in (403, 404)
        said = refused.value.read()
        assert b"those of other callers" in said or b"does not exist for this key" in said
    assert provider.seen == []


def told(made: dict[str, Any], *, cut: bool = False) -> Reply:
    """An interaction as it is streamed: its first event has its id."""
    events = [
        {"event_type": "interaction.created", "interaction": {"id": made["id"], "status": "in_progress"}},
        {"event_type": "interaction.completed", "interaction": made},
    ]
    pieces = [f"event: {event['event_type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
    halves = [half for piece in pieces[: 1 if cut else 2] for half in (piece[:60], piece[60:])]  # no event comes in one piece
    return Reply(headers={"content-type": "text/event-stream"}, pieces=list(halves), cut=cut)


INTERACTION = {"id": "v1_abc", "object": "interaction", "status": "completed", "model": "own"}


def removed(place: Gateway, path: str, key: str) -> int:
    asked = urllib.request.Request(place.base + path, method="DELETE", headers={"x-goog-api-key": key})
    try:
        with urllib.request.urlopen(asked) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("how", ["whole", "streamed", "cut", "in the background"])
def test_an_interaction_of_google_s_is_for_who_made_it(place: Gateway, provider: Upstream, how: str) -> None:
    """Whoever had its id could read it, go on from it, cancel and delete it."""
    key, other, asked = place.key(), place.key(), {"model": "g", "input": "hi"}
    started = {**INTERACTION, "status": "in_progress"}
    if how in ("streamed", "cut"):
        provider.answer(told(INTERACTION, cut=how == "cut"))
        sent = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        asking = urllib.request.Request(f"{place.base}/v1beta/interactions", json.dumps({**asked, "stream": True}).encode(), sent)
        with urllib.request.urlopen(asking) as answer:
            assert b"interaction.created" in answer.readline()
            answer.readline()
    else:
        provider.answer(Reply(started if how == "in the background" else INTERACTION))
        place.ask("/v1beta/interactions", {**asked, "background": how == "in the background"}, key)
    provider.answer(Reply(INTERACTION))
    seen = len(provider.seen)
    for path, body in (
        ("/v1beta/interactions/v1_abc", None),
        ("/gemini/v1beta/interactions/v1_abc", None),
        ("/v1beta/interactions/v1_abc?stream=true", None),
        ("/v1beta/interactions/v1_abc/cancel", {}),
        ("/v1beta/interactions", {**asked, "previous_interaction_id": "v1_abc"}),
    ):
        refused = place.ask(path, body, other, 404, **{"x-goog-api-key": other})
        assert (refused["error"]["code"], refused["error"]["status"]) == (404, "NOT_FOUND")
    assert removed(place, "/v1beta/interactions/v1_abc", other) == 404
    assert len(provider.seen) == seen  # nothing of it reached the provider
    for who in (key, "sk-of-the-gateway"):
        assert place.ask("/v1beta/interactions/v1_abc", None, who)["id"] == "v1_abc"
    place.ask("/v1beta/interactions", {**asked, "previous_interaction_id": "v1_abc"}, key)
    assert provider.seen[-1].body["previous_interaction_id"] == "v1_abc"


def test_an_interaction_that_was_deleted_is_nobody_s(place: Gateway, provider: Upstream) -> None:
    key = place.key()
    provider.answer(Reply(INTERACTION))
    place.ask("/v1beta/interactions", {"model": "g", "input": "hi"}, key)
    provider.answer(Reply({}))
    assert removed(place, "/v1beta/interactions/v1_abc", key) == 200
    seen = len(provider.seen)
    place.ask("/v1beta/interactions/v1_abc", None, key, 404)
    assert len(provider.seen) == seen


def test_interactions_that_google_keeps_no_longer_are_forgotten(tmp_path: Path) -> None:
    """A row was left of each for ever."""
    database = Database(f"sqlite:///{tmp_path / 'headrace.db'}")
    kept_here, now = StoredObjectTable(database), 100 * 86_400.0

    async def known() -> list[str]:
        for kind, id, days in (("interactions", "old", 61), ("interactions", "new", 59), ("files", "file", 99)):
            await kept_here.note(StoredObject(ObjectRef(kind, id), "d", "key:k", now - days * 86_400))
        await kept_here.clean(now)
        return sorted([one.thing.id for kind in ("interactions", "files") for one in await kept_here.owned("key:k", kind)])

    try:
        assert asyncio.run(known()) == ["file", "new"]
    finally:
        database.close()


def test_an_administrator_s_interaction_is_asked_for_in_the_account_that_keeps_it(tmp_path: Path) -> None:
    with standing() as first, standing() as second:
        params = [{"model": "gemini/own", "api_key": f"sk-{at.url[-8:]}", "base_url": at.url} for at in (first, second)]
        router = Router([{"model_name": f"g{n}", "litellm_params": one} for n, one in enumerate(params)], num_retries=0)
        with kept(router, Where(f"sqlite:///{tmp_path / 'headrace.db'}", tmp_path)) as (base, state):
            place = Gateway(base, state)
            second.answer(Reply(INTERACTION))
            place.ask("/v1beta/interactions", {"model": "g1", "input": "hi"})
            place.ask("/v1beta/interactions/v1_abc")
            place.ask("/v1beta/interactions/v1_abc", None, place.key(), 404)
        assert (len(first.seen), len(second.seen)) == (0, 2)


def test_a_key_for_looking_looks_at_no_file(place: Gateway, provider: Upstream) -> None:
    viewer = client(place, place.key(user_role="proxy_admin_viewer"))
    with pytest.raises(openai.APIStatusError):
        viewer.files.create(file=("x.txt", b"x"), purpose="user_data")
    assert provider.seen == []


def test_the_secret_of_seals_is_shown_nowhere() -> None:
    assert "hidden" not in repr(Caller(key="k", secret="hidden"))
    assert Caller(key="k", secret="a").seal != Caller(key="k", secret="b").seal
    assert Caller(key="k", role=Role.ADMIN, secret="a").seal == ""


def test_every_database_has_a_secret_of_its_own(tmp_path: Path) -> None:
    """Seals of a database that was made at once, and not by its migrations, had all been made of the same known word."""
    found = set()
    for name in ("a", "b"):
        database = Database(f"sqlite:///{tmp_path / name}")
        with database.reading() as connection:
            found.add(table.sealing(connection))
        database.close()
    assert len(found) == 2
    assert min(len(one) for one in found) > 40


@pytest.mark.parametrize(
    "body",
    [
        {"input_file_id": "file-1", "endpoint": "/v1/chat/completions"},
        {"input_files": ["file-1"], "endpoint": "/v1/chat/completions"},
        {"training_file": "file-1"},
        {"previous_response_id": "resp_1"},
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "file-1"}}]}]},
    ],
)
def test_past_the_gateways_own_paths_nobody_speaks_of_what_others_keep(place: Gateway, provider: Upstream, body: dict[str, Any]) -> None:
    """A batch of somebody else's file could be ordered at a provider's own path."""
    said = place.ask("/gemini/v1/anything", body, place.key(), status=404)
    assert "does not exist for this key" in json.dumps(said)
    assert provider.seen == []
    provider.answer(Reply({"fine": True}))
    place.ask("/gemini/v1/anything", body)  # the master key's


def test_who_does_not_say_that_he_sends_json_is_held_to_his_own_as_well(place: Gateway, provider: Upstream) -> None:
    headers = {"authorization": f"Bearer {place.key()}", "content-type": "text/plain"}
    asked = urllib.request.Request(f"{place.base}/gemini/v1/anything", b' {"cachedContent": "cachedContents/abc"}', headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked)
    with refused.value:
        assert refused.value.code == 404
    assert provider.seen == []
