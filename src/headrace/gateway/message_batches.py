"""Anthropic's message batches, forwarded to providers that support them.

The gateway's model names are replaced by the provider's, and ids by ones that name the deployment.
docs.claude.com/en/api/creating-message-batches; types of anthropic 2.12.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from headrace.calls import shape
from headrace.errors import BadRequestError, Failure, Kind, error_of
from headrace.gateway.context import RequestContext, Sent
from headrace.gateway.kept import marked_id, read_place
from headrace.gateway.orders import is_of_messages, order_of
from headrace.gateway.owned import serving
from headrace.gateway.passing import Passing, headers_passed
from headrace.gateway.passing_kept import ResponseInspection, way_of
from headrace.gateway.requests import IncomingRequest, refusal
from headrace.routing.patterns import filled, stars_of
from headrace.routing.plan import Deployment
from headrace.through import ThroughRequest

PATH: Final = "/v1/messages/batches"


def order(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Sent:
    """Create a batch at the account that serves the model of its first message, which must serve all others too."""
    return Sent(partial(_order, here, asked, body))


async def _order(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], home: str) -> Passing:
    requests = body.get("requests")
    if not isinstance(requests, list) or not requests:
        raise BadRequestError(f"requests must be a list of at least one request, got {shape(requests)}")
    keeper: Deployment | None = None
    for number, one in enumerate(requests):
        params = one.get("params") if isinstance(one, dict) else None
        named = params.get("model") if isinstance(params, dict) else None
        if not isinstance(params, dict) or not isinstance(named, str) or not named:
            raise BadRequestError(f"requests[{number}].params.model must be the name of a model, such as those that /v1/models lists")
        model = here.meant(named)
        if keeper is None:
            keeper = _keeper(here, model, home)
        params["model"] = own_name(_known(here, serving(here, keeper.id, model)), model)
    assert keeper is not None
    looking = (await way_of(here, asked.method, PATH)).looking
    sent = _sent(here, asked, keeper, PATH, looking, msgspec.json.encode(body))
    return msgspec.structs.replace(sent, made=partial(_noted, here, keeper))


async def _noted(here: RequestContext, keeper: Deployment, content: bytes) -> None:
    """Register a new batch for billing."""
    if (said := _object(content)) is not None and (order := order_of(here.caller, keeper, said)) is not None:
        await here.stored_objects.ordered(order)


async def _ended(here: RequestContext, keeper: Deployment, id: str, content: bytes) -> None:
    if (said := _object(content)) is not None and said.get("processing_status") == "ended":
        await here.stored_objects.done(keeper.id, id)


def listed(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Sent:
    """List the batches of one account.

    It is that of the batch in `after_id` or `before_id`, that of `model`, or the first that has batches.
    """
    return Sent(partial(_listed, here, asked))


async def _listed(here: RequestContext, asked: IncomingRequest, home: str) -> Passing:
    query, keeper = {name: value for name, value in asked.query.items() if name not in ("key", "model")}, None
    for name in ("after_id", "before_id"):
        if name in query and (found := read_place(query[name], here.caller.seal)) is not None:
            keeper, query[name] = _known(here, found[0]), found[1]
    if keeper is None:
        keeper = _keeper(here, here.meant(asked.query["model"]) if "model" in asked.query else None)
    looking = (await way_of(here, asked.method, PATH)).looking
    return _sent(here, asked, keeper, PATH + (f"?{urlencode(query)}" if query else ""), looking)


def kept(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], id: str, verb: str | None = None) -> Sent:
    """One batch, by the id the gateway gave it or by its provider's own."""
    return Sent(partial(_kept, here, asked, id, verb))


async def _kept(here: RequestContext, asked: IncomingRequest, id: str, verb: str | None, home: str) -> Passing:
    found = read_place(id, here.caller.seal)
    if found is None:
        way = await way_of(here, asked.method, f"{PATH}/{quote(id, safe='')}")
        keeper, own, looking = _known(here, way.home) if way.home else _keeper(here, None), id, way.looking
    else:
        keeper, own = _known(here, found[0]), found[1]
        looking = ResponseInspection("gone", "batches", own) if asked.method == "DELETE" else None
    if asked.method == "DELETE" or verb == "results":
        waits = await here.stored_objects.done(keeper.id, own)
        if waits and asked.method == "DELETE":
            message = "the batch is not billed yet: delete it in a few seconds, or once it has ended"
            raise error_of(Failure(Kind.BAD_REQUEST, message, status=409, retryable=True, retry_after=5.0))
    path = f"{PATH}/{quote(own, safe='')}"
    sent = _sent(here, asked, keeper, path if verb is None else f"{path}/{verb}", looking)
    return msgspec.structs.replace(sent, made=partial(_ended, here, keeper, own)) if verb is None and asked.method == "GET" else sent


def _sent(
    here: RequestContext, asked: IncomingRequest, keeper: Deployment, path: str, looking: ResponseInspection | None, content: bytes = b""
) -> Passing:
    """The request to the provider. Results are forwarded as they are; in everything else the ids are replaced."""
    from headrace.dialects.anthropic_messages.requests import VERSION  # late: few gateways use Anthropic's dialect

    told = None if path.endswith("/results") else partial(_with_ids, deployment=keeper.id, seal=here.caller.seal)
    headers = {"anthropic-version": VERSION, **dict(headers_passed(asked))}
    request = ThroughRequest(asked.method, path, tuple(headers.items()), content)
    return Passing(keeper, request, keeper.model.partition("/")[2], looking, told=told)


def _keeper(here: RequestContext, model: str | None, home: str = "") -> Deployment:
    found = [_known(here, id) for id in here.router.get_model_ids(model) if here.may_use(id)]
    found = [one for one in found if is_of_messages(one) and (not home or here.router.same_account(home, one.id))]
    if not found:
        whose = "of this gateway" if model is None else f"that serves {model!r}"
        raise refusal(501, Kind.NOT_FOUND, f"no provider {whose} supports Anthropic's batches: send a file of calls to /v1/batches instead")
    return found[0]


def _known(here: RequestContext, id: str) -> Deployment:
    """A deployment that this caller may use. Raises a refusal."""
    found = here.router.get_deployment(id)
    if found is None or not here.may_use(id):
        raise refusal(404, Kind.NOT_FOUND, "this does not exist, or this key may not access it")
    return found


def own_name(deployment: Deployment, model: str) -> str:
    """The model's name at a deployment's provider."""
    own = deployment.model.partition("/")[2] or deployment.model
    stars = stars_of(deployment.group, model) if "*" in own else None
    return own if stars is None else filled(own, stars)


# ---- responses
# --------------------------------------------------------------------------------------------------------------------

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        return _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _with_ids(content: bytes, *, deployment: str, seal: str) -> bytes:
    """A response whose ids name the deployment, and whose `results_url` is the gateway's.

    At its provider's address a client would send the gateway's key. Anything but an object stays as it is.
    """
    said = _object(content)
    if said is None:
        return content
    data = said.get("data")
    if isinstance(data, list):
        said["data"] = [_marked(one, deployment, seal) if isinstance(one, dict) else one for one in data]
    return msgspec.json.encode(_marked(said, deployment, seal))


def _marked(said: Mapping[str, Any], deployment: str, seal: str) -> dict[str, Any]:
    marked = {name: marked_id(deployment, own, seal) for name in _IDS if isinstance(own := said.get(name), str) and own}
    results = {"results_url": f"{PATH}/{marked['id']}/results"} if said.get("results_url") and "id" in marked else {}
    return {**said, **marked, **results}


_IDS: Final = ("id", "first_id", "last_id")
