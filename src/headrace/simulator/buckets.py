"""Simulated S3 and Cloud Storage for the input and output of batches.

Strict about documented behaviour: signatures, which are recomputed where the secret is known, and their scope; tokens;
buckets, names, checksums, sizes, owners. S3 has the bucket in the path, below /s3
(docs.aws.amazon.com/AmazonS3/latest/API and …/userguide/ RESTAuthentication.html, operations as in botocore 1.44.5).
Cloud Storage has its JSON API, as google-cloud-storage 3.17.1 uses it, including names of 1 to 1,024 bytes (`blob.py`);
the sources for sessions are in `dialects/forms/uploads.py` (read 2026-11-29). Multipart uploads: S3's parts must be
present, in order and at least 5 MB except the last; the parts of Cloud Storage's sessions are multiples of 256 KiB
except the last, and continue where the session is.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from email.parser import BytesParser
from email.utils import format_datetime
from itertools import islice
from typing import Any, Final
from urllib.parse import parse_qs, parse_qsl, quote, unquote
from uuid import uuid4
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import msgspec
from msgspec import Struct

from headrace.simulator.asks import Rejected
from headrace.simulator.keeping import acting, moment
from headrace.simulator.openai_api import DECODE, ENCODE

ACCOUNT: Final = "123456789012"
"""AWS account that owns buckets and jobs; Google's project is in the path."""

Pairs = list[tuple[str, str]]


class Asked(Struct, frozen=True):
    """One request: `parts` are the named parts of its path, `query` its query parameters."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    parts: Mapping[str, str]
    query: Mapping[str, str]
    now: int
    raw_query: str = ""


def asked_with(found: re.Match[str], method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, now: int) -> Asked:
    parts = {name: unquote(part) for name, part in found.groupdict().items() if part is not None}
    said = {name: values[-1] for name, values in parse_qs(query).items()}
    return Asked(method, path, headers, body, parts, said, now, query)


class Told(Struct, frozen=True):
    """A response."""

    body: bytes = b""
    status: int = 200
    kind: tuple[str, str] = ("content-type", "application/json")
    headers: Pairs = []


class Object(Struct, frozen=True):
    """An object in a bucket."""

    content: bytes
    made: int
    type: str = "application/octet-stream"
    said: Mapping[str, str] = {}
    """Metadata given with the upload."""

    parts: int = 0
    """Number of parts, if it came by a multipart upload."""

    @property
    def md5(self) -> bytes:
        return hashlib.md5(self.content, usedforsecurity=False).digest()

    @property
    def tag(self) -> str:
        """S3's ETag, which for a multipart upload includes the number of parts."""
        return f'"{self.md5.hex()}-{self.parts}"' if self.parts else f'"{self.md5.hex()}"'

    @property
    def generation(self) -> str:
        """Cloud Storage's generation; differs for other content."""
        return f"{self.made}{zlib.crc32(self.content):010d}"


class Upload(Struct):
    """A multipart upload or session in progress."""

    address: str
    about: Mapping[str, Any]
    parts: dict[int, bytes] = {}
    """Parts by number; a session's bytes are under 0."""


class Buckets:
    """The objects of one provider, by full URL: gs://… and s3://…"""

    def __init__(self, names: Collection[str], secrets: Mapping[str, str], root: str) -> None:
        """`names`: existing buckets; empty means all exist. `secrets`: by access key. `root`: path prefix of the
        provider on a shared port, which is part of what callers sign.
        """
        self._names = names
        self._secrets = secrets
        self._root = root
        self._objects: dict[str, Object] = {}
        self._uploads: dict[str, Upload] = {}
        """By id: uploads and sessions neither completed nor aborted."""
        self._ended: dict[str, Told] = {}
        """The final responses of sessions."""

    @property
    def unfinished(self) -> list[str]:
        """Addresses of uploads neither completed nor aborted, which cost their owner money."""
        return [upload.address for upload in self._uploads.values()]

    def put(self, address: str, content: bytes, now: int) -> None:
        self._objects[address] = Object(content, now)

    def get(self, address: str) -> Object:
        """Raises Rejected for a missing object."""
        if address not in self._objects:
            raise Rejected(404, f"No such object: {address.partition('://')[2]}", code="NoSuchKey")
        return self._objects[address]

    def reply(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, now: int) -> Told | None:
        """The response; None for a path that does not belong here. Raises Rejected."""
        if not _CONCERNED.match(path):
            return None
        act, found = acting(ROUTES, method, path)
        if act is None or found is None:
            return None
        asked = asked_with(found, method, path, query, headers, body, now)
        if not path.startswith("/s3/"):
            self._google_lets_in(asked)
            return act(self, asked)
        try:
            self._amazon_lets_in(asked)
            return act(self, asked)
        except Rejected as error:
            return _refused(error)

    def _listed(self, scheme: str, asked: Asked, begin: str, prefix: str) -> list[tuple[str, Object]]:
        """Objects with names after `begin`, sorted."""
        bucket = f"{scheme}{asked.parts['bucket']}/"
        names = sorted(address.removeprefix(bucket) for address in self._objects if address.startswith(bucket + prefix))
        return [(name, self._objects[bucket + name]) for name in names if name > begin]

    # S3

    def _amazon_lets_in(self, asked: Asked) -> None:
        _signed(asked, self._secrets, self._root)
        if not re.fullmatch(r"[a-z0-9][-.a-z0-9]{1,61}[a-z0-9]", asked.parts["bucket"]):
            raise _aws(400, "InvalidBucketName", "The specified bucket is not valid.")
        if self._names and asked.parts["bucket"] not in self._names:
            raise _aws(404, "NoSuchBucket", "The specified bucket does not exist")
        if asked.headers.get("x-amz-expected-bucket-owner", ACCOUNT) != ACCOUNT:
            raise _aws(403, "AccessDenied", "Access Denied")
        if len(asked.parts.get("name", "").encode()) > 1024:
            raise _aws(400, "KeyTooLongError", "Your key is too long")

    def put_s3(self, asked: Asked) -> Told:
        _whole(asked)
        if "uploadId" in asked.query:
            return self._put_part(asked)
        said, kind = _described(asked)
        made = Object(asked.body, asked.now, kind, said)
        self._objects["s3://{bucket}/{name}".format_map(asked.parts)] = made
        return Told(kind=XML, headers=[("etag", f'"{made.md5.hex()}"'), ("date", _http_date(asked.now))])

    def post_s3(self, asked: Asked) -> Told:
        """Start or complete a multipart upload."""
        _whole(asked)
        if "uploadId" in asked.query:
            return self._complete(asked)
        if asked.raw_query.rstrip("=") != "uploads":
            raise _aws(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
        if asked.body:
            raise _aws(400, "InvalidRequest", "CreateMultipartUpload has no body.")
        id, address = uuid4().hex, "s3://{bucket}/{name}".format_map(asked.parts)
        self._uploads[id] = Upload(address, dict(zip(("said", "type"), _described(asked), strict=True)))
        return _xml("InitiateMultipartUploadResult", {"Bucket": asked.parts["bucket"], "Key": asked.parts["name"], "UploadId": id})

    def _upload(self, asked: Asked) -> Upload:
        found = self._uploads.get(asked.query["uploadId"])
        if found is None or found.address != "s3://{bucket}/{name}".format_map(asked.parts):
            raise _aws(404, "NoSuchUpload", "The specified multipart upload does not exist.")
        return found

    def _put_part(self, asked: Asked) -> Told:
        upload, number = self._upload(asked), asked.query.get("partNumber", "")
        if not number.isdigit() or not 1 <= int(number) <= 10_000:
            raise _aws(400, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
        upload.parts[int(number)] = asked.body
        return Told(kind=XML, headers=[("etag", _tag(asked.body))])

    def _complete(self, asked: Asked) -> Told:
        upload = self._upload(asked)
        try:
            listed = ElementTree.fromstring(asked.body).findall("{*}Part")
        except ElementTree.ParseError:
            raise _aws(400, "MalformedXML", "The XML you provided was not well-formed") from None
        told = [(int(part.findtext("{*}PartNumber") or 0), part.findtext("{*}ETag") or "") for part in listed]
        numbers = [number for number, _ in told]
        if not told or numbers != sorted(set(numbers)):
            raise _aws(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
        for number, tag in told:
            if number not in upload.parts or tag.strip('"') != _tag(upload.parts[number]).strip('"'):
                raise _aws(400, "InvalidPart", f"Part {number} was not found, or its entity tag does not match.")
        if any(len(upload.parts[number]) < SMALLEST for number in numbers[:-1]):
            raise _aws(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
        whole = b"".join(upload.parts[number] for number in numbers)
        made = Object(whole, asked.now, upload.about["type"], upload.about["said"], len(numbers))
        self._objects[upload.address] = made
        del self._uploads[asked.query["uploadId"]]
        said = {"Bucket": asked.parts["bucket"], "Key": asked.parts["name"], "ETag": made.tag}
        answer = _xml("CompleteMultipartUploadResult", said)
        return msgspec.structs.replace(answer, headers=[("date", _http_date(asked.now))])

    def get_s3(self, asked: Asked) -> Told:
        found = self.get("s3://{bucket}/{name}".format_map(asked.parts))
        if asked.headers.get("if-match", found.tag) != found.tag:
            raise _aws(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        said = [(f"x-amz-meta-{name}", value) for name, value in found.said.items()]
        return _content(found, asked, [("etag", found.tag), ("last-modified", _http_date(found.made)), *said])

    def delete_s3(self, asked: Asked) -> Told:
        if "uploadId" in asked.query:
            self._upload(asked)
            del self._uploads[asked.query["uploadId"]]
            return Told(status=204)
        self._objects.pop("s3://{bucket}/{name}".format_map(asked.parts), None)
        return Told(status=204)

    def list_s3(self, asked: Asked) -> Told:
        if asked.raw_query.rstrip("=") == "uploads":
            begun = [(id, one) for id, one in self._uploads.items() if one.address.startswith(f"s3://{asked.parts['bucket']}/")]
            listed = "".join(
                f"<Upload><Key>{escape(one.address.split('/', 3)[3])}</Key><UploadId>{id}</UploadId></Upload>" for id, one in begun
            )
            return _xml("ListMultipartUploadsResult", {"Bucket": asked.parts["bucket"], "IsTruncated": "false"}, listed)
        if asked.query.get("list-type") != "2":
            raise _aws(501, "NotImplemented", "Only ListObjectsV2 is simulated.")
        most = asked.query.get("max-keys", "1000")
        if not most.isdigit():
            raise _aws(400, "InvalidArgument", "Provided max-keys not an integer or within integer range")
        begin = asked.query.get("continuation-token") or asked.query.get("start-after", "")
        found = self._listed("s3://", asked, begin, asked.query.get("prefix", ""))
        shown = found[: min(1000, int(most))]
        more = len(found) > len(shown)
        entries = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>{moment(one.made)}</LastModified><Size>{len(one.content)}</Size></Contents>"
            for name, one in shown
        )
        following = f"<NextContinuationToken>{escape(shown[-1][0])}</NextContinuationToken>" if more and shown else ""
        listing = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{escape(asked.parts['bucket'])}</Name><KeyCount>{len(shown)}</KeyCount><MaxKeys>{most}</MaxKeys>"
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{following}{entries}</ListBucketResult>"
        )
        return Told(listing.encode(), kind=XML)

    # Cloud Storage

    def _google_lets_in(self, asked: Asked) -> None:
        if not asked.headers.get("authorization", "").startswith("Bearer "):
            raise Rejected(401, "Anonymous caller does not have storage.objects access to the Google Cloud Storage object.")
        if self._names and asked.parts["bucket"] not in self._names:
            raise Rejected(404, "The specified bucket does not exist.")

    def put_google(self, asked: Asked) -> Told:
        if asked.query.get("uploadType") == "resumable":
            return self._begun(asked)
        about, content, type = _uploaded(asked)
        return self._google_object(asked, about, content, type)

    def _google_object(self, asked: Asked, about: Mapping[str, Any], content: bytes, type: str) -> Told:
        name = asked.query.get("name") or about.get("name") or ""
        if not name or len(name.encode()) > 1024:
            raise Rejected(400, "An upload needs a name of at most 1024 bytes.", param="name")
        made = Object(content, asked.now, about.get("contentType") or type, about.get("metadata") or {})
        if about.get("md5Hash") not in (None, b64encode(made.md5).decode()):
            raise Rejected(400, f'Provided MD5 hash "{about["md5Hash"]}" doesn\'t match calculated MD5 hash.', param="md5Hash")
        self._objects[f"gs://{asked.parts['bucket']}/{name}"] = made
        return Told(ENCODE(_resource(asked.parts["bucket"], name, made)))

    def _begun(self, asked: Asked) -> Told:
        id, size = uuid4().hex, asked.headers.get("x-upload-content-length", "")
        about = {
            **_decoded(asked.body),
            "size": int(size) if size.isdigit() else None,
            "type": asked.headers.get("x-upload-content-type", ""),
        }
        name = asked.query.get("name") or about.get("name") or ""
        self._uploads[id] = Upload(f"gs://{asked.parts['bucket']}/{name}", about, {0: b""})
        host, there = asked.headers.get("host", ""), f"{self._root}{asked.path}"
        return Told(headers=[("location", f"http://{host}{there}?uploadType=resumable&upload_id={id}"), ("x-guploader-uploadid", id)])

    def _session(self, asked: Asked) -> Upload:
        found = self._uploads.get(asked.query.get("upload_id", ""))
        if found is None:
            raise Rejected(404, "There is no such session.")
        return found

    def go_on(self, asked: Asked) -> Told:
        """A part of a session, or a query for its progress; for a completed session, its object."""
        if (ended := self._ended.get(asked.query.get("upload_id", ""))) is not None:
            return ended
        session = self._session(asked)
        found = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)", asked.headers.get("content-range", ""))
        if found is None or int(found[3]) != (session.about["size"] or int(found[3])):
            raise Rejected(400, "content-range must be bytes first-last/size or bytes */size, of the announced size.")
        have, size = session.parts[0], int(found[3])
        if found[1] is not None:
            first, last = int(found[1]), int(found[2])
            if last - first + 1 != len(asked.body) or last >= size:
                raise Rejected(400, "The length of the body does not match its content-range.")
            if last + 1 < size and len(asked.body) % (256 << 10):
                raise Rejected(400, "Every part except the last must be a multiple of 256 KiB.")
            if first > len(have):
                raise Rejected(503, f"Bytes {len(have)} to {first} are missing.")
            session.parts[0] = have = have[:first] + asked.body if first + len(asked.body) > len(have) else have
        if len(have) < size:
            range = [("range", f"bytes=0-{len(have) - 1}")] if have else []
            return Told(status=308, headers=range)
        del self._uploads[asked.query["upload_id"]]
        self._ended[asked.query["upload_id"]] = told = self._google_object(asked, session.about, have, session.about["type"])
        return told

    def give_up(self, asked: Asked) -> Told:
        self._session(asked)
        del self._uploads[asked.query["upload_id"]]
        return Told(status=499)

    def get_google(self, asked: Asked) -> Told:
        found = self.get("gs://{bucket}/{name}".format_map(asked.parts))
        if asked.query.get("alt") == "media":
            if asked.query.get("ifGenerationMatch", found.generation) != found.generation:
                raise Rejected(412, "At least one of the pre-conditions you specified did not hold.")
            return _content(found, asked, [("x-goog-generation", found.generation)])
        return Told(ENCODE(_resource(asked.parts["bucket"], asked.parts["name"], found)))

    def delete_google(self, asked: Asked) -> Told:
        address = "gs://{bucket}/{name}".format_map(asked.parts)
        self.get(address)
        del self._objects[address]
        return Told(status=204)

    def list_google(self, asked: Asked) -> Told:
        for name in asked.query.keys() - {"prefix", "maxResults", "pageToken", "startOffset"}:
            raise Rejected(400, f"Unknown name {name!r}.", param=name)
        most = int(asked.query.get("maxResults", "1000"))
        found = self._listed("gs://", asked, asked.query.get("pageToken", ""), asked.query.get("prefix", ""))
        found = [one for one in found if one[0] >= asked.query.get("startOffset", "")]
        shown = list(islice(found, most))
        items = [_resource(asked.parts["bucket"], name, one) for name, one in shown]
        following = {"nextPageToken": shown[-1][0]} if len(found) > len(shown) else {}
        return Told(ENCODE({"kind": "storage#objects", **({"items": items} if items else {}), **following}))


# ---- Cloud Storage -----------------------------------------------------------------------------------------------------------------


def _resource(bucket: str, name: str, one: Object) -> dict[str, Any]:
    said = {"kind": "storage#object", "id": f"{bucket}/{name}/{one.made}000", "bucket": bucket, "name": name, "contentType": one.type}
    known = {"size": str(len(one.content)), "md5Hash": b64encode(one.md5).decode(), "timeCreated": moment(one.made)}
    return {**said, **known, **({"metadata": dict(one.said)} if one.said else {})}


def _uploaded(asked: Asked) -> tuple[Mapping[str, Any], bytes, str]:
    """The metadata, content and type of an upload."""
    kind = asked.headers.get("content-type", "")
    if asked.query.get("uploadType") == "media":
        return {}, asked.body, kind
    if asked.query.get("uploadType") != "multipart" or not kind.startswith("multipart/related"):
        raise Rejected(400, "uploadType must be media, or multipart with multipart/related.", param="uploadType")
    boundary = re.search(r'boundary="?([^";]+)', kind)
    parts = asked.body.split(b"--" + boundary[1].encode()) if boundary else []
    if len(parts) != 4 or parts[3].strip() != b"--":
        raise Rejected(400, "Malformed multipart body.")
    [about, content] = (part.removeprefix(b"\r\n").partition(b"\r\n\r\n") for part in parts[1:3])
    return _decoded(about[2]), content[2].removesuffix(b"\r\n"), BytesParser().parsebytes(content[0]).get_content_type()


def _decoded(about: bytes) -> Mapping[str, Any]:
    try:
        told: Mapping[str, Any] = DECODE(about)
    except msgspec.DecodeError:
        raise Rejected(400, "The object's metadata is not JSON.") from None
    return told


def _content(found: Object, asked: Asked, headers: Pairs) -> Told:
    """An object's content, or the requested range of it."""
    kind, size = ("content-type", found.type), len(found.content)
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("range", ""))
    if wanted is None:
        return Told(found.content, kind=kind, headers=headers)
    first, last = int(wanted[1]), int(wanted[2] or size)
    if first >= size:
        raise _aws(416, "InvalidRange", "The requested range is not satisfiable")
    part = found.content[first : last + 1]
    return Told(part, 206, kind, [*headers, ("content-range", f"bytes {first}-{first + len(part) - 1}/{size}")])


# ---- S3 ----------------------------------------------------------------------------------------------------------------------------

XML: Final = ("content-type", "application/xml")
LARGEST: Final = 5 << 30
"""Maximum bytes of an object put in one request, and of a part."""
SMALLEST: Final = 5 << 20
"""Minimum bytes of a part, except the last."""


def _described(asked: Asked) -> tuple[dict[str, str], str]:
    """An object's metadata and type, from the request headers."""
    said = {name.removeprefix("x-amz-meta-"): value for name, value in asked.headers.items() if name.startswith("x-amz-meta-")}
    return said, asked.headers.get("content-type", "binary/octet-stream")


def _tag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def _xml(name: str, said: Mapping[str, str], more: str = "") -> Told:
    inner = "".join(f"<{field}>{escape(value)}</{field}>" for field, value in said.items())
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}{more}</{name}>'
    return Told(body.encode(), kind=XML)


def _aws(status: int, code: str, message: str) -> Rejected:
    return Rejected(status, message, code=code)


def _refused(error: Rejected) -> Told:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>'
    return Told(body.encode(), error.status, XML)


def _http_date(seconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


def _whole(asked: Asked) -> None:
    """Raises Rejected for a body that does not match its headers."""
    if len(asked.body) > LARGEST:
        raise _aws(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
    said = asked.headers["x-amz-content-sha256"]
    if said.startswith("STREAMING-"):
        raise _aws(501, "NotImplemented", "Bodies in signed chunks are not simulated.")
    if said not in ("UNSIGNED-PAYLOAD", hashlib.sha256(asked.body).hexdigest()):
        raise _aws(400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
    for name, sum in _CHECKSUMS.items():
        if asked.headers.get(name) not in (None, b64encode(sum(asked.body)).decode()):
            raise _aws(400, "BadDigest", f"The {name} you specified did not match the calculated checksum.")


_CHECKSUMS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "content-md5": lambda body: hashlib.md5(body, usedforsecurity=False).digest(),
    "x-amz-checksum-crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "x-amz-checksum-sha256": lambda body: hashlib.sha256(body).digest(),
}

_SIGNATURE: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


def _signed(asked: Asked, secrets: Mapping[str, str], root: str) -> None:
    """Raises Rejected for a request that is unsigned, signed for another service or with another secret, or leaves a header unsigned."""
    found = _SIGNATURE.fullmatch(asked.headers.get("authorization", ""))
    if found is None:
        raise _aws(403, "AccessDenied", "Access Denied")
    if found["service"] != "s3":
        raise _aws(400, "AuthorizationHeaderMalformed", f'incorrect service "{found["service"]}"; this endpoint belongs to "s3"')
    signed = found["headers"].split(";")
    if "x-amz-content-sha256" not in asked.headers:
        raise _aws(400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
    if left := [name for name in asked.headers if name not in signed and (name == "host" or name.startswith("x-amz-"))]:
        raise _aws(403, "AccessDenied", f"There were headers present in the request which were not signed: {', '.join(left)}")
    secret = secrets.get(found["key"])
    made = () if secret is None else [_signature(asked, before + asked.path, found, signed, secret) for before in ("", root)]
    if secret is not None and found["signature"] not in made:
        raise _aws(403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")


def _signature(asked: Asked, path: str, found: re.Match[str], signed: list[str], secret: str) -> str:
    """The signature as AWS computes it (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html)."""
    query = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in parse_qsl(asked.raw_query, True))
    canonical = "\n".join([
        asked.method,
        path,
        "&".join(f"{name}={value}" for name, value in query),
        *(f"{name}:{' '.join(asked.headers.get(name, '').split())}" for name in signed),
        "",
        ";".join(signed),
        asked.headers["x-amz-content-sha256"],
    ])  # fmt: skip
    scope = f"{found['day']}/{found['region']}/s3/aws4_request"
    told = "\n".join(["AWS4-HMAC-SHA256", asked.headers.get("x-amz-date", ""), scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in (found["day"], found["region"], "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, told.encode(), "sha256").hex()


_CONCERNED: Final = re.compile(r"/(?:upload/storage|storage|s3)/")
"""Cheap pre-check of every path."""
ROUTES: Final[tuple[tuple[str, str, Callable[[Buckets, Asked], Told]], ...]] = (
    ("POST", r"/upload/storage/v1/b/(?P<bucket>[^/]+)/o", Buckets.put_google),
    ("PUT", r"/upload/storage/v1/b/(?P<bucket>[^/]+)/o", Buckets.go_on),
    ("DELETE", r"/upload/storage/v1/b/(?P<bucket>[^/]+)/o", Buckets.give_up),
    ("GET", r"/storage/v1/b/(?P<bucket>[^/]+)/o", Buckets.list_google),
    ("GET", r"/storage/v1/b/(?P<bucket>[^/]+)/o/(?P<name>[^/]+)", Buckets.get_google),
    ("DELETE", r"/storage/v1/b/(?P<bucket>[^/]+)/o/(?P<name>[^/]+)", Buckets.delete_google),
    ("PUT", r"/s3/(?P<bucket>[^/]+)/(?P<name>.+)", Buckets.put_s3),
    ("POST", r"/s3/(?P<bucket>[^/]+)/(?P<name>.+)", Buckets.post_s3),
    ("GET", r"/s3/(?P<bucket>[^/]+)/?", Buckets.list_s3),
    ("GET", r"/s3/(?P<bucket>[^/]+)/(?P<name>.+)", Buckets.get_s3),
    ("DELETE", r"/s3/(?P<bucket>[^/]+)/(?P<name>.+)", Buckets.delete_s3),
)
