"""Bedrock's files in OpenAI's format, stored in the caller's S3 bucket.

Batch input files are converted to Bedrock's format.

docs.aws.amazon.com/AmazonS3/latest/API (PutObject, GetObject, DeleteObject, ListObjectsV2) and botocore 1.44.5's model
of them. Options, environment variables and object names are LiteLLM 1.106.2's, whose llms/bedrock/files uses path-style
URLs too (read 2026-11-29).
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast
from urllib.parse import quote, unquote, urlencode
from xml.etree import ElementTree

from headrace.dialects.base import Target
from headrace.dialects.forms import BUCKETS, Body, Form
from headrace.dialects.forms.buckets import Bucket, Stored, buckets_of, component, content_of, new_name, place_of, upload_name
from headrace.dialects.forms.cloud_lines import CONVERSE, Answers, Row, bedrocks, openais
from headrace.dialects.forms.dates import epoch
from headrace.dialects.forms.uploads import MOST_PARTS, Asked, Digests, Multipart, part_of
from headrace.errors import BadRequestError
from headrace.multipart import FormFile
from headrace.slices import Steps, at_once
from headrace.types import Json
from headrace.wire import HttpRequest, HttpResponse, Upload

_CALLS: Final = "litellm-bedrock-files-"
_UPLOADS: Final = "litellm-bedrock-files/"
ANSWERS: Final = "litellm-batch-outputs/"
_OURS: Final = "litellm-b"
"""The common prefix of all three."""
_CONVERSE: Final = ".converse.jsonl"
"""The ending of object names for input files in Converse's format."""

_MADE: Final = re.compile(rf"(?:.*/)?{_CALLS}(?P<model>.+)-[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}(?P<end>\.[a-z.]+)")

LARGEST: Final = 5 << 40
"""Maximum object size in bytes.

S3 now accepts larger objects (docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html, read 2026-11-29); Bedrock's
limit for an input file is 1 GB (AWS's quotas, from memory).
"""

_BUCKET: Final = BUCKETS["bedrock"]
_ANSWERED: Final = {"s3_output_bucket_name": "AWS_S3_OUTPUT_BUCKET_NAME"}
_TAKES: Final = {
    **_BUCKET,
    **_ANSWERED,
    "s3_region_name": "",
    "s3_endpoint_url": "AWS_ENDPOINT_URL_S3",
    "s3_bucket_owner": "AWS_S3_BUCKET_OWNER",
    "s3_encryption_key_id": "AWS_S3_ENCRYPTION_KEY_ID",
    "aws_region_name": "AWS_REGION_NAME,AWS_REGION,AWS_DEFAULT_REGION",
}


def made_for(source: str) -> tuple[str, bool] | None:
    """The model of an input file uploaded with `create_file`, and whether its calls are in Converse's format.

    The model is "" if its name does not tell. None for any other file. In the object name, a hyphen replaces the colon
    before a model's version.
    """
    found = _MADE.fullmatch(source)
    if found is None:
        return None
    model = re.sub(r"-v(\d+)-(\d+)$", r"-v\1:\2", found["model"])
    return (model if "." in model else ""), found["end"] == _CONVERSE


_REGION: Final = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-\d+")
_NOTHING: Final = hashlib.sha256(b"").hexdigest()


def _region(body: Body, target: Target) -> str:
    """The bucket's region: `s3_region_name`, the calls' region, or the one in the calls' URL."""
    said = body.get("s3_region_name") or body.get("aws_region_name")
    if not said and (found := _REGION.search(target.base_url.partition("/v1")[0])):
        said = found[0]
    if not said:
        raise BadRequestError(
            f"{target.provider}: the bucket's region is missing: pass s3_region_name= or aws_region_name=, or set AWS_REGION_NAME"
        )
    if not isinstance(said, str) or not _REGION.fullmatch(said):
        raise BadRequestError(f"{target.provider}: s3_region_name must be a region such as eu-central-1, got {str(said)[:40]!r}")
    return said


def _address(region: str, body: Body, target: Target) -> str:
    given = body.get("s3_endpoint_url")
    if not given:
        return f"https://s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
    if not str(given).startswith(("http://", "https://")):
        raise BadRequestError(f"{target.provider}: s3_endpoint_url must begin with http:// or https://, got {str(given)[:40]!r}")
    return str(given).rstrip("/")


def _asked(
    method: str,
    path: str,
    body: Body,
    target: Target,
    headers: Mapping[str, str],
    hash: str = _NOTHING,
    upload: Upload | None = None,
    said: bytes = b"",
) -> HttpRequest:
    """A request to S3, signed with the hash of its body. Bedrock credentials are not sent."""
    region = _region(body, target)
    owner = {"x-amz-expected-bucket-owner": str(body["s3_bucket_owner"])} if body.get("s3_bucket_owner") else {}
    known = tuple({"x-amz-content-sha256": hash, **owner, **headers}.items())
    return HttpRequest(method, f"{_address(region, body, target)}/{path}", known, said, upload=upload, storage=region)


def _buckets(body: Body, target: Target) -> list[Bucket]:
    """The buckets that may hold files: the one for uploads and the one for results."""
    return buckets_of("s3://", body, target, {**_BUCKET, **_ANSWERED})


def _at(body: Body, target: Target) -> str:
    place = place_of(body["id"], _buckets(body, target), target)
    return f"{place.bucket}/{quote(place.name, safe='/~')}"


def _file(id: str, size: int, made: int | None, name: str, purpose: str) -> dict[str, Json]:
    said = {"id": id, "object": "file", "bytes": size, "created_at": made or 0, "filename": name, "purpose": purpose}
    return {**said, "status": "processed", "expires_at": None}


def _purpose_of(id: str) -> str:
    return "batch_output" if ANSWERS in id or id.endswith(".out") else "batch"


class _Read:
    """Base for S3 requests, whose responses are not JSON."""

    takes: Final = _TAKES

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        """Never called: responses are not JSON."""
        return dict(cast("Mapping[str, Json]", answer))


class NewFile(_Read):
    """Batch input files are converted to Bedrock's format, other files uploaded unchanged.

    The content is hashed first and read again while it is sent. Large files are uploaded in parts.
    """

    def write(self, body: Body, target: Target) -> HttpRequest:
        return at_once(self.writing(body, target))

    def writing(self, body: Body, target: Target) -> Steps[HttpRequest]:
        bucket = buckets_of("s3://", body, target, _BUCKET)[0]
        _region(body, target)
        file = body["file"]
        digests = Digests(part_of(file.size if isinstance(file, FormFile) else 0))
        content, first = yield from content_of(body, target, bedrocks, digests)
        if content.size > LARGEST or len(digests) > MOST_PARTS:
            raise BadRequestError(f"file has {content.size} bytes, more than the {LARGEST} that S3 allows")
        name = bucket.folder + (self._calls_name(first) if first else upload_name(_UPLOADS, file))
        headers = {
            "content-type": content.type,
            "x-amz-meta-filename": quote(file.name),
            "x-amz-meta-purpose": quote(str(body.get("purpose") or "user_data")),
        }
        if key := body.get("s3_encryption_key_id"):
            headers |= {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": str(key)}
        path, address = f"{bucket.name}/{quote(name, safe='/~')}", bucket.address(name)
        if len(digests) == 1:
            upload = Stored(content, address, file.name)
            return _asked("PUT", path, body, target, headers, digests.hexdigests()[0], upload)
        parts = Multipart(content, address, file.name, digests, _of_the_object(path, body, target), target)
        return _asked("POST", f"{path}?uploads=", body, target, headers, upload=parts)

    @staticmethod
    def _calls_name(first: Row) -> str:
        end = _CONVERSE if first.dialect == CONVERSE else ".jsonl"
        return f"{_CALLS}{component(first.model.replace(':', '-'), 'model')}-{new_name()}{end}"

    def stored(self, response: HttpResponse, request: HttpRequest, body: Body) -> dict[str, Json]:
        upload = cast("Stored | Multipart", request.upload)
        made = _moment(response.headers.get("date"))
        return _file(upload.address, upload.content.size, made, upload.name, str(body.get("purpose") or "user_data"))


def _of_the_object(path: str, body: Body, target: Target) -> Asked:
    """Builds the requests of a multipart upload."""

    def asked(method: str, query: str, said: bytes = b"", upload: Upload | None = None, hash: str = "", span: str = "") -> HttpRequest:
        hash = hash or hashlib.sha256(said).hexdigest()
        return _asked(method, f"{path}?{query}" if query else path, body, target, {"range": span} if span else {}, hash, upload, said)

    return asked


def _moment(said: str | None) -> int | None:
    try:
        return None if said is None else int(parsedate_to_datetime(said).timestamp())
    except ValueError:
        return None


class File(_Read):
    """Requests one byte of the object: its headers describe the file, and only read permission is needed."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked("GET", _at(body, target), body, target, {"range": "bytes=0-0"})

    def told(self, response: HttpResponse, body: Body) -> dict[str, Json]:
        headers, id = response.headers, str(body["id"])
        size = headers.get("content-range", "").rpartition("/")[2] or headers.get("content-length", "")
        name = unquote(headers.get("x-amz-meta-filename", "")) or posixpath.basename(id)
        purpose = unquote(headers.get("x-amz-meta-purpose", "")) or _purpose_of(id)
        return _file(id, int(size), _moment(headers.get("last-modified")), name, purpose)


class FileDelete(_Read):
    """S3 does not report whether the object existed."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked("DELETE", _at(body, target), body, target, {})

    def told(self, response: HttpResponse, body: Body) -> dict[str, Json]:
        return {"id": body["id"], "object": "file", "deleted": True}


class Files(_Read):
    """Files uploaded with `create_file`, and batch results; `purpose="batch_output"` lists the bucket for results.

    `limit` is supported; `after` is an id.
    """

    def write(self, body: Body, target: Target) -> HttpRequest:
        purpose = body.get("purpose")
        buckets = _buckets(body, target)
        bucket = buckets[-1] if purpose == "batch_output" else buckets[0]
        begin = {"batch_output": ANSWERS, "batch": _CALLS.removesuffix("-")}.get(str(purpose), _OURS)
        query = {"list-type": "2", "prefix": bucket.folder + begin}
        if body.get("limit"):
            query["max-keys"] = str(body["limit"])
        if body.get("after"):
            query["start-after"] = place_of(body["after"], buckets, target).name
        return _asked("GET", f"{bucket.name}/?{urlencode(sorted(query.items()), quote_via=quote)}", body, target, {})

    def told(self, response: HttpResponse, body: Body) -> dict[str, Json]:
        try:
            listing = ElementTree.fromstring(response.body)
        except ElementTree.ParseError as error:
            raise BadRequestError(f"the list of files is not S3's XML: {error}") from None
        bucket = listing.findtext("{*}Name") or ""
        data = [self._listed(entry, bucket) for entry in listing.iterfind("{*}Contents")]
        return {"object": "list", "data": data, "has_more": listing.findtext("{*}IsTruncated") == "true"}

    @staticmethod
    def _listed(entry: Any, bucket: str) -> dict[str, Json]:
        name = entry.findtext("{*}Key") or ""
        id = f"s3://{bucket}/{name}"
        made = epoch(entry.findtext("{*}LastModified"))
        return _file(id, int(entry.findtext("{*}Size") or 0), made, posixpath.basename(name), _purpose_of(id))


class Content(_Read):
    """An object's bytes; a batch's results as OpenAI's lines."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked("GET", _at(body, target), body, target, {})

    def content(self, told: bytes, body: Body, target: Target) -> bytes:
        return at_once(self.reading(told, body, target))

    def reading(self, told: bytes, body: Body, target: Target) -> Steps[bytes]:
        return (yield from openais(told, target))

    def making(self, target: Target) -> Answers:
        return Answers(target)


FORMS: Final[Mapping[tuple[str, str], Form]] = {
    ("POST files", "bedrock"): NewFile(),
    ("GET files", "bedrock"): Files(),
    ("GET file", "bedrock"): File(),
    ("DELETE file", "bedrock"): FileDelete(),
    ("GET file_content", "bedrock"): Content(),
}
