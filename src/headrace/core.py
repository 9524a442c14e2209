"""One attempt at one destination, and direct calls, which retry it without a Router."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import msgspec

from headrace.calls import (
    CHAT,
    DEFAULT_TIMEOUT,
    EMBEDDINGS,
    IMAGE_EDITS,
    IMAGE_VARIATIONS,
    IMAGES,
    RERANK,
    SPEECH,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    Call,
    encode,
    ends_at,
    timeouts_of,
    whole_number,
    within,
)
from headrace.counted import COUNT, counted_here
from headrace.destinations import PYTHON, Destination, destination
from headrace.dialects.base import FrameReader
from headrace.dialects.mistral import in_one_text
from headrace.dialects.openai_stream import ChunkReader, Said, one_text_of, read_body, unreadable
from headrace.errors import (
    BadRequestError,
    HeadraceError,
    Kind,
    error_of,
    failure_of,
)
from headrace.framing import SseReader
from headrace.limits.money import price_of
from headrace.models.cost import Bill, Rates, pieces_of
from headrace.models.prices import Beside, rates_for
from headrace.objects import BinaryResponse, JsonObject
from headrace.ports import HttpStream, Ports
from headrace.providers.rows import Provider
from headrace.routing.decide import RetryHere, RetryPolicy, decide
from headrace.routing.events import log_left_out
from headrace.routing.retries import by_kind
from headrace.streams import Chunks, Objects, Source
from headrace.wire import Fault, HeaderPairs, HttpRequest, HttpResponse, Timeouts, TransportError
from headrace.writing import OPENAI, counts, mock_of, translation_of, write

if TYPE_CHECKING:
    from headrace.dialects.forms import Formed
    from headrace.polling import Following
    from headrace.providers.signing import Signer
    from headrace.writing import Spoken


def own_rates(control: Mapping[str, Any]) -> Rates | None:
    """The prices passed with a call, or those of its `base_model`. Raises ConfigurationError that names the field."""
    if prices := {name: control[name] for name in _PRICES if name in control}:
        return price_of(prices, "the call")
    return rates_for(control["base_model"]) if "base_model" in control else None


_PRICES: Final = ("input_cost_per_token", "output_cost_per_token", "input_cost_per_second", "output_cost_per_second")


def hidden_of(to: Destination, headers: Mapping[str, str], translation: Spoken | None = None) -> Beside:
    """What is known about a response before its body is read."""
    known: dict[str, Any] = {
        "custom_llm_provider": to.provider.name,
        "model": to.model,
        "api_base": to.base_url,
        "additional_headers": headers,
    }
    left_out: tuple[str, ...] | None = getattr(translation, "left_out", None)  # only chat translations have it
    if left_out is not None:
        known["left_out"] = list(left_out)
        if left_out:
            log_left_out(left_out, to.provider.name, to.model)
    return Beside(known)


Leaving: TypeAlias = Callable[[], object]
"""Called when a request is actually sent."""


async def fetch(
    ports: Ports, call: Call, to: Destination, timeouts: Timeouts, leaving: Leaving | None = None
) -> JsonObject | BinaryResponse:
    """One attempt at a non-streaming call. Raises HeadraceError."""
    if call.operation is EMBEDDINGS and requests_for(call, to.provider) > 1:
        return await _fetch_in_parts(ports, call, to, timeouts)
    return await _fetch(ports, call, to, timeouts, leaving)


def requests_for(call: Call, provider: Provider) -> int:
    """How many requests a call needs, given the provider's maximum of inputs per embeddings request."""
    texts, most = call.prompt, provider.max_inputs
    if call.operation is not EMBEDDINGS or not most or not isinstance(texts, list | tuple) or not texts or isinstance(texts[0], int):
        return 1
    return -(-len(texts) // most)


async def _fetch_in_parts(ports: Ports, call: Call, to: Destination, timeouts: Timeouts) -> JsonObject:
    """Send the parts one after another within the call's timeout, and join the responses in order."""
    began, texts, most = ports.clock.now(), call.prompt, to.provider.max_inputs
    parts: list[Any] = []
    for start in range(0, len(texts), most):
        some = texts[start : start + most]
        part = msgspec.structs.replace(call, prompt=some, body={**call.body, call.operation.prompt: msgspec.Raw(encode(some))})
        left = None if timeouts.total is None else max(0.001, timeouts.total - (ports.clock.now() - began))
        parts.append(await _fetch(ports, part, to, msgspec.structs.replace(timeouts, total=left)))
    return _joined(parts)


def _joined(parts: Sequence[Any]) -> JsonObject:
    """The first response with the vectors and the usage of all; vectors are renumbered."""
    whole: Any = parts[0]
    vectors: list[Any] = []
    for part in parts:
        offset = len(vectors)
        for position, vector in enumerate(part.data):
            vector.index = offset + (position if vector.index is None else vector.index)
            vectors.append(vector)
    whole.data = vectors
    used = [part.usage for part in parts]
    if all(used):
        for name in ("prompt_tokens", "total_tokens"):
            setattr(whole.usage, name, sum(usage.get(name) or 0 for usage in used))
    return whole  # type: ignore[no-any-return]


def _following(ports: Ports, call: Call, to: Destination, formed: Formed, timeouts: Timeouts, began: float) -> Following:
    from headrace.polling import Following  # late: few providers are polled

    endless = formed.begins and "total_timeout" not in call.control
    return Following(
        ports,
        formed,
        timeouts,
        inf if endless else began + (timeouts.total or DEFAULT_TIMEOUT),
        lambda request: _with_signature(ports, to, request),
        lambda error: explain(error, to),
        lambda response, request: _refused(response, to, formed, request.headers),
    )


async def _with_signature(ports: Ports, to: Destination, request: HttpRequest) -> HttpRequest:
    signer = to.signer if request.storage is None else _storage_signer(to, request.storage)
    return request if signer is None else await signer.sign(request, ports.clock)


def _storage_signer(to: Destination, region: str) -> Signer:
    from headrace.providers.cloud_auth import storage_signer  # late: few calls access cloud storage

    return storage_signer(to.provider, region, to.storage)


async def _signed(ports: Ports, call: Call, to: Destination, translation: Spoken | None, leaving: Leaving | None) -> HttpRequest:
    request = await _with_signature(ports, to, write(call, to, translation))
    return request if leaving is None else msgspec.structs.replace(request, leaving=leaving)


async def _fetch(
    ports: Ports, call: Call, to: Destination, timeouts: Timeouts, leaving: Leaving | None = None
) -> JsonObject | BinaryResponse:
    ports, to = _mocked(ports, call, to)
    await _with_media(ports, call, to)
    if call.operation is COUNT and not counts(to):
        return _counted_here(call, to)
    began = ports.clock.now()
    translation = await _written(ports, translation_of(call, to))
    request = await _signed(ports, call, to, translation, leaving)
    try:
        response = await ports.transport.fetch(request, timeouts)
    except TransportError as error:
        if error.fault is Fault.TOO_LARGE and call.operation.of == "files":
            error = TransportError(error.fault, "pass stream=True to read it piece by piece", sent=True, received=True)
        raise explain(error, to) from error
    if call.operation is COUNT and _does_not_count(response, to.model):
        return _counted_here(call, to)
    if 200 <= response.status < 300:
        if getattr(translation, "follows", False):
            response = await _following(ports, call, to, cast("Formed", translation), timeouts, began).last(response)
        if call.operation.reads == "bytes":
            translation = await _read(ports, translation, response)
    return answer_of(call, to, translation, request.headers, response)


def _does_not_count(response: HttpResponse, model: str) -> bool:
    """Whether a server that speaks the dialect lacks the token-counting endpoint. A 404 for a missing model names the model."""
    return response.status in (405, 501) or (response.status == 404 and model.encode() not in response.body)


def _counted_here(call: Call, to: Destination) -> JsonObject:
    here = counted_here(call.model, to.model, call.prompt, call.body)
    here._hidden_params = hidden_of(to, {})
    return here


async def _written(ports: Ports, translation: Spoken | None) -> Spoken | None:
    """Write the request of a form in time slices, where it may be large, so that a file of a million calls does not
    block the event loop."""
    steps = translation.writing() if (form := getattr(translation, "form", None)) is not None and hasattr(form, "writing") else None  # type: ignore[union-attr]
    if steps is None:
        return translation
    from headrace.slices import in_slices  # late: few calls send batch files

    return msgspec.structs.replace(cast("Formed", translation), written=await in_slices(ports.clock, steps))


async def _read(ports: Ports, translation: Spoken | None, response: HttpResponse) -> Spoken | None:
    """Read the response of a form in time slices, where it may be large."""
    steps = translation.reading(response) if (form := getattr(translation, "form", None)) is not None and hasattr(form, "reading") else None  # type: ignore[union-attr]
    if steps is None:
        return translation
    from headrace.slices import in_slices  # late: few calls read batch results

    return msgspec.structs.replace(cast("Formed", translation), content_read=await in_slices(ports.clock, steps))


def answer_of(
    call: Call, to: Destination, translation: Spoken | None, sent: HeaderPairs, response: HttpResponse
) -> JsonObject | BinaryResponse:
    """A complete response in the form its caller takes. `sent`: the request's headers. Raises HeadraceError for an error status."""
    if not 200 <= response.status < 300:
        raise _refused(response, to, translation, sent)
    hidden = hidden_of(to, response.headers, translation)
    if call.operation.reads == "bytes":
        content = response.body if translation is None else cast("Formed", translation).content(response)
        if call.operation is SPEECH:
            hidden.pieces = Bill(characters=len(call.prompt))
        return BinaryResponse(content, response.headers, hidden)
    if call.operation.reads == "text" and "json" not in response.headers.get("content-type", "json"):
        body = {"text": response.body.decode("utf-8", "replace")}
    else:
        body = _own_body(call, response, to) if translation is None else translation.read(response)
    if _uses(call, body):
        hidden.usage = body.get("usage") if translation is None else translation.used(body)
    hidden.tier = body.get("service_tier")
    if hidden.usage is None and call.operation in _IN_PIECES and (pieces := pieces_of(body)) != Bill():
        hidden.pieces = pieces
    if call.raw and (translation is None or getattr(translation, "same", False)) and _marker(call, to) is None:
        return BinaryResponse(response.body, response.headers, hidden)
    answer = _wrapper(call, call.operation.response, to)(body)
    answer._hidden_params = hidden
    return answer


def _uses(call: Call, body: Mapping[str, Any]) -> bool:
    """Whether the usage in a response belongs to this call.

    A stored response repeats its usage each time it is retrieved. One made in the background reports it only then, so
    it counts until charged.
    """
    return call.operation.named or (body.get("background") is True and not call.control.get("charged"))


_IN_PIECES: Final = (IMAGES, IMAGE_EDITS, IMAGE_VARIATIONS, RERANK, TRANSCRIPTIONS, TRANSLATIONS)
"""Operations that some models bill by units other than tokens."""


def _mocked(ports: Ports, call: Call, to: Destination) -> tuple[Ports, Destination]:
    """The ports and destination for a `mock_response` or a custom handler; otherwise unchanged."""
    if "client" in call.control:
        raise BadRequestError("client needs headrace.install_as_litellm(): call that first, or give base_url and api_key instead")
    said = mock_of(call, to)
    silent = call.control.get("mock_timeout")
    if said is None and not silent:
        return _own(ports, call, to)
    from headrace.mocking import MockTransport, SilentTransport, plain_provider  # late: for tests and dry runs

    transport = SilentTransport(ports.clock) if silent else MockTransport(call, to.model, said)
    ports = msgspec.structs.replace(ports, transport=transport)
    return ports, msgspec.structs.replace(to, provider=plain_provider(to.provider), signer=None)


def _own(ports: Ports, call: Call, to: Destination) -> tuple[Ports, Destination]:
    """The ports with a custom handler as transport, if the provider is one."""
    if to.provider.base_url != PYTHON:
        return ports, to
    from headrace.handlers import OwnTransport, answerer_of  # late: few programs define custom providers

    answerer = answerer_of(to.provider.name)
    if answerer is None:
        return ports, to
    asked = msgspec.structs.replace(call, control={**to.options, **call.control}) if to.options else call
    own = OwnTransport(answerer, asked, to.provider.name, to.model, blocking=ports.blocking)
    return msgspec.structs.replace(ports, transport=own), to


def _own_body(call: Call, response: HttpResponse, to: Destination) -> dict[str, Any]:
    """The body of a response in OpenAI's dialect, with message content as a plain string where clients expect one."""
    body = read_body(response, provider=to.provider.name, model=to.model)
    if call.operation is CHAT and type(body.get("choices")) is not list:
        raise unreadable(response, to.provider.name, to.model, "has no choices")
    return in_one_text(body, "message")


async def _with_media(ports: Ports, call: Call, to: Destination) -> None:
    if call.control.get("fetch_media", to.options.get("fetch_media")):
        from headrace.fetching import fetch_media  # late: few calls fetch media

        await fetch_media(ports, call)


async def open_stream(ports: Ports, call: Call, to: Destination, timeouts: Timeouts, leaving: Leaving | None = None) -> Chunks[Any]:
    """One streaming attempt, returned once its first chunk has arrived, so that an earlier failure can still be retried elsewhere."""
    ports, to = _mocked(ports, call, to)
    await _with_media(ports, call, to)
    translation = translation_of(call, to)
    request = await _signed(ports, call, to, translation, leaving)
    try:
        if getattr(translation, "opens", False):
            http = await _following(ports, call, to, cast("Formed", translation), timeouts, ports.clock.now()).opened(request)
        else:
            http = await ports.transport.open(request, timeouts)
            if request.storage is not None:
                http = _going_on(ports, http, write(call, to, translation), to, timeouts)
    except TransportError as error:
        raise explain(error, to) from error
    hidden = hidden_of(to, http.headers, translation)
    said = Said() if call.lasts else None
    source = source_of(call, to, translation, hidden, said)
    chunks: Chunks[Any] = Chunks(
        http, source, hidden, lambda error: explain(error, to, streaming=True), said, raw=call.raw or call.operation.reads == "bytes"
    )
    try:
        if not 200 <= http.status < 300:
            raise _refused(HttpResponse(http.status, http.headers, await _rest(http.read)), to, translation, request.headers)
        await chunks.fill()
    except TransportError as error:
        chunks.close()
        raise explain(error, to) from error
    except BaseException:
        chunks.close()
        raise
    return chunks


def _going_on(ports: Ports, http: HttpStream, request: HttpRequest, to: Destination, timeouts: Timeouts) -> HttpStream:
    """Wrap a download from a storage bucket so that it resumes after an interruption."""
    from headrace.downloads import Resumed, can_go_on  # late: few programs use files

    signed = partial(_with_signature, ports, to)
    return Resumed(ports, http, request, timeouts, signed, to.provider.name) if can_go_on(http) else http


def source_of(call: Call, to: Destination, translation: Spoken | None, hidden: Beside, said: Said | None) -> Source[Any]:
    """The source that turns a stream's bytes into what the caller takes."""
    if watch := getattr(translation, "source", None):  # responses in the provider's own format
        watched: Source[Any] = watch(hidden["additional_headers"].get("content-type", ""))
        return watched
    if call.operation.of == "files":
        from headrace.downloads import download  # late: few programs use files

        return download(cast("Formed | None", translation), hidden["additional_headers"])
    made = _chunk_class(call)
    reader: Any = _reader(call, to) if translation is None else cast("Any", translation).read_stream()
    if said is not None:
        reader.said = said
    frames = _framing(to, translation)
    if not call.raw:
        return Objects(frames, reader, _wrapper(call, made, to), hidden)
    from headrace.passing import bytes_of  # late: only gateways take bytes

    events = not to.provider.framing and hidden["additional_headers"].get("content-type", "").startswith("text/event-stream")
    return bytes_of(frames, reader, call.operation.spelling, _rewriter(call, to), events=events)


def _reader(call: Call, to: Destination) -> ChunkReader:
    if not call.operation.last:
        return ChunkReader(provider=to.provider.name, model=to.model)
    from headrace.dialects.openai_events import EventReader  # late: few calls stream images or transcriptions

    return EventReader(last=call.operation.last, provider=to.provider.name, model=to.model)


def _framing(to: Destination, translation: Spoken | None) -> FrameReader:
    inner = SseReader() if translation is None else translation.dialect.framing()
    packing = to.provider.framing or getattr(translation, "packing", "")
    if not packing:
        return inner
    from headrace.dialects.packing import PACKINGS  # late: only clouds wrap streams in a framing of their own

    return PACKINGS[packing](inner, to.provider.name, to.model)


def _wrapper(call: Call, made: type[JsonObject], to: Destination) -> Callable[[dict[str, Any]], JsonObject]:
    """The function that turns a body into an object, with ids marked if a deployment stores the response."""
    mark = _marker(call, to)
    return made.wrap if mark is None else lambda body: made.wrap(mark(body))


def _marker(call: Call, to: Destination) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    """The function that adds the deployment to a stored response's ids; None if the response is not stored or no Router is involved."""
    if not (call.operation.stored and to.deployment):
        return None
    from headrace.served import marked  # late: only for calls with stored responses

    seal = call.control.get("seal") or ""
    return lambda body: marked(body, to.deployment, seal)


def _rewriter(call: Call, to: Destination) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    """The change that a stream needs even when its caller takes bytes: ids are marked, content in parts becomes one string."""
    return one_text_of if call.operation.dialect == OPENAI else _marker(call, to)


def _chunk_class(call: Call) -> type[JsonObject]:
    chunk = call.operation.chunk
    if chunk is None:
        raise BadRequestError(f"{call.operation.name} cannot be streamed: leave stream out")
    return chunk


_ERROR_BODY: Final = 1 << 20
"""Bytes of an error's body that are read."""


async def _rest(read: Callable[[], Any]) -> bytes:
    parts, size = [], 0
    while size < _ERROR_BODY and (data := await read()):
        parts.append(data)
        size += len(data)
    return b"".join(parts)


def explain(error: TransportError, to: Destination, *, streaming: bool = False) -> HeadraceError:
    """A transport error as the exception that a caller sees."""
    return error_of(failure_of(error, provider=to.provider.name, model=to.model, host=to.host, streaming=streaming))


def _refused(response: HttpResponse, to: Destination, translation: Spoken | None, sent: HeaderPairs) -> HeadraceError:
    from headrace.dialects.failures import read_error  # late: only error responses need its tables

    known = HttpResponse(response.status, response.headers, _without_secrets(response.body, sent))
    if translation is not None:
        failure = translation.dialect.read_error(known, translation.target)
    else:
        failure = read_error(known, provider=to.provider.name, model=to.model)
    if to.signer is not None and failure.kind is Kind.AUTHENTICATION:
        to.signer.refused()
    return error_of(failure)


def _without_secrets(body: bytes, headers: HeaderPairs) -> bytes:
    """An error's body with our own keys masked, in case the provider repeats one."""
    for name, value in headers:
        secret = value.rpartition(" ")[2]
        if len(secret) >= 8 and name in _SECRET_HEADERS:
            body = body.replace(secret.encode("latin-1"), b"***")
    return body


_SECRET_HEADERS: Final = frozenset({
    "authorization", "x-api-key", "api-key", "x-goog-api-key", "x-amz-security-token", "xi-api-key", "api-subscription-key", "x-key",
    "ocp-apim-subscription-key",
})  # fmt: skip


def retries_of(control: Mapping[str, Any], default: int) -> int:
    """`num_retries`, else `max_retries`, else the default."""
    for name in ("num_retries", "max_retries"):
        if control.get(name) is not None:
            return whole_number(name, control[name])
    return default


def policy_of(control: Mapping[str, Any], policy: RetryPolicy) -> RetryPolicy:
    """`policy` with the call's own retry options. Raises ConfigurationError that names the option."""
    own = by_kind(control["retry_policy"], "Retries", "retry_policy") if "retry_policy" in control else {}
    retries = retries_of(control, policy.retries)
    return msgspec.structs.replace(policy, retries=retries, by_kind={**policy.by_kind, **own} if own else policy.by_kind)


_DIRECT: Final = RetryPolicy()


def bound(call: Call) -> Call:
    """The call with the provider's own response id, if it names a response by an id that a Router returned."""
    if not call.operation.stored:
        return call
    from headrace.served import unmarked  # late: only for calls with stored responses

    return unmarked(call)


async def direct(ports: Ports, call: Call) -> Any:
    """A call without a Router: returns `JsonObject`, or `Chunks` for a stream. Retries on the same destination."""
    call = bound(call)
    control = call.control
    to = destination(call.model, control)
    timeouts, over = timeouts_of(control.get("timeout", DEFAULT_TIMEOUT), call.stream), ends_at(control, ports.clock.now())
    policy = policy_of(control, _DIRECT)
    attempt_once = open_stream if call.stream else fetch
    attempt = 0
    rates = own_rates(control)
    while True:
        try:
            answer: Any = await attempt_once(ports, call, to, within(timeouts, over - ports.clock.now()))
            if rates is not None:
                (answer.hidden if call.stream else answer._hidden_params).rates = rates
            return answer
        except HeadraceError as error:
            attempt += 1
            left = over - ports.clock.now()
            step = decide(error.failure, attempt, others=False, fallback=False, policy=policy, jitter=ports.random(), time_left=left)
            if not isinstance(step, RetryHere):
                raise
            await ports.clock.sleep(step.after)
