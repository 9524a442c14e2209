"""What a provider keeps is its owner's: ids that were given to one key are nothing to another."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.client.upstream import Reply, Upstream, standing
from tests.gateway.lasting import Gateway, kept

from headrace import Router
from headrace.gateway.callers import Caller, Role
from headrace.gateway.keys import table
from headrace.gateway.lasting import Where
from headrace.runtime.sql import Database

MADE = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": []}
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
    router = Router([{"model_name": "m", "litellm_params": params}], num_retries=0)
    with kept(router, Where(f"sqlite:///{tmp_path / 'headrace.db'}", tmp_path)) as (base, state):
        yield Gateway(base, state)


def client(place: Gateway, key: str) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=f"{place.base}/v1", max_retries=0)


def team(place: Gateway) -> str:
    return str(place.ask("/team/new", {"team_alias": "mill"})["team_id"])


def is_hidden(ask: Any, *given: Any, **named: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="given out here"):
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


def test_lists_of_an_account_are_for_administrators(place: Gateway, provider: Upstream) -> None:
    provider.answer(Reply({"object": "list", "data": [FILE], "has_more": False}))
    mine = client(place, place.key())
    with pytest.raises(openai.PermissionDeniedError, match="by their ids"):
        mine.files.list()
    with pytest.raises(openai.PermissionDeniedError, match="by their ids"):
        mine.batches.list()
    assert provider.seen == []
    assert len(client(place, "sk-of-the-gateway").files.list().data) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "v1/files"),
        ("GET", "v1/files/"),
        ("GET", "v1/%66iles/file-1"),
        ("DELETE", "v1/Files/file-1"),
        ("POST", "v1/batches/b/cancel"),
    ],
)
def test_past_the_gateways_own_paths_nobody_reaches_what_others_keep(place: Gateway, provider: Upstream, method: str, path: str) -> None:
    asked = urllib.request.Request(f"{place.base}/openai/other/{path}", method=method, headers={"authorization": f"Bearer {place.key()}"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked)
    with refused.value:
        assert refused.value.code == 403
        assert b"of all that call here" in refused.value.read()
    assert provider.seen == []


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
