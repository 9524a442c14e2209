"""`/{provider}/…`: a provider's own API with the gateway's keys, for the providers in its configuration only."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec

from headrace.errors import BadRequestError, Kind
from headrace.gateway.context import RequestContext
from headrace.gateway.owned import home_of
from headrace.gateway.passing_kept import ResponseInspection, made_later, way_of
from headrace.gateway.requests import IncomingRequest, refusal
from headrace.gateway.stored_objects import PASSED_NAMES
from headrace.routing.plan import Deployment
from headrace.through import ThroughRequest
from headrace.wire import HeaderPairs

_NOT_PASSED: Final = frozenset({
    "authorization", "x-api-key", "x-goog-api-key", "api-key", "x-litellm-api-key", "cookie", "host", "content-length", "transfer-encoding",
    "connection", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "upgrade", "expect", "accept-encoding",
    "content-encoding", "origin", "referer", "forwarded",
})  # fmt: skip
"""Headers that are not forwarded: credentials above all, and hop-by-hop headers. A compressed body is forwarded decompressed."""

_NOT_PASSED_TO: Final = ("x-forwarded-", "x-headrace-", "x-litellm-", "x-real-", "sec-")

_PLAIN: Final = re.compile(r"[!-~]*")
_MODEL: Final = re.compile(r"(/(?:models?|deployments)/)([^/:?]+)")
"""Where a path names a model: Google's, Bedrock's and Azure's."""

_TOP: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Passing(msgspec.Struct, frozen=True, eq=False):
    """A request to forward, and its deployment."""

    deployment: Deployment
    request: ThroughRequest
    model: str
    """The requested model; the deployment's own if none was named."""
    looking: ResponseInspection | None = None
    """What of the response is read."""
    said: Mapping[str, Any] = {}
    """Fields of the body that are recorded: the end user and metadata."""
    told: Callable[[bytes], bytes] | None = None
    """Converts the whole response; None forwards the provider's own as it arrives."""
    made: Callable[[bytes], Awaitable[None]] | None = None
    """Called with the whole response before it is sent."""
    heads: Callable[[Mapping[str, str]], list[tuple[str, str]]] | None = None
    """Selects the response headers to forward from those of the provider."""
    once: bool = False
    """Whether it must not be retried."""


def provider_of(asked: IncomingRequest, here: RequestContext) -> str | None:
    """The provider that the path begins with, if it is in the configuration."""
    name = asked.path[1:].partition("/")[0]
    return name if _is_served(here, name) else None


def _is_served(here: RequestContext, provider: str) -> bool:
    return any(_provider(deployment) == provider for deployment in _deployments(here))


_OWN: Final[Mapping[str, tuple[str, re.Pattern[str]]]] = {
    "openai_chat": (
        "openai",
        re.compile("/v1/(?:conversations|vector_stores|uploads|containers|fine_tuning|assistants|threads|videos|evals)(?:/.*)?"),
    ),
    "anthropic_messages": ("anthropic", re.compile("/v1/(?:files|skills)(?:/.*)?")),
    "gemini": ("gemini", re.compile("(?:/upload)?/v1(?:beta|alpha)?/.+")),
}
"""By a client's dialect: the provider, and the paths of its API that only this provider has."""

_OTHERWISE: Final[Mapping[str, tuple[str, re.Pattern[str]]]] = {
    "anthropic_messages": ("anthropic", re.compile("/v1/files(?:/.*)?")),
    "gemini": ("gemini", re.compile("/v1/(?:files|batches)(?:/.*)?")),
}
"""The same for paths that OpenAI's API has too, with another meaning."""


def maker_of(asked: IncomingRequest, here: RequestContext, dialect: str, *, known: bool) -> str | None:
    """The provider whose own API the client calls, if it is in the configuration. known: whether OpenAI has the path too."""
    maker, paths = (_OTHERWISE if known else _OWN).get(dialect, ("", None))
    return maker if paths is not None and paths.fullmatch(asked.path) and _is_served(here, maker) else None


async def passing(asked: IncomingRequest, here: RequestContext, provider: str, content: bytes) -> Passing:
    """The request to forward to `provider`.

    Raises a refusal for a model that this caller may not call, for an invalid path, and for objects of another owner.
    """
    path = asked.target.removeprefix(f"/{provider}") or "/"
    if not _PLAIN.fullmatch(path) or {"..", "."} & set(unquote(path.partition("?")[0]).split("/")):
        raise BadRequestError("the path must be one of the provider's, without . and ..")
    way = await way_of(here, asked.method, path)
    fields = _fields(asked, content)
    home = way.home
    if fields is not None:
        body = msgspec.json.decode(content)
        way = made_later(way, body)
        if spoken := await home_of(here, body, PASSED_NAMES):
            home, content = spoken, msgspec.json.encode(body)
            fields = _TOP.decode(content)
    named = _named(fields, path)
    deployment = _deployment(here, provider, named, home)
    own = deployment.model.partition("/")[2]
    if named is not None and named == deployment.group != own:
        path = _MODEL.sub(lambda found: found[1] + quote(own, safe="") if unquote(found[2]) == named else found[0], path, count=1)
        if fields is not None and "model" in fields:
            content = msgspec.json.encode({**fields, "model": msgspec.Raw(msgspec.json.encode(own))})
    request = ThroughRequest(asked.method, _without_key(path), headers_passed(asked), content, pays=way.pays)
    said: dict[str, Any] = {name: msgspec.json.decode(fields[name]) for name in _NOTED if name in fields} if fields else {}
    return Passing(deployment, request, named or own, way.looking, said)


_NOTED: Final = ("user", "metadata")


def _provider(deployment: Deployment) -> str:
    return str(deployment.control.get("custom_llm_provider") or deployment.model.partition("/")[0])


def _deployments(here: RequestContext) -> Iterator[Deployment]:
    for id in here.router.get_model_ids():
        if (found := here.router.get_deployment(id)) is not None:
            yield found


def _deployment(here: RequestContext, provider: str, named: str | None, home: str) -> Deployment:
    """The provider's deployment of the model, or the first that this caller may use. home: the account it must belong to."""
    mine = [one for one in _deployments(here) if _provider(one) == provider and here.caller.may_call(one.group)]
    mine = [one for one in mine if not home or here.router.same_account(home, one.id)]
    for one in mine:
        if named is None or named in (one.group, one.model.partition("/")[2]):
            here.caller.check(one.group)
            return one
    if mine and not here.caller.models:  # who may call every model may also call one that no deployment names
        here.caller.check(mine[0].group)
        return mine[0]
    raise refusal(404, Kind.NOT_FOUND, f"{provider} has no model {named!r} that this key may call", "model")


def _fields(asked: IncomingRequest, content: bytes) -> dict[str, msgspec.Raw] | None:
    """The top level of a JSON body; None for anything but a JSON object."""
    said = "json" in asked.headers.get("content-type", "")
    if not content or not (said or content.lstrip()[:1] == b"{"):  # a provider may accept JSON without its content type
        return None
    try:
        return _TOP.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if not said:
            return None
        raise BadRequestError(f"the body is not a JSON object: {error}") from None


def _named(fields: dict[str, msgspec.Raw] | None, path: str) -> str | None:
    if fields is not None and "model" in fields:
        try:
            return msgspec.json.decode(fields["model"], type=str)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise BadRequestError("model must be a string") from None
    found = _MODEL.search(path)
    return None if found is None else unquote(found[2])


def _without_key(path: str) -> str:
    """The path without the key that Google's clients may send in the query."""
    where, question, query = path.partition("?")
    left = "&".join(part for part in query.split("&") if part.partition("=")[0] != "key")
    return f"{where}?{left}" if question and left else where


def headers_passed(asked: IncomingRequest) -> HeaderPairs:
    """The headers of a request that are forwarded to the provider."""
    kept = [(name, value) for name, value in asked.headers.items() if name not in _NOT_PASSED and not name.startswith(_NOT_PASSED_TO)]
    return tuple(kept)


def passed_error(failure: Any) -> tuple[int, bytes] | None:
    """The status and body of the provider's own error, if there is one."""
    if failure.status is None or failure.body is None:
        return None
    return failure.status, failure.body.encode() if isinstance(failure.body, str) else msgspec.json.encode(failure.body)
