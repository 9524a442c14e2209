"""Google's resumable uploads: started at one URL and sent in chunks to another, which the gateway replaces by its own.

Google's clients send no key with the chunks. The URL names the upload's owner, sealed, so any process of the gateway
accepts them. Large chunks are spooled to disk. None is retried: the client asks how much has arrived and continues from
there.

ai.google.dev/api/files, and google-genai 3.6; read 2026-11.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from msgspec import Struct

from headrace.errors import Kind
from headrace.gateway.callers import Caller, Role
from headrace.gateway.context import RequestContext
from headrace.gateway.forms import ReadForm
from headrace.gateway.passing import Passing, headers_passed, passing
from headrace.gateway.passing_kept import ResponseInspection
from headrace.gateway.requests import IncomingRequest, Receive, Scope, pieces_of, read_body, refusal
from headrace.multipart import Spool
from headrace.seals import opens, seal_of
from headrace.through import ThroughRequest

if TYPE_CHECKING:
    from headrace.gateway.app import Gateway

_PROVIDER: Final = "gemini"
_PATH: Final = re.compile(r"(?:/gemini)?/upload/v1(?:beta|alpha)?/.+")
_TOLD: Final = ("x-goog-upload-status", "x-goog-upload-size-received", "x-goog-upload-chunk-granularity")
_URL: Final = "x-goog-upload-url"
_MASTER: Final = "*"


def resumes(asked: IncomingRequest) -> bool:
    """Whether it starts or continues a resumable upload. Other uploads are forwarded like any other request of Google's API."""
    return asked.method == "POST" and _PATH.fullmatch(asked.path) is not None and ("upload_id" in asked.query or _begins(asked))


def _begins(asked: IncomingRequest) -> bool:
    return asked.headers.get("x-goog-upload-protocol") == "resumable" and "start" in asked.headers.get("x-goog-upload-command", "")


class Place(Struct, frozen=True, array_like=True):
    """Where an upload continues, and whose it is."""

    deployment: str
    path: str
    """Path and query at the provider's host."""
    key: str
    """The id of the key that started it; `_MASTER` for the master key, "" if the caller must authenticate again."""
    owner: str
    mark: str = ""

    def sealed(self, secret: str) -> str:
        """The upload id for the client: the place and its seal."""
        mark = seal_of(secret, "upload", self.deployment, self.path, self.key, self.owner)
        return urlsafe_b64encode(msgspec.json.encode(msgspec.structs.replace(self, mark=mark))).decode().rstrip("=")

    def opens(self, secret: str) -> bool:
        """Whether the seal is valid."""
        return opens(secret, self.mark, "upload", self.deployment, self.path, self.key, self.owner)


async def read(gateway: Gateway, asked: IncomingRequest, scope: Scope, receive: Receive) -> tuple[RequestContext, Passing]:
    """What has arrived of an upload, and the request to forward. Raises Left and HeadraceError."""
    place = None if _begins(asked) else _place(asked.query["upload_id"])
    caller = await _caller(gateway, asked, scope, place)
    here = RequestContext(gateway.router, caller, ReadForm(), gateway.stored_objects)
    if place is None:
        sent = await passing(asked, here, _PROVIDER, await read_body(receive, asked.headers, gateway.settings.max_body))
        begun = _Begun(sent, caller, _secret(gateway, caller), _address(asked, scope))
        return here, msgspec.structs.replace(sent, looking=None, heads=begun.heads)
    spool = Spool("")
    async for piece in pieces_of(receive, asked.headers, gateway.settings.max_upload):
        spool.write(piece)
    return here, _piece(here, asked, place, spool)


def _secret(gateway: Gateway, caller: Caller) -> str:
    return gateway.settings.key or caller.secret or "-"


def _place(id: str) -> Place:
    try:
        return msgspec.json.decode(urlsafe_b64decode(id + "=" * (-len(id) % 4)), type=Place)
    except (NotBase64, ValueError):
        raise _unknown() from None


def _unknown() -> Exception:
    return refusal(404, Kind.NOT_FOUND, "there is no such upload", "upload_id")


async def _caller(gateway: Gateway, asked: IncomingRequest, scope: Scope, place: Place | None) -> Caller:
    """The caller: the one named in the URL, if that is sealed with the master key; else by the key in the request."""
    if place is not None and place.key and gateway.settings.key and place.opens(gateway.settings.key):
        found = await (gateway.keys.find_administrator() if place.key == _MASTER else gateway.keys.named(place.key))
        if found is None:
            raise refusal(401, Kind.AUTHENTICATION, "the key that started this upload no longer exists")
        return await gateway.admit(asked, scope, found)
    caller = await gateway.admit(asked, scope)
    if place is not None and not (place.opens(_secret(gateway, caller)) and place.owner == caller.owner):
        raise _unknown()
    return caller


class _Begun(Struct, frozen=True, eq=False):
    """An upload that is about to start."""

    sent: Passing
    caller: Caller
    secret: str
    address: str

    def heads(self, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """Headers of the provider's response, with the gateway's URL for the chunks. A key in Google's URL is removed."""
        told = _told(headers)
        if url := headers.get(_URL):
            where = urlsplit(url)
            query = urlencode([(name, value) for name, value in parse_qsl(where.query) if name != "key"])
            path = where.path[max(0, where.path.find("/upload/")) :]
            who = self.caller.key or (_MASTER if self.caller.role is Role.ADMIN else "")
            place = Place(self.sent.deployment.id, f"{path}?{query}", who, self.caller.owner)
            told.append((_URL, f"{self.address}?{urlencode({'upload_id': place.sealed(self.secret), 'upload_protocol': 'resumable'})}"))
        return told


def _told(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, headers[name]) for name in _TOLD if name in headers]


def _address(asked: IncomingRequest, scope: Scope) -> str:
    """The URL of this request as its client knows it, also behind a proxy."""
    scheme = asked.headers.get("x-forwarded-proto") or scope.get("scheme", "http")
    host = asked.headers.get("x-forwarded-host") or asked.headers.get("host", "localhost")
    return f"{scheme}://{host}{asked.path}"


def _piece(here: RequestContext, asked: IncomingRequest, place: Place, spool: Spool) -> Passing:
    deployment = here.router.get_deployment(place.deployment)
    if deployment is None or not here.may_use(place.deployment):
        raise _unknown()
    request = ThroughRequest("POST", place.path, headers_passed(asked), upload=spool if spool.size else None)
    files = place.path.partition("?")[0].endswith("/files")
    last = "finalize" in asked.headers.get("x-goog-upload-command", "")
    looking = ResponseInspection("made", "files") if files and last and here.caller.role is not Role.ADMIN else None
    return Passing(deployment, request, deployment.model.partition("/")[2], looking, heads=_told, once=True)
