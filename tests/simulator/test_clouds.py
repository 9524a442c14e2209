"""Batches of Vertex AI and Bedrock from the first call to the last answer, at simulated clouds, over sockets; in both colours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from types import MappingProxyType
from typing import Any

import httpx2
import pytest
from botocore.config import Config
from botocore.session import get_session
from google import genai
from google.oauth2.credentials import Credentials
from openai.types import Batch
from tests.simulator.conftest import KEY, fleet, quick
from tests.simulator.test_keeping import Caller

import headrace
from headrace.simulator.server import Running, running

AWS = {"aws_access_key_id": KEY, "aws_secret_access_key": "a-secret-of-forty", "aws_region_name": "eu-central-1", "api_key": None}
ROLE = "arn:aws:iam::123456789012:role/batch"
CHATS = "/v1/chat/completions"
HI = {"role": "user", "content": [{"text": "hi"}]}


@pytest.fixture(scope="module")
def base() -> Iterator[Running]:
    with running(fleet(quick("a", rpm=2, api_keys=(KEY,)))) as made:
        yield made


@pytest.fixture(params=["async", "sync"])
def call(request: pytest.FixtureRequest, base: Running) -> Caller:
    return Caller(request.param, base)


CALLS = ((1, 9), (2, 9), (3, 10**9))
"""Numbers of calls, and the most tokens of their answers: the last asks for more than there are."""


class Google:
    """Vertex AI, whose address names a project, and a bucket beside it."""

    lines = tuple(
        {"request": {"contents": [{"role": "user", "parts": [{"text": f"question {n}"}]}], "generationConfig": {"maxOutputTokens": most}}}
        for n, most in CALLS
    )
    source, model = "gs://mill/in/calls.jsonl", "vertex_ai/gpt-sim"
    order = MappingProxyType[str, Any]({})

    def __init__(self, base: Running) -> None:
        self._root = base.url("a").removesuffix("/v1")
        self.way = {"base_url": f"{self._root}/v1/projects/p/locations/us-central1", "api_key": KEY}

    def put(self, lines: Any, name: str = "in/calls.jsonl") -> None:
        there = f"{self._root}/upload/storage/v1/b/mill/o?uploadType=media&name={name}"
        httpx2.post(there, content=_jsonl(lines), headers={"authorization": f"Bearer {KEY}"}).raise_for_status()

    def get(self, address: str) -> bytes:
        _, _, bucket, name = address.split("/", 3)
        there = f"{self._root}/storage/v1/b/{bucket}/o/{name.replace('/', '%2F').replace(':', '%3A')}?alt=media"
        return httpx2.get(there, headers={"authorization": f"Bearer {KEY}"}).raise_for_status().content


class Amazon:
    """Bedrock, and S3 beside it, asked by AWS's own client."""

    lines = tuple({"recordId": f"q-{n}", "modelInput": {"messages": [HI], "inferenceConfig": {"maxTokens": most}}} for n, most in CALLS)
    source, model = "s3://mill/in/calls.jsonl", "bedrock/gpt-sim"
    order = MappingProxyType({"aws_batch_role_arn": ROLE, "modelInvocationType": "Converse"})

    def __init__(self, base: Running) -> None:
        self._root = base.url("a").removesuffix("/v1")
        self.way = {"base_url": self._root, **AWS}

    def client(self, service: str) -> Any:
        return aws(service, self._root + ("/s3" if service == "s3" else ""))

    def put(self, lines: Any, name: str = "in/calls.jsonl") -> None:
        self.client("s3").put_object(Bucket="mill", Key=name, Body=_jsonl(lines))

    def get(self, address: str) -> bytes:
        _, _, bucket, name = address.split("/", 3)
        found: bytes = self.client("s3").get_object(Bucket=bucket, Key=name)["Body"].read()
        return found


@cache
def aws(service: str, endpoint: str) -> Any:
    """AWS's own client. One takes seconds to make."""
    return get_session().create_client(
        service,
        region_name="eu-central-1",
        endpoint_url=endpoint,
        aws_access_key_id=KEY,
        aws_secret_access_key="a-secret-of-forty",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )


def _jsonl(lines: Any) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@pytest.fixture(params=[Google, Amazon])
def cloud(request: pytest.FixtureRequest, base: Running) -> Any:
    made = request.param(base)
    made.put(made.lines)
    return made


def ordered(call: Caller, cloud: Any, source: str = "", **more: Any) -> Any:
    options = {**cloud.way, **cloud.order, "model": cloud.model, **more}
    return call("create_batch", "24h", CHATS, source or cloud.source, cloud.model.partition("/")[0], **options)


def test_calls_in_a_bucket_become_answers_in_a_bucket(call: Caller, cloud: Any) -> None:
    """More calls than a minute's limit holds: batches have limits of their own. Where the answers are is where the cloud laid them."""
    provider = cloud.model.partition("/")[0]
    batch = ordered(call, cloud)
    assert batch.status == "validating"
    assert batch.id in [it["id"] for it in call("list_batches", provider, **cloud.way).data]
    done = call("retrieve_batch", batch.id, provider, **cloud.way)
    Batch.model_validate(done.model_dump())
    assert (done.status, done.input_file_id) == ("completed", cloud.source)
    assert done.request_counts == {"total": 3, "completed": 2, "failed": 1}
    lines = [json.loads(line) for line in cloud.get(done.output_file_id).splitlines()]
    told = [line.get("response") or line.get("modelOutput") for line in lines]
    for answer in told[:2]:
        words = answer["candidates"][0]["content"]["parts"] if "candidates" in answer else answer["output"]["message"]["content"]
        assert words[0]["text"]
    assert not told[2]
    assert "max_tokens" in json.dumps(lines[2].get("status") or lines[2]["error"])


def test_a_batch_is_cancelled(call: Caller, cloud: Any) -> None:
    provider = cloud.model.partition("/")[0]
    batch = ordered(call, cloud)
    assert call("cancel_batch", batch.id, provider, **cloud.way).status == "cancelling"
    done = call("retrieve_batch", batch.id, provider, **cloud.way)
    assert (done.status, done.output_file_id, done.cancelled_at is None) == ("cancelled", None, False)
    with pytest.raises(headrace.HeadraceError, match="cannot be"):
        call("cancel_batch", batch.id, provider, **cloud.way)


def test_a_batch_of_a_file_that_is_not_there_fails_and_says_so(call: Caller, cloud: Any) -> None:
    provider = cloud.model.partition("/")[0]
    batch = ordered(call, cloud, cloud.source.replace("calls", "nothing"))
    done = call("retrieve_batch", batch.id, provider, **cloud.way)
    assert done.status == "failed"
    assert "mill/in/nothing.jsonl" in done.errors["data"][0]["message"]


def test_batches_are_listed_page_by_page(call: Caller, cloud: Any) -> None:
    provider = cloud.model.partition("/")[0]
    made = {ordered(call, cloud).id for _ in range(3)}
    found: set[str] = set()
    after = None
    while True:
        page = call("list_batches", provider, limit=2, after=after, **cloud.way)
        found |= {it["id"] for it in page.data}
        after = getattr(page, "nextPageToken", None) or getattr(page, "nextToken", None)
        assert page.has_more is bool(after)
        if not after:
            break
    assert made <= found


def test_a_batch_that_nobody_ordered_is_not_found(call: Caller, cloud: Any) -> None:
    id = "arn:aws:bedrock:eu-central-1:123456789012:model-invocation-job/abcdefghijkl" if isinstance(cloud, Amazon) else "77"
    with pytest.raises(headrace.NotFoundError):
        call("retrieve_batch", id, cloud.model.partition("/")[0], **cloud.way)


def test_an_order_that_a_cloud_does_not_know_is_refused_as_it_would_be(call: Caller, cloud: Any) -> None:
    with pytest.raises(headrace.BadRequestError, match="unheard"):
        ordered(call, cloud, unheard=1)


def test_claudes_batches_on_bedrock_are_invocations(call: Caller, base: Running) -> None:
    cloud = Amazon(base)
    asked = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    cloud.put([{"modelInput": asked}, {"modelInput": {**asked, "anthropic_version": None}}], "in/claude.jsonl")
    batch = ordered(call, cloud, "s3://mill/in/claude.jsonl", modelInvocationType=None, s3_output_bucket_name="sink")
    done = call("retrieve_batch", batch.id, "bedrock", **cloud.way)
    assert done.output_file_id.startswith("s3://sink/in/")
    good, bad = [json.loads(line) for line in cloud.get(done.output_file_id).splitlines()]
    assert good["modelOutput"]["type"] == "message"
    assert "anthropic_version" in bad["error"]["errorMessage"]
    assert json.loads(cloud.get(done.output_file_id.rpartition("/")[0] + "/manifest.json.out"))["errorRecordCount"] == 1


def test_the_official_clients_find_what_they_expect(base: Running) -> None:
    """The simulator's side is checked by those who did not write ours."""
    amazon = Amazon(base)
    amazon.put(amazon.lines)
    bedrock = amazon.client("bedrock")
    arn = bedrock.create_model_invocation_job(
        jobName="by-aws", roleArn=ROLE, modelId="gpt-sim", modelInvocationType="Converse",
        inputDataConfig={"s3InputDataConfig": {"s3Uri": amazon.source}},
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://mill/out/"}},
    )["jobArn"]  # fmt: skip
    done = bedrock.get_model_invocation_job(jobIdentifier=arn)
    assert (done["status"], done["successRecordCount"], done["submitTime"].year > 2000) == ("Completed", 2, True)
    assert arn in [it["jobArn"] for it in bedrock.list_model_invocation_jobs(maxResults=5)["invocationJobSummaries"]]
    with pytest.raises(bedrock.exceptions.ConflictException):
        bedrock.stop_model_invocation_job(jobIdentifier=arn)
    with pytest.raises(bedrock.exceptions.ResourceNotFoundException):
        bedrock.get_model_invocation_job(jobIdentifier="abcdefghijkl")

    google = Google(base)
    google.put(google.lines)
    options: Any = {"base_url": base.url("a").removesuffix("/v1"), "headers": {"authorization": f"Bearer {KEY}"}}
    vertex = genai.Client(vertexai=True, project="p", location="us-central1", credentials=Credentials(token=KEY), http_options=options)
    job = vertex.batches.create(model="gpt-sim", src=google.source, config={"dest": "gs://mill/out"})
    assert job.name is not None
    told = vertex.batches.get(name=job.name)
    assert (told.state.name if told.state else "", told.completion_stats.successful_count if told.completion_stats else 0) == (
        "JOB_STATE_SUCCEEDED", 2,
    )  # fmt: skip
    assert job.name in [it.name for it in vertex.batches.list()]
    vertex.close()
