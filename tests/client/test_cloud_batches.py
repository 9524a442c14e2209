"""Batches of Vertex AI and Bedrock, with files in the caller's own bucket; sync and async."""

from __future__ import annotations

from typing import Any

import pytest
from openai import types as openai_types
from tests.client.test_bedrock_client import no_aws_here  # noqa: F401
from tests.client.test_kept import is_openai
from tests.client.upstream import Client, Reply, Upstream

import headrace

AWS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "a-secret-of-forty", "aws_region_name": "eu-central-1", "api_key": None}
JOB = {
    "name": "projects/1/locations/us-central1/batchPredictionJobs/77",
    "displayName": "nightly",
    "model": "publishers/google/models/gemini-2.5-flash",
    "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": ["gs://mill/in/calls.jsonl"]}},
    "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": "gs://mill/in"}},
    "state": "JOB_STATE_PENDING",
    "createTime": "2026-11-29T05:00:00.123456Z",
}
DONE = {"outputInfo": {"gcsOutputDirectory": "gs://mill/in/prediction-1"}, "endTime": "2026-11-29T06:00:00Z"}
COUNTED = {"completionStats": {"successfulCount": "2", "failedCount": "1", "incompleteCount": "-1"}}


def order(client: Client, source: Any, provider: str, **options: Any) -> Any:
    return client.call("create_batch", "24h", "/v1/chat/completions", source, provider, **options)


@pytest.mark.parametrize(
    ("source", "options", "model"),
    [
        ("gs://mill/in/calls.jsonl", {"model": "vertex_ai/gemini-2.5-flash"}, "publishers/google/models/gemini-2.5-flash"),
        ("gs://mill/in/calls.jsonl", {"model": "claude-sonnet-4-6"}, "publishers/anthropic/models/claude-sonnet-4-6"),
        ("gs://mill/publishers/google/models/gemini-2.5-pro/1.jsonl", {}, "publishers/google/models/gemini-2.5-pro"),
    ],
)
def test_vertex_is_told_where_the_calls_stand(client: Client, upstream: Upstream, source: str, options: Any, model: str) -> None:
    upstream.answer(Reply(JOB))
    batch = order(client, source, "vertex_ai", metadata={"display_name": "nightly"}, **options)
    [seen] = upstream.seen
    assert (seen.method, seen.path) == ("POST", "/v1/batchPredictionJobs")
    assert seen.body == {
        "displayName": "nightly",
        "model": model,
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [source]}},
        "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": source.rpartition("/")[0]}},
    }
    is_openai(batch, openai_types.Batch)
    assert (batch.id, batch.status, batch.input_file_id) == ("77", "validating", "gs://mill/in/calls.jsonl")


def test_vertex_reads_calls_from_bigquery(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(JOB))
    order(client, "bq://mill.calls.monday", "vertex_ai", model="gemini-2.5-flash")
    assert upstream.seen[0].body["inputConfig"]["bigquerySource"] == {"inputUri": "bq://mill.calls.monday"}
    assert upstream.seen[0].body["outputConfig"]["bigqueryDestination"] == {"outputUri": "bq://mill.calls"}


@pytest.mark.parametrize(
    ("told", "status", "output"),
    [
        ({"state": "JOB_STATE_RUNNING"}, "in_progress", None),
        ({"state": "JOB_STATE_SUCCEEDED", **DONE, **COUNTED}, "completed", "gs://mill/in/prediction-1/predictions.jsonl"),
        ({"state": "JOB_STATE_FAILED", "error": {"code": 3, "message": "no such file"}}, "failed", None),
    ],
)
def test_vertexs_states_are_openais(client: Client, upstream: Upstream, told: Any, status: str, output: str | None) -> None:
    upstream.answer(Reply({**JOB, **told}))
    batch = client.call("retrieve_batch", JOB["name"], "vertex_ai")
    assert upstream.seen[0].path == "/v1/batchPredictionJobs/77"
    is_openai(batch, openai_types.Batch)
    assert (batch.status, batch.output_file_id) == (status, output)
    assert batch.request_counts["completed"] == (2 if output else 0)


def test_vertexs_batches_are_listed_and_cancelled(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"batchPredictionJobs": [JOB], "nextPageToken": "t"}), Reply({}))
    page = client.call("list_batches", "vertex_ai", limit=1)
    cancelled = client.call("cancel_batch", "77", "vertex_ai")
    assert [(seen.method, seen.path) for seen in upstream.seen] == [
        ("GET", "/v1/batchPredictionJobs?pageSize=1"),
        ("POST", "/v1/batchPredictionJobs/77:cancel"),
    ]
    assert ([batch["id"] for batch in page.data], page.has_more, cancelled.status) == (["77"], True, "cancelling")


ARN = "arn:aws:bedrock:eu-central-1:123456789012:model-invocation-job/abcdefghijkl"
INVOCATION = {
    "jobArn": ARN,
    "jobName": "nightly",
    "modelId": "anthropic.claude-sonnet-4-6",
    "status": "Completed",
    "submitTime": "2026-11-29T05:00:00Z",
    "endTime": "2026-11-29T06:00:00Z",
    "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://mill/in/calls.jsonl"}},
    "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://mill/in/"}},
    "totalRecordCount": 3, "successRecordCount": 2, "errorRecordCount": 1,
}  # fmt: skip
ROLE = "arn:aws:iam::123456789012:role/batch"


def aws_takes(operation: str, given: Any) -> None:
    """Raises what AWS's own client would."""
    from botocore.session import get_session
    from botocore.validate import ParamValidator

    shape = get_session().get_service_model("bedrock").operation_model(operation).input_shape
    assert not (report := ParamValidator().validate(given, shape)).has_errors(), report.generate_report()


def test_bedrock_is_told_where_the_calls_stand(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"jobArn": ARN}))
    model = "bedrock/anthropic.claude-sonnet-4-6"
    batch = order(client, "s3://mill/in/calls.jsonl", "bedrock", model=model, aws_batch_role_arn=ROLE, timeoutDurationInHours=48, **AWS)
    [seen] = upstream.seen
    assert (seen.method, seen.path.rpartition("/")[2]) == ("POST", "model-invocation-job")
    assert "/bedrock/aws4_request" in seen.headers["authorization"]
    aws_takes("CreateModelInvocationJob", seen.body)
    assert seen.body["modelId"] == "anthropic.claude-sonnet-4-6"
    assert seen.body["outputDataConfig"] == {"s3OutputDataConfig": {"s3Uri": "s3://mill/in/"}}
    assert (seen.body["roleArn"], seen.body["timeoutDurationInHours"]) == (ROLE, 48)
    is_openai(batch, openai_types.Batch)
    assert (batch.id, batch.status, batch.input_file_id) == (ARN, "validating", "s3://mill/in/calls.jsonl")


def test_the_role_and_the_places_of_a_job_are_litellms_variables(
    client: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a call says goes before what the environment says."""
    for name, value in {
        "AWS_BATCH_ROLE_ARN": ROLE, "AWS_S3_OUTPUT_BUCKET_NAME": "sink", "AWS_S3_BUCKET_OWNER": "210987654321",
        "AWS_S3_ENCRYPTION_KEY_ID": "alias/mine",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    upstream.answer(Reply({"jobArn": ARN}), Reply({"jobArn": ARN}))
    model, tags = "bedrock/amazon.nova-lite-v1:0", [{"key": "team", "value": "mill"}]
    order(client, "s3://mill/in/calls.jsonl", "bedrock", model=model, bedrock_tags=tags, **AWS)
    order(client, "s3://mill/calls.jsonl", "bedrock", model=model, aws_batch_role_arn=f"{ROLE}2", s3_output_bucket_name="other", **AWS)
    first, second = (seen.body for seen in upstream.seen)
    for body in (first, second):
        aws_takes("CreateModelInvocationJob", body)
    assert (first["roleArn"], first["tags"], first["timeoutDurationInHours"]) == (ROLE, tags, 24)
    assert first["inputDataConfig"]["s3InputDataConfig"]["s3BucketOwner"] == "210987654321"
    assert first["outputDataConfig"]["s3OutputDataConfig"] == {
        "s3Uri": "s3://sink/in/", "s3BucketOwner": "210987654321", "s3EncryptionKeyId": "alias/mine",
    }  # fmt: skip
    assert (second["roleArn"], second["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]) == (f"{ROLE}2", "s3://other/")
    assert first["jobName"] != second["jobName"]


def test_the_same_calls_can_be_ordered_twice(client: Client, upstream: Upstream) -> None:
    """A job's name was made of what is ordered, and AWS takes no name twice."""
    upstream.answer(Reply({"jobArn": ARN}), Reply({"jobArn": ARN}))
    for _ in range(2):
        order(client, "s3://mill/calls.jsonl", "bedrock", model="bedrock/amazon.nova-lite-v1:0", aws_batch_role_arn=ROLE, **AWS)
    assert upstream.seen[0].body["jobName"] != upstream.seen[1].body["jobName"]


def test_a_deployment_may_say_where_its_batches_go_and_chats_do_not_hear_of_it(upstream: Upstream) -> None:
    """As litellm's pages have it: the Router refused aws_batch_role_arn, and sent the rest to Bedrock with every chat."""
    params = {
        "model": "bedrock/amazon.nova-lite-v1:0", "base_url": upstream.url, **{name: value for name, value in AWS.items() if value},
        "aws_batch_role_arn": ROLE, "s3_bucket_name": "mill", "s3_region_name": "eu-central-1", "s3_output_bucket_name": "sink",
    }  # fmt: skip
    said = {"role": "assistant", "content": [{"text": "Ho"}]}
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    upstream.answer(Reply({"output": {"message": said}, "stopReason": "end_turn", "usage": usage}), Reply({"jobArn": ARN}))
    router = headrace.Router(model_list=[{"model_name": "nova", "litellm_params": params}], num_retries=0)
    assert router.completion("nova", [{"role": "user", "content": "Hi"}]).choices[0].message.content == "Ho"
    router.create_batch("24h", "/v1/chat/completions", "s3://mill/in/calls.jsonl", model="nova")
    chat, batch = (seen.body for seen in upstream.seen)
    assert set(chat) == {"messages"}
    assert (batch["roleArn"], batch["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]) == (ROLE, "s3://sink/in/")
    router.close()


def test_a_folder_of_calls_has_a_folder_of_answers(client: Client, upstream: Upstream) -> None:
    source = {"s3InputDataConfig": {"s3Uri": "s3://mill/in/"}}
    upstream.answer(Reply({**INVOCATION, "inputDataConfig": source, "timeoutDurationInHours": 72}))
    batch = client.call("retrieve_batch", ARN, "bedrock", **AWS)
    assert (batch.output_file_id, batch.completion_window) == ("s3://mill/in/abcdefghijkl/", "72h")


def test_bedrocks_batches_are_shown_listed_and_stopped(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(INVOCATION), Reply({"invocationJobSummaries": [INVOCATION]}), Reply(b""))
    batch = client.call("retrieve_batch", ARN, "bedrock", **AWS)
    page = client.call("list_batches", "bedrock", limit=5, **AWS)
    stopped = client.call("cancel_batch", ARN, "bedrock", **AWS)
    name = ARN.replace(":", "%3A").replace("/", "%2F")
    assert [seen.path.partition("/v1")[2] for seen in upstream.seen] == [
        f"/model-invocation-job/{name}", "/model-invocation-jobs?maxResults=5", f"/model-invocation-job/{name}/stop",
    ]  # fmt: skip
    is_openai(batch, openai_types.Batch)
    assert (batch.status, batch.output_file_id) == ("completed", "s3://mill/in/abcdefghijkl/calls.jsonl.out")
    assert batch.request_counts == {"total": 3, "completed": 2, "failed": 1}
    assert (page.has_more, stopped.id, stopped.status) == (False, ARN, "cancelling")


@pytest.mark.parametrize(
    ("provider", "source", "options", "named"),
    [
        ("vertex_ai", "file-1", {"model": "gemini-2.5-flash"}, "gs://"),
        ("vertex_ai", "gs://mill/calls.jsonl", {}, "model="),
        ("bedrock", "file-1", {"model": "amazon.nova-lite-v1:0"}, "s3://"),
        ("bedrock", "s3://mill/calls.jsonl", {"aws_batch_role_arn": ROLE}, "model="),
        ("bedrock", "s3://mill/calls.jsonl", {"model": "amazon.nova-lite-v1:0"}, "aws_batch_role_arn="),
    ],
)
def test_what_a_cloud_lacks_for_a_batch_is_named(client: Client, provider: str, source: str, options: Any, named: str) -> None:
    with pytest.raises(headrace.BadRequestError, match=named):
        order(client, source, provider, **options, **(AWS if provider == "bedrock" else {}))


def test_a_file_of_calls_itself_needs_a_bucket(client: Client) -> None:
    with pytest.raises(headrace.BadRequestError, match="pass gcs_bucket_name=, or set GCS_BATCH_BUCKET_NAME"):
        order(client, b'{"custom_id": "a"}', "vertex_ai", model="gemini-2.5-flash")
