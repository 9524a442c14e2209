"""Batches on Vertex AI and Bedrock in OpenAI's format, plus the cloud's own fields.

Calls are read from the caller's own bucket or table in the cloud's line format, and results are written there;
`kept_s3` and `kept_gcs` upload the files. Vertex AI:
cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.batchPredictionJobs, fields and states as
google-genai 3.4.0 has them. Bedrock: the …ModelInvocationJob operations in botocore 1.44.5's service model, 2023-04-20.
Vertex AI's ids and result locations are LiteLLM 1.106.2's. For Bedrock, LiteLLM reports the result folder, headrace the
file (both read 2026-11-29).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from msgspec import structs

from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, given, posted
from headrace.dialects.forms.buckets import new_name
from headrace.dialects.forms.dates import epoch
from headrace.dialects.forms.kept_s3 import ANSWERS, made_for
from headrace.errors import BadRequestError
from headrace.types import Json
from headrace.wire import HttpRequest, HttpResponse

_OURS: Final = ("input_file_id", "endpoint", "completion_window", "metadata", "model")


def _asked(target: Target, method: str, path: str, query: Mapping[str, Json] = {}) -> HttpRequest:
    mark = f"?{urlencode(query)}" if query else ""
    return HttpRequest(method, f"{target.base_url.rstrip('/')}{path}{mark}", target.headers)


def _source(body: Body, target: Target, *schemes: str) -> str:
    """The location of the batch's calls."""
    source = body["input_file_id"]
    if not isinstance(source, str) or not source.startswith(schemes):
        kinds = " or ".join(f"{scheme}…" for scheme in schemes)
        raise BadRequestError(
            f"{target.provider} reads batches from your own storage: input_file_id must be {kinds}, got {str(source)[:40]!r}"
        )
    return source


def _model(target: Target, example: str) -> str:
    if target.model == "-":
        raise BadRequestError(f"{target.provider} allows one model per batch: pass model=, e.g. model={example!r}")
    return target.model


def _display_name(body: Body) -> str | None:
    kept = body.get("metadata")
    name = kept.get("display_name") if isinstance(kept, Mapping) else None
    return name if isinstance(name, str) else None


def _told(told: Mapping[str, Any], **said: Json) -> dict[str, Json]:
    """A batch in OpenAI's format. `ended` is the time it ended, whatever its status."""
    ended, status = said.pop("ended", None), said["status"]
    ends = {f"{name}_at": ended if name == status else None for name in ("completed", "cancelled", "expired", "failed")}
    return {
        **told,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "error_file_id": None,
        **ends,
        **said,
    }


def _errors(message: Json, code: Json = None) -> dict[str, Json] | None:
    return {"object": "list", "data": [{"code": code, "message": message}]} if message else None


# ---- Vertex AI ---------------------------------------------------------------------------------------------------------------------

_JOBS: Final = "/batchPredictionJobs"
_STATES: Final = {
    "RUNNING": "in_progress",
    "UPDATING": "in_progress",
    "PAUSED": "in_progress",
    "SUCCEEDED": "completed",
    "PARTIALLY_SUCCEEDED": "completed",
    "FAILED": "failed",
    "CANCELLING": "cancelling",
    "CANCELLED": "cancelled",
    "EXPIRED": "expired",
}
_IN_PATH: Final = re.compile(r"publishers/[^/]+/models/[^/]+")


def _job(told: Mapping[str, Any]) -> dict[str, Json]:
    put, stats, error = told.get("outputInfo") or {}, told.get("completionStats") or {}, told.get("error") or {}
    folder = put.get("gcsOutputDirectory")
    taken = told.get("inputConfig") or {}
    done, failed, left = (int(stats.get(f"{name}Count") or 0) for name in ("successful", "failed", "incomplete"))
    return _told(
        told,
        id=str(told["name"]).rpartition("/")[2],
        status=_STATES.get(str(told.get("state")).removeprefix("JOB_STATE_"), "validating"),
        model=str(told.get("model", "")).rpartition("/")[2] or None,
        input_file_id=next(
            iter((taken.get("gcsSource") or {}).get("uris") or ()), (taken.get("bigquerySource") or {}).get("inputUri") or ""
        ),
        output_file_id=f"{folder}/predictions.jsonl" if folder else put.get("bigqueryOutputTable"),
        errors=_errors(error.get("message"), str(error.get("code"))),
        created_at=epoch(told.get("createTime")) or 0,
        in_progress_at=epoch(told.get("startTime")),
        ended=epoch(told.get("endTime")),
        request_counts={"total": done + failed + max(0, left), "completed": done, "failed": failed},
    )


class NewJob:
    """The model is `model=`, or in the file's path as LiteLLM's uploads have it.

    Results are written next to the calls unless `outputConfig` gives another location.
    """

    def write(self, body: Body, target: Target) -> HttpRequest:
        if "googleapis.com" in target.base_url and "/projects/" not in target.base_url:
            raise BadRequestError(f"{target.provider}: batches belong to a project: use Google credentials instead of a key")
        source = _source(body, target, "gs://", "bq://")
        job = {"displayName": _display_name(body) or "batch", "model": self._model_of(source, target), **self._places(source)}
        return posted(target, _JOBS, {**job, **given(body, *_OURS)})

    @staticmethod
    def _model_of(source: str, target: Target) -> str:
        if target.model == "-" and (found := _IN_PATH.search(source)):
            return found[0]
        model = _model(target, "vertex_ai/gemini-2.5-flash")
        if model.startswith(("publishers/", "projects/")):
            return model
        return f"publishers/{'anthropic' if model.startswith('claude') else 'google'}/models/{model}"

    @staticmethod
    def _places(source: str) -> dict[str, Json]:
        if source.startswith("bq://"):
            return {
                "inputConfig": {"instancesFormat": "bigquery", "bigquerySource": {"inputUri": source}},
                "outputConfig": {"predictionsFormat": "bigquery", "bigqueryDestination": {"outputUri": source.rpartition(".")[0]}},
            }
        return {
            "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [source]}},
            "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": source.rpartition("/")[0]}},
        }

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return _job(answer)


class Jobs:
    """`limit` is supported; `after` is the list's `nextPageToken`."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        names = {"limit": "pageSize", "after": "pageToken"}
        return _asked(target, "GET", _JOBS, {names.get(name, name): value for name, value in given(body).items()})

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        rest = {name: value for name, value in answer.items() if name != "batchPredictionJobs"}
        data = [_job(job) for job in answer.get("batchPredictionJobs") or ()]
        return {**rest, "object": "list", "data": data, "has_more": bool(answer.get("nextPageToken"))}


def _job_path(body: Body) -> str:
    return f"{_JOBS}/{quote(str(body['id']).rpartition('/')[2], safe='')}"


class Job:
    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, "GET", _job_path(body))

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return _job(answer)


class JobCancel:
    """The response is empty."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, "POST", f"{_job_path(body)}:cancel")

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return {**answer, "id": body["id"], "object": "batch", "status": "cancelling"}


# ---- Bedrock -----------------------------------------------------------------------------------------------------------------------

_STATUSES: Final = {
    "Scheduled": "in_progress",
    "InProgress": "in_progress",
    "Completed": "completed",
    "PartiallyCompleted": "completed",
    "Failed": "failed",
    "Stopping": "cancelling",
    "Stopped": "cancelled",
    "Expired": "expired",
}


def _of_the_service(target: Target) -> Target:
    """The target for jobs, which are managed by Bedrock itself rather than its runtime endpoint."""
    return structs.replace(target, base_url=target.base_url.replace("bedrock-runtime", "bedrock", 1))


def _invocation(told: Mapping[str, Any]) -> dict[str, Json]:
    source = ((told.get("inputDataConfig") or {}).get("s3InputDataConfig") or {}).get("s3Uri") or ""
    folder = ((told.get("outputDataConfig") or {}).get("s3OutputDataConfig") or {}).get("s3Uri") or ""
    status, id = _STATUSES.get(str(told.get("status")), "validating"), str(told["jobArn"])
    # Results are in a folder named after the job: one file per input file, named after it with .out appended, and manifest.json.out.
    # AWS's page (docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-results.html) mentions manifest.json.out but not the
    # folder; AWS's sample (github.com/aws-samples/amazon-bedrock-samples, batch-inference-launch-and-compare-jobs.ipynb) reads
    # *.jsonl.out from a job's folder, and third-party programs use the whole path as here. Read 2026-11-29; only tested with the
    # simulator.
    file = source.rpartition("/")[2]
    output = f"{folder.rstrip('/')}/{id.rpartition('/')[2]}/{f'{file}.out' if file else ''}"
    done, failed = (int(told.get(f"{name}RecordCount") or 0) for name in ("success", "error"))
    return _told(
        told,
        id=id,
        status=status,
        model=told.get("modelId"),
        input_file_id=source,
        completion_window=f"{told.get('timeoutDurationInHours') or 24}h",
        output_file_id=output if folder and status == "completed" else None,
        errors=_errors(told.get("message") if status in ("failed", "expired") else None),
        created_at=epoch(told.get("submitTime")) or 0,
        expires_at=epoch(told.get("jobExpirationTime")),
        ended=epoch(told.get("endTime")),
        request_counts={"total": int(told.get("totalRecordCount") or 0), "completed": done, "failed": failed},
    )


class NewInvocation:
    """A new batch, whose results are written to a new folder next to the calls.

    `s3_output_bucket_name` or `outputDataConfig` gives another location. For files uploaded with `create_file`, results
    go to a folder of their own. The job's name is `display_name` in `metadata`, otherwise a unique one, so that the
    same calls can be submitted again.
    """

    takes: Final = {
        "aws_batch_role_arn": "AWS_BATCH_ROLE_ARN",
        "s3_output_bucket_name": "AWS_S3_OUTPUT_BUCKET_NAME",
        "s3_bucket_owner": "AWS_S3_BUCKET_OWNER",
        "s3_encryption_key_id": "AWS_S3_ENCRYPTION_KEY_ID",
        "bedrock_tags": "",
    }

    def write(self, body: Body, target: Target) -> HttpRequest:
        source = _source(body, target, "s3://")
        made = made_for(source)
        model = made[0] if made and made[0] and target.model == "-" else _model(target, "bedrock/anthropic.claude-sonnet-4-6")
        role = body.get("aws_batch_role_arn") or body.get("roleArn")
        if not isinstance(role, str):
            raise BadRequestError(
                f"{target.provider}: pass aws_batch_role_arn=, or set AWS_BATCH_ROLE_ARN, to name a role with access to your bucket"
            )
        job = {
            "jobName": _display_name(body) or f"batch-{new_name()}",
            "modelId": model,
            "roleArn": role,
            **self._places(source, body, made is not None),
            "modelInvocationType": "Converse" if made and made[1] else None,
            "timeoutDurationInHours": _hours(body.get("completion_window")),
            "tags": body.get("bedrock_tags"),
        }
        return posted(_of_the_service(target), "/model-invocation-job", {**given(job), **given(body, *_OURS, *self.takes)})

    @staticmethod
    def _places(source: str, body: Body, made: bool) -> dict[str, Json]:
        bucket, _, path = source.removeprefix("s3://").partition("/")
        within = "/".join(filter(None, (path.rpartition("/")[0], ANSWERS.rstrip("/") if made else "")))
        folder = "/".join(filter(None, ("s3:/", str(body.get("s3_output_bucket_name") or bucket).rstrip("/"), within)))
        whose = given({"s3BucketOwner": body.get("s3_bucket_owner")})
        key = given({"s3EncryptionKeyId": body.get("s3_encryption_key_id")})
        return {
            "inputDataConfig": {"s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": source, **whose}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{folder}/", **whose, **key}},
        }

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return {**_invocation(answer), "input_file_id": body["input_file_id"]}


def _hours(window: Json) -> int | None:
    """A completion window as hours, if a job supports it (24 to 168); None for any other, so that AWS's default applies."""
    hours = int(window[:-1]) if isinstance(window, str) and re.fullmatch(r"\d{1,3}h", window) else 0
    return hours if 24 <= hours <= 168 else None


class Invocations:
    """`limit` is supported; `after` is the list's `nextToken`."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        names = {"limit": "maxResults", "after": "nextToken"}
        query = {names.get(name, name): value for name, value in given(body).items()}
        return _asked(_of_the_service(target), "GET", "/model-invocation-jobs", query)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        rest = {name: value for name, value in answer.items() if name != "invocationJobSummaries"}
        data = [_invocation(job) for job in answer.get("invocationJobSummaries") or ()]
        return {**rest, "object": "list", "data": data, "has_more": bool(answer.get("nextToken"))}


def _invocation_path(body: Body) -> str:
    return f"/model-invocation-job/{quote(str(body['id']), safe='')}"


class Invocation:
    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(_of_the_service(target), "GET", _invocation_path(body))

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return _invocation(answer)


class InvocationStop:
    """The response has no body."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(_of_the_service(target), "POST", f"{_invocation_path(body)}/stop")

    def told(self, response: HttpResponse, body: Body) -> dict[str, Json]:
        return {"id": body["id"], "object": "batch", "status": "cancelling"}

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        """Never called: the response has no body."""
        return dict(answer)


FORMS: Final[Mapping[tuple[str, str], Form]] = {
    ("POST batches", "vertex"): NewJob(),
    ("GET batches", "vertex"): Jobs(),
    ("GET batch", "vertex"): Job(),
    ("POST batch_cancel", "vertex"): JobCancel(),
    ("POST batches", "bedrock"): NewInvocation(),
    ("GET batches", "bedrock"): Invocations(),
    ("GET batch", "bedrock"): Invocation(),
    ("POST batch_cancel", "bedrock"): InvocationStop(),
}
