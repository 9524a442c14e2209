"""Files and batches of Bedrock and Vertex AI through a gateway and a Router, with the OpenAI SDK and simulated clouds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tests.client.upstream import Reply, standing
from tests.gateway.persistence import Gateway, kept
from tests.simulator.test_buckets import CHATS, Cloud, base, nobodys_own, streamed  # noqa: F401
from tests.simulator.test_keeping import chat, written

import headrace
from headrace import Router
from headrace.gateway.persistence import Where
from headrace.simulator.buckets import Buckets
from headrace.simulator.server import Running

GROUPS = {"bedrock": "nova", "vertex_ai": "gemini"}


def deployments(base: Running, **more: Any) -> list[dict[str, Any]]:  # noqa: F811
    """One without a bucket before those of the clouds, which have one."""
    made = []
    for provider, group in GROUPS.items():
        cloud = Cloud(base, provider)
        params = {name: value for name, value in cloud.way.items() if value is not None}
        made.append({"model_name": group, "litellm_params": {"model": f"{provider}/{cloud.own}", **params, **more}})
    return made


@pytest.fixture
def router(base: Running) -> Iterator[Router]:  # noqa: F811
    made = Router(deployments(base), num_retries=0)
    yield made
    made.close()


@pytest.fixture
def place(router: Router, tmp_path: Path) -> Iterator[Gateway]:
    with kept(router, Where(f"sqlite:///{tmp_path / 'headrace.db'}", tmp_path)) as (address, state):
        yield Gateway(address, state)


def client(place: Gateway, key: str = "") -> openai.OpenAI:
    return openai.OpenAI(api_key=key or place.key(), base_url=f"{place.base}/v1", max_retries=0)


@pytest.mark.parametrize("group", GROUPS.values())
def test_a_gateways_caller_puts_a_file_orders_a_batch_and_reads_its_answers(place: Gateway, group: str, tmp_path: Path) -> None:
    """In OpenAI's words from one end to the other: which cloud, which bucket and the model's own name are the configuration's."""
    mine, other = client(place), client(place)
    file = written(tmp_path / "calls.jsonl", *(chat(number, model=group) for number in range(3)))
    kept = mine.files.create(file=file, purpose="batch", extra_body={"target_model_names": group})
    assert "mill" not in kept.id
    assert mine.files.retrieve(kept.id).filename == "calls.jsonl"
    assert [one.id for one in mine.files.list()] == [kept.id]
    batch = mine.batches.create(input_file_id=kept.id, endpoint="/v1/chat/completions", completion_window="24h")
    done = mine.batches.retrieve(batch.id)
    assert (done.status, done.input_file_id) == ("completed", kept.id)
    assert done.output_file_id
    for theirs in (kept.id, done.output_file_id):
        with pytest.raises(openai.NotFoundError):
            other.files.content(theirs)
    lines = [json.loads(line) for line in mine.files.content(done.output_file_id).text.splitlines()]
    assert [line["custom_id"] for line in lines] == ["q-0", "q-1", "q-2"]
    assert all(line["response"]["body"]["choices"][0]["message"]["content"] for line in lines)
    assert mine.files.delete(kept.id).deleted
    assert list(mine.files.list()) == []


def test_what_a_caller_may_not_say_of_a_batch_is_refused_by_name(place: Gateway, tmp_path: Path) -> None:
    """Fields of Bedrock's own could name another's file as the source, and any bucket as the place of the answers."""
    mine = client(place)
    file = written(tmp_path / "calls.jsonl", chat(0, model="nova"))
    kept = mine.files.create(file=file, purpose="batch", extra_body={"model": "nova"})
    for name, value in (
        ("inputDataConfig", {"s3InputDataConfig": {"s3Uri": "s3://mill/another.jsonl"}}),
        ("outputDataConfig", {"s3OutputDataConfig": {"s3Uri": "s3://elsewhere/"}}),
        ("s3_output_bucket_name", "elsewhere"),
    ):
        with pytest.raises(openai.BadRequestError, match=name):
            mine.batches.create(input_file_id=kept.id, endpoint="/v1/chat/completions", completion_window="24h", extra_body={name: value})
    for id in ("s3://mill/another.jsonl", "gs://mill/another.jsonl"):
        with pytest.raises(openai.NotFoundError, match="does not exist for this key"):
            mine.batches.create(input_file_id=id, endpoint="/v1/chat/completions", completion_window="24h")


def test_a_gateways_files_go_to_a_deployment_with_a_bucket(base: Running, tmp_path: Path) -> None:  # noqa: F811
    """One without came first, and could have taken none."""
    bare, with_one = deployments(base)
    bare["litellm_params"].pop("s3_bucket_name")
    router = Router([bare, with_one], num_retries=0)
    with kept(router, Where(f"sqlite:///{tmp_path / 'headrace.db'}", tmp_path)) as (address, state):
        mine = client(Gateway(address, state))
        assert mine.files.create(file=b"mill", purpose="user_data").bytes == 4
        file = written(tmp_path / "calls.jsonl", chat(0, model="gemini"))
        assert mine.files.create(file=file, purpose="batch").purpose == "batch"
        with pytest.raises(openai.BadRequestError, match="s3_bucket_name="):
            mine.files.create(file=written(tmp_path / "nova.jsonl", chat(0, model="nova")), purpose="batch", extra_body={"model": "nova"})
    router.close()


@pytest.mark.parametrize("group", GROUPS.values())
def test_a_file_larger_than_an_answer_may_be_goes_through_a_gateway(
    place: Gateway,
    base: Running,  # noqa: F811
    group: str,
) -> None:
    mine = client(place)
    kept = mine.files.create(file=("large.bin", b"x"), purpose="user_data", extra_body={"model": group})
    held, content = buckets_of(base), bytes(range(256)) * (260 << 10)
    (address,) = [one for one in held._objects if one.endswith("-large.bin") and one.startswith("s3" if group == "nova" else "gs")]
    held.put(address, content, 1)
    with mine.files.with_streaming_response.content(kept.id) as told:
        assert told.headers["content-type"] == "application/octet-stream"
        assert b"".join(told.iter_bytes()) == content
    mine.files.delete(kept.id)
    with pytest.raises(openai.NotFoundError):
        mine.files.content(kept.id)


def test_a_file_that_breaks_off_does_not_come_to_an_end(tmp_path: Path) -> None:
    """Nor does what went wrong stand in it: to its reader it would be a file."""
    file = {"id": "file-1", "object": "file", "bytes": 9, "created_at": 1, "filename": "f", "purpose": "user_data"}
    read: list[bytes] = []
    with standing() as upstream:
        made = Router(
            [{"model_name": "a", "litellm_params": {"model": "openai/m", "base_url": upstream.url, "api_key": "k"}}], num_retries=0
        )
        upstream.answer(Reply(file), Reply(pieces=[b"mill", b"stone"], cut=True))
        with kept(made, Where(f"sqlite:///{tmp_path / 'headrace.db'}", tmp_path)) as (address, state):
            gateway = Gateway(address, state)
            key = gateway.key()
            way = {"authorization": f"Bearer {key}"}
            id = client(gateway, key).files.create(file=b"millstone", purpose="user_data").id
            with (
                pytest.raises(httpx.RemoteProtocolError),
                httpx.stream("GET", f"{gateway.base}/v1/files/{id}/content", headers=way) as told,
            ):
                read.extend(told.iter_bytes())
        made.close()
    assert b"millstone".startswith(b"".join(read))


def buckets_of(base: Running) -> Buckets:  # noqa: F811
    return base.simulator.fleet.providers["a"]._buckets


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_a_routers_large_file_is_read_piece_by_piece(router: Router, base: Running, colour: str) -> None:  # noqa: F811
    kept, content = router.create_file(b"x", "user_data", model="nova"), bytes(70 << 20)
    buckets_of(base).put(kept.id, content, 1)
    ask = router.file_content if colour == "sync" else router.afile_content
    assert b"".join(streamed(colour, ask, kept.id, model="nova")) == content
    router.file_delete(kept.id)
    with pytest.raises(headrace.NotFoundError):
        streamed(colour, ask, kept.id, model="nova")


@pytest.mark.parametrize("colour", ["async", "sync"])
@pytest.mark.parametrize("group", GROUPS.values())
def test_a_routers_file_becomes_its_answers(router: Router, colour: str, group: str, tmp_path: Path) -> None:
    file = written(tmp_path / "calls.jsonl", chat(0, model=group))

    async def asked() -> Any:
        kept = await router.acreate_file(file, "batch", model=group)
        batch = await router.acreate_batch("24h", CHATS, kept.id, model=group)
        done = await router.aretrieve_batch(batch.id, model=group)
        return await router.afile_content(done.output_file_id, model=group)

    if colour == "async":
        told = asyncio.run(asked())
    else:
        kept = router.create_file(file, "batch", model=group)
        batch = router.create_batch("24h", CHATS, kept.id, model=group)
        told = router.file_content(router.retrieve_batch(batch.id, model=group).output_file_id, model=group)
    [line] = told.text.splitlines()
    assert json.loads(line)["custom_id"] == "q-0"


def test_secrets_of_a_bucket_are_in_nothing_that_a_router_shows(base: Running) -> None:  # noqa: F811
    pair = {"s3_access_key_id": "AKIA-OF-THE-BUCKET", "s3_secret_access_key": "the-secret-of-the-bucket"}
    router = Router(deployments(base, **pair), num_retries=0)
    with pytest.raises(headrace.HeadraceError) as refused:
        router.create_file(b"x", "user_data", model="nova")
    shown = f"{refused.value!r} {refused.value} {router!r} {router.health()}"
    assert "the-secret-of-the-bucket" not in shown
    router.close()
