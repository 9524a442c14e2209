"""Batches of a simulated Vertex AI and Bedrock, with input and output in `buckets`.

Strict about documented behaviour: fields, their formats, the signature's service, which states can be cancelled. A job
is processed when it is first polled, like those of `keeping`. Vertex: the REST reference of
projects.locations.batchPredictionJobs and google-genai 3.4.0.
Bedrock: the operations …ModelInvocationJob of botocore 1.44.5, and docs.aws.amazon.com/bedrock/latest/userguide/
batch-inference-results.html (read 2026-11-29). A signature is checked for its key and service, but not recomputed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.simulator.asks import Rejected
from headrace.simulator.buckets import ACCOUNT, Asked, Buckets, asked_with
from headrace.simulator.cloud_fields import INVOCATION, PREDICTION, checked, one_of
from headrace.simulator.keeping import Answerer, acting, moment
from headrace.simulator.openai_api import DECODE, ENCODE, json_of


class Job(Struct):
    """A job as its cloud reports it, and its internal state."""

    id: str
    told: dict[str, Any]
    stopping: bool = False
    ended: bool = False


class Clouds:
    """The batch jobs of one provider on both clouds."""

    def __init__(self, answer: Answerer, buckets: Buckets) -> None:
        self._answer = answer
        self._buckets = buckets
        self._jobs: dict[str, Job] = {}
        self._numbers = count(1)

    def reply(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, now: int) -> bytes | None:
        """The body of the response; None for a path that does not belong here. Raises Rejected."""
        if not _CONCERNED.match(path):
            return None
        act, found = acting(ROUTES, method, path)
        if act is None or found is None:
            return None
        made = act(self, asked_with(found, method, path, query, headers, body, now))
        return made if isinstance(made, bytes) else ENCODE(made)

    # Vertex AI

    def new_prediction(self, asked: Asked) -> Any:
        said = checked(json_of(asked.body), PREDICTION, "")
        uris = one_of(said["inputConfig"], "inputConfig", ("gcsSource", "bigquerySource")).get("uris") or ()
        one_of(said["outputConfig"], "outputConfig", ("gcsDestination", "bigqueryDestination"))
        if said["inputConfig"]["instancesFormat"] != "jsonl" or not uris:
            raise Rejected(400, "Only gcsSource with instancesFormat 'jsonl' is simulated.", param="inputConfig.instancesFormat")
        id = f"{next(self._numbers):019d}"
        place = "projects/{project}/locations/{location}".format_map(asked.parts)
        told = {**said, "name": f"{place}/batchPredictionJobs/{id}", "state": "JOB_STATE_PENDING", "createTime": moment(asked.now)}
        self._jobs[id] = Job(id, {**told, "updateTime": told["createTime"]})
        return self._jobs[id].told

    def prediction(self, asked: Asked) -> Any:
        job = self._job(asked.parts["id"], "batchPredictionJobs")
        if job.ended:
            return job.told
        job.ended, job.told["endTime"] = True, moment(asked.now)
        if job.stopping:
            job.told["state"] = "JOB_STATE_CANCELLED"
            return job.told
        try:
            self._predict(job, asked.now)
        except Rejected as error:
            job.told |= {"state": "JOB_STATE_FAILED", "error": {"code": 3, "message": error.message}}
        return job.told

    def _predict(self, job: Job, now: int) -> None:
        [publisher, model] = re.search(r"publishers/([^/]+)/models/([^/]+)", job.told["model"]).groups()  # type: ignore[union-attr]
        path = "/v1/messages" if publisher == "anthropic" else f"/v1/models/{model}:generateContent"
        add = {"model": model} if publisher == "anthropic" else {}
        lines = [self._predicted(line, path, add, now) for uri in job.told["inputConfig"]["gcsSource"]["uris"] for line in self._lines(uri)]
        prefix = job.told["outputConfig"]["gcsDestination"]["outputUriPrefix"].rstrip("/")
        folder = f"{prefix}/prediction-model-{moment(now)}"
        self._buckets.put(f"{folder}/predictions.jsonl", _file(lines), now)
        good = sum(not line["status"] for line in lines)
        counts = {"successfulCount": str(good), "failedCount": str(len(lines) - good)}
        job.told |= {
            "state": "JOB_STATE_SUCCEEDED",
            "startTime": moment(now),
            "completionStats": {name: value for name, value in counts.items() if value != "0"},
            "outputInfo": {"gcsOutputDirectory": folder},
        }

    def _predicted(self, line: dict[str, Any], path: str, add: Mapping[str, Any], now: int) -> dict[str, Any]:
        if "embedding" in path:
            return {**line, **self._embedded_text(line, path), "processed_time": moment(now)}
        request = {name: value for name, value in line["request"].items() if name not in ("anthropic_version", "labels")}
        status, body = self._answer(path, ENCODE({**request, **add}))
        if any(not _LABEL.fullmatch(f"{name}:{value}") for name, value in (line["request"].get("labels") or {}).items()):
            status, body = 400, b'{"error": {"code": 400, "message": "Invalid resource label.", "status": "INVALID_ARGUMENT"}}'
        said = {"status": "" if status < 300 else f"Bad Request: {body.decode()}", "processed_time": moment(now)}
        return {**line, **said, "response": DECODE(body) if status < 300 else {}}

    def _embedded_text(self, line: dict[str, Any], path: str) -> dict[str, Any]:
        """Gemini's embeddings, one text per line. An unknown field fails the whole job, as litellm 1.106.2 found."""
        if strange := [*(line.keys() - {"key", "request"}), *(line["request"].keys() - _EMBEDDING)]:
            raise Rejected(400, f"Failed to parse the input: no such field: '{min(strange)}'.")
        [part] = line["request"]["content"]["parts"]
        sizes = {"dimensions": line["request"]["output_dimensionality"]} if "output_dimensionality" in line["request"] else {}
        [model] = re.findall(r"models/([^/:]+)", path)
        status, body = self._answer("/v1/embeddings", ENCODE({"model": model, "input": part["text"], **sizes}))
        answer = DECODE(body)
        if status >= 300:
            return {"status": f"Bad Request: {body.decode()}", "response": {}}
        usage = {"promptTokenCount": answer["usage"]["prompt_tokens"]}
        return {"status": "", "response": {"embedding": {"values": answer["data"][0]["embedding"]}, "usageMetadata": usage}}

    def predictions(self, asked: Asked) -> Any:
        jobs = [job.told for job in self._jobs.values() if "name" in job.told]
        return _page(jobs, asked, ("batchPredictionJobs", "pageSize", "pageToken", "nextPageToken"))

    def cancel_prediction(self, asked: Asked) -> Any:
        job = self._job(asked.parts["id"], "batchPredictionJobs")
        if job.ended:
            raise Rejected(400, f"The job is in state {job.told['state']} and cannot be cancelled.")
        job.stopping, job.told["state"] = True, "JOB_STATE_CANCELLING"
        return {}

    # Bedrock

    def new_invocation(self, asked: Asked) -> Any:
        _signed_for("bedrock", asked)
        said = checked(json_of(asked.body), INVOCATION, "")
        if any("jobName" in job.told and job.told["jobName"] == said["jobName"] for job in self._jobs.values()):
            raise _aws(400, "ValidationException", "The provided job name is currently in use.")
        id = f"{next(self._numbers):012d}"
        arn = f"arn:aws:bedrock:{_region(asked.headers)}:{ACCOUNT}:model-invocation-job/{id}"
        told = {"timeoutDurationInHours": 24, **said, "jobArn": arn, "status": "Submitted", "submitTime": moment(asked.now)}
        self._jobs[id] = Job(id, {name: value for name, value in told.items() if name != "tags"})
        return {"jobArn": arn}

    def invocation(self, asked: Asked) -> Any:
        _signed_for("bedrock", asked)
        job = self._job(_named(asked.parts["id"]), "model-invocation-job")
        if job.ended:
            return job.told
        job.ended = True
        job.told |= {"endTime": moment(asked.now), "lastModifiedTime": moment(asked.now)}
        if job.stopping:
            job.told["status"] = "Stopped"
            return job.told
        try:
            self._invoke(job, asked.now)
        except Rejected as error:
            job.told |= {"status": "Failed", "message": error.message}
        return job.told

    def _invoke(self, job: Job, now: int) -> None:
        source = job.told["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]
        folder = job.told["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].rstrip("/")
        lines = [self._invoked(line, job.told) for line in self._lines(source)]
        good = sum("modelOutput" in line for line in lines)
        counts = {
            "totalRecordCount": len(lines),
            "processedRecordCount": len(lines),
            "successRecordCount": good,
            "errorRecordCount": len(lines) - good,
        }
        self._buckets.put(f"{folder}/{job.id}/{source.rpartition('/')[2]}.out", _file(lines), now)
        self._buckets.put(f"{folder}/{job.id}/manifest.json.out", ENCODE(counts), now)
        job.told |= {"status": "Completed", **counts}

    def _invoked(self, line: dict[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
        given = {"recordId": f"CALL{next(self._numbers):07d}", **line}
        asked = given["modelInput"]
        path = "/model/converse"
        if "inputText" in asked:
            return {**given, **self._embedded(asked, told)}
        if told.get("modelInvocationType", "InvokeModel") == "InvokeModel":
            path = "/v1/messages"
            if asked.pop("anthropic_version", None) != "bedrock-2023-05-31":
                return {**given, "error": {"errorCode": 400, "errorMessage": "anthropic_version: Field required"}}
        status, body = self._answer(path, ENCODE({"model": told["modelId"], **asked}))
        answer = DECODE(body)
        if status < 300:
            return {**given, "modelOutput": answer}
        message = answer.get("message") or answer.get("error", {}).get("message")
        return {**given, "error": {"errorCode": status, "errorMessage": message}}

    def _embedded(self, asked: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
        """Titan's embeddings, which only InvokeModel offers."""
        strange = asked.keys() - {"inputText", "dimensions", "normalize", "embeddingTypes"}
        if strange or not isinstance(asked["inputText"], str) or "modelInvocationType" in told:
            return {"error": {"errorCode": 400, "errorMessage": "Malformed input request, please reformat your input and try again."}}
        sizes = {name: asked[name] for name in ("dimensions",) if name in asked}
        status, body = self._answer("/v1/embeddings", ENCODE({"model": told["modelId"], "input": asked["inputText"], **sizes}))
        answer = DECODE(body)
        if status >= 300:
            return {"error": {"errorCode": status, "errorMessage": answer["error"]["message"]}}
        return {"modelOutput": {"embedding": answer["data"][0]["embedding"], "inputTextTokenCount": answer["usage"]["prompt_tokens"]}}

    def invocations(self, asked: Asked) -> Any:
        _signed_for("bedrock", asked)
        jobs = [job.told for job in reversed(self._jobs.values()) if "jobArn" in job.told]
        return _page(jobs, asked, ("invocationJobSummaries", "maxResults", "nextToken", "nextToken"))

    def stop_invocation(self, asked: Asked) -> bytes:
        _signed_for("bedrock", asked)
        job = self._job(_named(asked.parts["id"]), "model-invocation-job")
        if job.ended:
            raise _aws(409, "ConflictException", f"The job is {job.told['status']} and cannot be stopped.")
        job.stopping, job.told["status"] = True, "Stopping"
        return b"{}"

    # Both

    def _job(self, id: str, kind: str) -> Job:
        job = self._jobs.get(id)
        if job is None or not any(kind in str(job.told.get(name)) for name in ("name", "jobArn")):
            raise Rejected(404, f"The {kind} {id} does not exist.", headers=[("x-amzn-errortype", "ResourceNotFoundException")])
        return job

    def _lines(self, address: str) -> Iterator[dict[str, Any]]:
        for line in self._buckets.get(address).content.splitlines():
            try:
                yield DECODE(line)
            except msgspec.DecodeError as error:
                raise Rejected(400, f"{address}: a line is not JSON: {error}") from None


# ---- formats -----------------------------------------------------------------------------------------------------------------------


def _page(jobs: list[Any], asked: Asked, names: tuple[str, str, str, str]) -> dict[str, Any]:
    """One page of jobs. `names`: field of the list, parameters of page size and token, and field of the next token."""
    listed, size, token, following = names
    for name in asked.query:
        if name not in (size, token):
            raise Rejected(400, f'Unknown name "{name}": Cannot bind query parameter.', param=name)
    most, begin = (asked.query.get(name, default) for name, default in ((size, "100"), (token, "0")))
    if not most.isdigit() or not begin.isdigit() or not 1 <= int(most) <= 1000:
        raise Rejected(400, f"{size} must be from 1 to 1000, and {token} a token of a previous page.", param=size)
    end = int(begin) + int(most)
    return {listed: jobs[int(begin) : end], **({following: str(end)} if end < len(jobs) else {})}


_EMBEDDING: Final = frozenset({"content", "output_dimensionality", "task_type", "title", "auto_truncate"})

_LABEL: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}:[a-z0-9_-]{0,63}")
"""A label's name and value (cloud.google.com/resource-manager/docs/labels-overview, read 2026-11-29); letters of other
scripts are not simulated.
"""


def _file(lines: list[dict[str, Any]]) -> bytes:
    return b"".join(ENCODE(line) + b"\n" for line in lines)


_SIGNED: Final = re.compile(r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,]+)/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request,.*")


def _signed_for(service: str, asked: Asked) -> None:
    """Raises Rejected for a request without key or signature, or one signed for another service."""
    said = asked.headers.get("authorization", "")
    found = _SIGNED.fullmatch(said)
    if found is not None and found["service"] != service:
        raise _aws(403, "InvalidSignatureException", f"Credential should be scoped to correct service: '{service}'.")
    if found is None and not (said.lower().startswith("bearer ") and service == "bedrock"):
        raise _aws(403, "MissingAuthenticationTokenException", "Missing Authentication Token")


def _region(headers: Mapping[str, str]) -> str:
    found = _SIGNED.fullmatch(headers.get("authorization", ""))
    return "us-east-1" if found is None else found["region"]


def _aws(status: int, kind: str, message: str) -> Rejected:
    return Rejected(status, message, code=kind, headers=[("x-amzn-errortype", kind)])


def _named(id: str) -> str:
    """The job's id, given as such or as its full ARN."""
    if not re.fullmatch(rf"(arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{{1,20}}:{ACCOUNT}:model-invocation-job/)?[a-z0-9]{{12}}", id):
        raise _aws(400, "ValidationException", "Value at 'jobIdentifier' failed to satisfy constraint.")
    return id.rpartition("/")[2]


_PREDICTIONS: Final = r"/v1(?:beta1)?/projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/batchPredictionJobs"
_INVOCATION: Final = r"(?:/v1)?/model-invocation-job"
"""With and without the version that the simulator's base URLs end in; AWS's have none."""
_CONCERNED: Final = re.compile(r".*/(?:batchPredictionJobs|model-invocation-job)")
"""Cheap pre-check of every path."""
ROUTES: Final[tuple[tuple[str, str, Callable[[Clouds, Asked], Any]], ...]] = (
    ("POST", _PREDICTIONS, Clouds.new_prediction),
    ("GET", _PREDICTIONS, Clouds.predictions),
    ("GET", rf"{_PREDICTIONS}/(?P<id>[^/:]+)", Clouds.prediction),
    ("POST", rf"{_PREDICTIONS}/(?P<id>[^/:]+):cancel", Clouds.cancel_prediction),
    ("POST", _INVOCATION, Clouds.new_invocation),
    ("GET", rf"{_INVOCATION}s", Clouds.invocations),
    ("GET", rf"{_INVOCATION}/(?P<id>[^/]+)", Clouds.invocation),
    ("POST", rf"{_INVOCATION}/(?P<id>[^/]+)/stop", Clouds.stop_invocation),
)
