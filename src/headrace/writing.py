"""Builds the HTTP request of one attempt, in the dialect of its destination."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlencode

import msgspec

from headrace.calls import CHAT, COMPLETIONS, EMBEDDINGS, Call, Operation, encode, shape
from headrace.counted import COUNT
from headrace.destinations import Destination
from headrace.dialects.base import Target
from headrace.errors import BadRequestError
from headrace.objects import Json
from headrace.providers.hybrids import PLAIN, enveloped, filled, first_set
from headrace.providers.quirks import apply
from headrace.wire import HeaderPairs, HttpRequest

if TYPE_CHECKING:
    from headrace.dialects.forms import Formed
    from headrace.dialects.serve import Served
    from headrace.dialects.translate import Translation
    from headrace.through import Through

    Spoken: TypeAlias = Translation | Served | Formed | Through

OPENAI: Final = "openai_chat"


def write(call: Call, to: Destination, translation: Spoken | None = None) -> HttpRequest:
    """The HTTP request of one attempt."""
    control = {**to.options, **call.control} if to.options else call.control
    if translation is not None:
        request = translation.write()
        if not call.operation.of:  # files and batches have no envelope
            request = enveloped(to.provider.envelope, request)
        operation = translation.operation
        if operation not in to.provider.forms:
            operation = _OWN_PLACES.get(operation, "chat")
        url = _place(call, to, operation) or request.url
        if call.operation is COUNT:
            from headrace.dialects.counts import COUNTS, question  # late: few programs count tokens

            request = question(COUNTS[to.provider.dialect], request, url)
            url = request.url
        return _asked(msgspec.structs.replace(request, url=""), url, to, control)
    body = _body(call, to, control)
    if extra := _extra_body(control):
        body |= extra
    return _asked(_request(call.operation, body, to.headers), to.base_url + _path(call, to), to, control)


_OWN_PLACES: Final[Mapping[str, str]] = {"embeddings": "embeddings", "responses": "responses"}
"""Operations of other dialects that a row may give a path of their own; all others use the path of chats."""


def _place(call: Call, to: Destination, operation: str) -> str:
    """The URL that the row configures for an operation; empty if the dialect's or form's own path applies.

    An absolute URL belongs to the provider's own service; at a caller's base URL, the form's path applies.
    """
    own = to.provider.own_path(operation, stream=call.stream)
    if "://" in own:
        return filled(own, to.place or to.model, call.place, keep="/") if to.base_url == to.provider.base_url else ""
    return to.base_url + filled(own, to.place or to.model, call.place) if own else ""


def _path(call: Call, to: Destination) -> str:
    return filled(to.provider.path(call.operation.name, stream=call.stream), to.model, call.place)


def _request(operation: Operation, body: dict[str, Json], headers: HeaderPairs) -> HttpRequest:
    """The request with its body as JSON, as a form if it holds files, or as a query for methods other than POST."""
    if operation.method != "POST":
        return HttpRequest(operation.method, f"?{urlencode(body)}" if body else "", headers)
    if not operation.files:
        return HttpRequest("POST", "", headers, encode(body))
    from headrace.multipart import form_of  # late: few calls send files

    form = form_of(body)
    kept = [(name, value) for name, value in headers if name != "content-type"]
    return HttpRequest("POST", "", (*kept, ("content-type", form.content_type)), upload=form)


def _body(call: Call, to: Destination, control: Mapping[str, Any]) -> dict[str, Json]:
    if not call.operation.named:
        return dict(call.body)
    body: dict[str, Json] = {"model": to.model, **to.defaults, **call.body} if to.defaults else {"model": to.model, **call.body}
    return apply(to.provider, body, operation=call.operation.name, drop_params=bool(control.get("drop_params")))


def _extra_body(control: Mapping[str, Any]) -> Mapping[str, Any] | None:
    extra = control.get("extra_body")
    if extra is not None and not isinstance(extra, Mapping):
        raise BadRequestError(f"extra_body must be a mapping, got {shape(extra)}")
    return extra


def _asked(request: HttpRequest, url: str, to: Destination, control: Mapping[str, Any]) -> HttpRequest:
    """The request at its URL, with query parameters of the destination and the caller."""
    url += request.url
    query = to.query
    if version := control.get("api_version"):
        query = {**query, to.provider.version.query: version}
    if extra := control.get("extra_query"):
        query = {**query, **extra}
    if query:
        url += ("&" if "?" in url else "?") + urlencode(query)
    return msgspec.structs.replace(request, url=url)


def translation_of(call: Call, to: Destination) -> Spoken | None:
    """The call in its provider's dialect or form; None if that is OpenAI's own."""
    if call.operation.name == "passed":
        from headrace.through import Through  # late: only gateways pass requests through

        return Through(to, call.body["request"])
    if call.operation.dialect != OPENAI:
        return _served(call, to)
    if call.operation.stored:
        _must_speak(to, "openai_responses")
        return None
    if form := to.provider.forms.get(call.operation.offer):
        return _formed(call, to, form)
    dialect = to.provider.dialect_of(call.operation.name)
    if dialect == OPENAI and not (call.operation is COMPLETIONS and mock_of(call, to) is None and _only_chats(to)):
        return None
    from headrace.dialects.translate import plain, translate  # late: callers of OpenAI's dialect alone do not load others

    if call.operation not in _TRANSLATED:
        raise BadRequestError(f"{to.provider.name} has no {call.operation.name.replace('_', ' ')}", to.model, to.provider.name)
    control = {**to.options, **call.control} if to.options else call.control
    _extra_body(control)
    target = _target(to, OPENAI)
    body = plain(_body(call, to, control))
    if points := control.get("cache_control_injection_points"):
        from headrace.dialects.cache_points import pointed  # late: few callers set cache points

        body = pointed(body, points)
    return translate(dialect, target, call.operation.name, body, control)


def _target(to: Destination, source: str = "", *, drop_params: bool = False) -> Target:
    return Target(to.provider.name, to.model, to.base_url, to.headers, source, to.place, drop_params, int(time.time()))


def _only_chats(to: Destination) -> bool:
    """Whether this is one of OpenAI's models that the legacy completions endpoint rejects, as nearly all current ones."""
    if to.provider.name not in ("openai", "azure"):
        return False
    from headrace.models.facts import catalogue  # late: few callers use text completions

    facts = catalogue.find(to.model, to.provider.name)
    return facts is not None and facts.get("mode") == "chat"


def _served(call: Call, to: Destination) -> Served:
    """The call of a caller who uses a dialect other than Chat Completions."""
    from headrace.dialects.serve import serve  # late: callers of OpenAI's dialect alone do not load others

    if "chat" in to.provider.forms:
        raise BadRequestError(f"{to.provider.name} is only supported by completion", to.model, to.provider.name)
    caller = call.operation.dialect
    control = {**to.options, **call.control} if to.options else call.control
    _extra_body(control)
    spoken = caller if caller in to.provider.speaks else to.provider.dialect
    body: dict[str, Json] = {"model": to.model, **_standing(to.defaults, caller), **call.body}
    finish = partial(apply, to.provider, operation="chat", drop_params=bool(control.get("drop_params")))
    target = _target(to)
    most = _most_output(to) if caller == "anthropic_messages" != spoken else None
    return serve(caller, spoken, target, body, control, stream=call.stream, finish=finish, most=most)


def _most_output(to: Destination) -> int | None:
    """The model's maximum output tokens, if known: from the deployment's `model_info` or the catalog."""
    if isinstance(most := to.options.get("max_output_tokens"), int):
        return most
    from headrace.models.info import find  # late: for translated Messages only

    most = (find(to.options.get("base_model") or f"{to.provider.name}/{to.model}") or {}).get("max_output_tokens")
    return most if isinstance(most, int) else None


def _standing(defaults: Mapping[str, Json], caller: str) -> dict[str, Json]:
    """A deployment's default body parameters, which have OpenAI's names, renamed for the caller's dialect."""
    words = _STANDING_WORDS.get(caller, {})
    return {words.get(name, name): value for name, value in defaults.items() if words.get(name, name)} if words else {}


_STANDING_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "openai_responses": {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens", "stop": "", "seed": "", "n": ""},
    "anthropic_messages": {"max_completion_tokens": "max_tokens", "stop": "stop_sequences", "seed": "", "n": "", "user": ""},
}
"""Empty: the dialect has no such parameter."""


def _must_speak(to: Destination, dialect: str) -> None:
    """Raises BadRequestError if the provider does not store responses."""
    if dialect != to.provider.dialect and dialect not in to.provider.speaks:
        raise BadRequestError(
            f"{to.provider.name} stores no responses: there is nothing to get, delete or cancel", to.model, to.provider.name
        )


def _formed(call: Call, to: Destination, form: str) -> Formed:
    """The call in a form of its provider's own."""
    from headrace.dialects.forms import Formed, form_of  # late: few providers have them
    from headrace.dialects.translate import plain  # late: see above

    control = {**to.options, **call.control} if to.options else call.control
    made = form_of(call.operation.offer, form, call.operation.form)
    takes: Mapping[str, str] = getattr(made, "takes", {})
    known = {**dict(to.storage), **control}
    taken = {name: value for name, variables in takes.items() if (value := known.get(name) or first_set(variables, os.environ))}
    body = plain(_body(call, to, control)) | taken | dict(_extra_body(control) or {}) | dict(call.place)
    target = _target(to, OPENAI, drop_params=bool(control.get("drop_params")))
    formed = Formed(made, target, body, call.operation.offer)
    if call.stream and call.operation.reads == "bytes":
        formed.check_pieces()
    elif call.stream:
        formed.check_stream()
    return formed


def counts(to: Destination) -> bool:
    """Whether the provider counts tokens itself, at its dialect's own endpoint. Providers that wrap a dialect lack it."""
    from headrace.dialects.counts import COUNTS  # late: few programs count tokens

    return to.provider.dialect in COUNTS and to.provider.envelope == PLAIN


_TRANSLATED: Final = (CHAT, COMPLETIONS, EMBEDDINGS, COUNT)
"""Operations that exist in dialects other than OpenAI's."""


def mock_of(call: Call, to: Destination) -> Any:
    """The mock response to return in the provider's place; None for none."""
    said = call.control.get("mock_response", to.options.get("mock_response"))
    return "" if said is None and call.control.get("mock_tool_calls") else said
