"""Objects stored by providers (responses, files, batches), addressed by ids that name the deployment that stores them."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import msgspec

from headrace.calls import Operation, shape
from headrace.dialects.forms import WITH_THE_ORDER
from headrace.downloads import reads_in_pieces
from headrace.errors import BadRequestError, HeadraceError, Kind
from headrace.gateway import background, own_lists
from headrace.gateway.batches import with_models
from headrace.gateway.callers import Role
from headrace.gateway.context import ConvertedCall, Reply, RequestContext, RouterCall
from headrace.gateway.requests import CALLERS_OWN, IncomingRequest, refusal
from headrace.kept import BATCH_LIST, BATCHES, FILE_CONTENT, FILE_DELETE, FILE_LIST, FILES, sent_metadata
from headrace.providers.catalog import resolve
from headrace.routing.plan import Deployment
from headrace.seals import opens, seal_of
from headrace.served import RESPONSE, RESPONSE_CANCEL, RESPONSE_DELETE, read_id

Handler = Callable[..., Reply]

NOBODY: Final = "-"
"""Stands for the model's name where a deployment is named instead."""

_OURS: Final = "headrace"


def kept_response(operation: Operation) -> Handler:
    """Handler for a stored response, by the id the gateway gave it."""

    def make(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], id: str) -> Reply:
        seal = here.caller.seal
        if (found := read_id(id, seal)) is None:
            raise refusal(404, Kind.NOT_FOUND, f"response {id!r} does not exist for this key", "response_id")
        options = {**_query(asked, "include", "limit", "order", "after", "before"), "seal": seal}
        reply = ConvertedCall(RouterCall(operation, NOBODY, None, False, options), place={"id": id})
        deployment, own = found
        if operation is RESPONSE_DELETE:
            return msgspec.structs.replace(reply, once=partial(background.check_billed, here, deployment, own))
        if operation not in (RESPONSE, RESPONSE_CANCEL):
            return reply
        reply = msgspec.structs.replace(reply, noted=partial(background.note_end, here, deployment, own))
        claim, release = partial(here.stored_objects.claim, deployment, own), partial(here.stored_objects.release, deployment, own)
        return msgspec.structs.replace(reply, once=claim, unpaid=release)

    return make


def check_going_on(here: RequestContext, body: Mapping[str, Any], model: str) -> None:
    """Raises a refusal for a call that continues a conversation which its provider does not store.

    Dropping the reference would silently start a new conversation.
    """
    said = next((name for name in ("previous_response_id", "conversation") if body.get(name) is not None), None)
    if said is None or body.get("drop_params") is True:
        return
    found = read_id(str(body[said]))
    router = here.router
    deployment = router.get_deployment(found[0]) if found else router.get_deployment_by_model_group_name(here.meant(model))
    if deployment is not None and not holds_responses(deployment):
        raise not_held(said, body[said])


def holds_responses(deployment: Deployment) -> bool:
    """Whether its provider supports Responses, and so can store them."""
    provider = resolve(deployment.model).provider
    return "openai_responses" in (provider.dialect, *provider.speaks)


def not_held(name: str, id: Any) -> HeadraceError:
    """The error for a response that does not exist. name: the field with its id.

    On its error code, which is OpenAI's own, clients send the whole conversation.
    """
    message = f"{name}: {str(id)[:80]!r} does not exist: send the whole conversation in input, without {name}"
    return refusal(400, Kind.BAD_REQUEST, message, name, code="previous_response_not_found")


def keeper_of(place: Mapping[str, str]) -> str:
    """The deployment that stores the response named in a path; "" if the path names none."""
    found = read_id(place.get("id", ""))
    return "" if found is None else found[0]


def _query(asked: IncomingRequest, *names: str) -> dict[str, Any]:
    found = {name: asked.query[name] for name in names if name in asked.query}
    return {"extra_query": found} if found else {}


# ---- files -----------------------------------------------------------------------------------------------------------------------


def new_file(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Reply:
    """Upload a file to a deployment of its `model`; without one, to the first deployment whose provider stores files."""
    model = _model_of(asked, body)
    file = body.pop("file", None)
    if not isinstance(file, tuple):
        raise BadRequestError("file must be a file part of the form")
    calls = body.get("purpose") == "batch"
    deployment = _keeper(here, BATCHES if calls else FILES, model, calls)
    if calls:
        file = with_models(file, here, deployment)
    return _noted(here, "files", _made(here, RouterCall(FILES, NOBODY, file, False, body), deployment))


def list_files(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Reply:
    """Handler for the list of files."""
    return _listed(here, asked, FILE_LIST, FILES, "purpose", "limit", "order")


def kept_file(operation: Operation) -> Handler:
    """Handler for a stored file."""
    return partial(_kept, operation, "file")


def file_content(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], id: str) -> Reply:
    """A file's content, streamed if the provider's format allows it, as a file may be larger than memory."""
    reply = _kept(FILE_CONTENT, "file", here, asked, body, id)
    known = here.router.get_deployment(reply.deployment)
    if known is None or not reads_in_pieces(resolve(known.model).provider):
        return reply
    return msgspec.structs.replace(reply, wanted=msgspec.structs.replace(reply.wanted, stream=True), finish=None)


def deleted_file(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], id: str) -> Reply:
    """Handler for the deletion of a file."""
    reply = _kept(FILE_DELETE, "file", here, asked, body, id)
    gone = partial(own_lists.forget, here, "files", reply.deployment, reply.place["id"])
    return msgspec.structs.replace(reply, noted=gone)


# ---- batches ---------------------------------------------------------------------------------------------------------------------


def new_batch(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Reply:
    """Create a batch with the deployment that stores its input file."""
    if here.caller.role is not Role.ADMIN and (strange := body.keys() - _OF_A_BATCH):
        name = min(strange)
        raise refusal(400, Kind.BAD_REQUEST, f"{name} is not a field of a batch: leave it out", name)
    deployment, file = _place(here, "file", body.pop("input_file_id", None), "input_file_id")
    made = _made(here, RouterCall(BATCHES, NOBODY, file, False, sent_metadata(body)), deployment)
    return msgspec.structs.replace(made, noted=partial(own_lists.note_order, here, deployment))


_OF_A_BATCH: Final = CALLERS_OWN | {"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after", "model"}
"""The allowed fields of a batch. A provider's own fields might refer to files and places that the caller does not own."""


def list_batches(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Reply:
    """Handler for the list of batches."""
    return _listed(here, asked, BATCH_LIST, BATCHES, "limit")


def kept_batch(operation: Operation) -> Handler:
    """Handler for a batch, which may be billed once it is over."""

    def make(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], id: str) -> Reply:
        reply = _kept(operation, "batch", here, asked, body, id)
        return msgspec.structs.replace(reply, noted=partial(own_lists.note_end, here, reply.deployment, reply.place["id"]))

    return make


# ---- shared
# ----------------------------------------------------------------------------------------------------------------------


def _model_of(asked: IncomingRequest, body: dict[str, Any]) -> str | None:
    """The model whose deployment is used, from the body, the query or a header. Of litellm's list of names the first counts."""
    given = body.pop("model", None) or asked.query.get("model") or asked.headers.get("x-headrace-model")
    names = body.pop("target_model_names", None) or asked.query.get("target_model_names")
    if given is None and names is not None:
        given = names[0] if isinstance(names, list) and names else str(names).partition(",")[0].strip()
    if given is not None and not isinstance(given, str):
        raise BadRequestError(f"model must be the name of a model, got {shape(given)}")
    return given


def _keeper(here: RequestContext, operation: Operation, model: str | None, calls: bool = False) -> str:
    """The first deployment that stores such objects. calls: for input files of batches."""
    if model is not None:
        model = here.meant(model)
    found = [id for id in here.router.offering(operation, model) if here.may_use(id) and not (calls and _with_the_order(here, id))]
    if calls:
        files = here.router.offering(FILES, model)
        found = [id for id in found if id in files] or found
    if not found:
        whose = "of this gateway" if model is None else f"that serves {model!r}"
        raise refusal(501, Kind.NOT_FOUND, f"no provider {whose} is known to store {operation.name}")
    return found[0]


def _with_the_order(here: RequestContext, deployment: str) -> bool:
    known = here.router.get_deployment(deployment)
    return known is not None and resolve(known.model).provider.forms.get("batches") in WITH_THE_ORDER


def _kept(operation: Operation, kind: str, here: RequestContext, asked: IncomingRequest, body: dict[str, Any], id: str) -> ConvertedCall:
    deployment, own = _place(here, kind, id, f"{kind}_id")
    return _made(here, RouterCall(operation, NOBODY, None, False, {}), deployment, {"id": own})


def _place(here: RequestContext, kind: str, id: Any, field: str) -> tuple[str, str]:
    """The deployment and the provider's own id. Raises a refusal for an id that was not given to this caller."""
    found = read_place(id, here.caller.seal) if isinstance(id, str) else None
    if found is None:
        named = repr(id) if isinstance(id, str) else shape(id)
        raise refusal(404, Kind.NOT_FOUND, f"{kind} {named} does not exist for this key", field)
    return found


def _listed(here: RequestContext, asked: IncomingRequest, operation: Operation, where: Operation, *names: str) -> Reply:
    """The caller's own objects; for administrators the list of one provider account.

    A provider does not know the owners. The account is that of `model`, or of the id in `after`, else that of the first
    deployment that stores such objects.
    """
    options = _query(asked, *names)
    after = asked.query.get("after")
    place = None if after is None else _place(here, where.name, after, "after")
    if here.caller.role is not Role.ADMIN:
        return own_lists.own_list(here, asked, where, place, partial(_with_places_of, here))
    if place is None:
        return _made(here, RouterCall(operation, NOBODY, None, False, options), _keeper(here, where, _model_of(asked, {})))
    deployment, own = place
    options = {"extra_query": {**options.get("extra_query", {}), "after": own}}
    return _made(here, RouterCall(operation, NOBODY, None, False, options), deployment)


def _made(here: RequestContext, wanted: RouterCall, deployment: str, place: Mapping[str, str] | None = None) -> ConvertedCall:
    return ConvertedCall(wanted, partial(_with_places, deployment=deployment, seal=here.caller.seal), place or {}, deployment)


def _noted(here: RequestContext, kind: str, reply: ConvertedCall) -> ConvertedCall:
    """Record the owner of a new object."""
    return msgspec.structs.replace(reply, noted=partial(own_lists.note, here, kind, reply.deployment))


def _with_places_of(here: RequestContext, made: Any, deployment: str) -> Any:
    return _with_places(made, deployment=deployment, seal=here.caller.seal)


_IDS: Final = ("id", "input_file_id", "output_file_id", "error_file_id", "first_id", "last_id")


def _with_places(made: Any, *, deployment: str, seal: str) -> Any:
    """A result with ids that name the deployment. Anything but an object, such as a file's content, stays as it is."""
    fields = getattr(made, "__dict__", made)
    return _marked(fields, deployment, seal) if isinstance(fields, dict) else made


def _marked(fields: Mapping[str, Any], deployment: str, seal: str) -> dict[str, Any]:
    said = dict(fields)
    for name in _IDS:
        if isinstance(own := said.get(name), str) and own:
            said[name] = marked_id(deployment, own, seal)
    if isinstance(items := said.get("data"), list):
        said["data"] = [
            _marked(plain, deployment, seal) if isinstance(plain := getattr(item, "__dict__", item), dict) else item for item in items
        ]
    return said


def marked_id(deployment: str, own: str, seal: str = "") -> str:
    """An id that contains the deployment, the provider's id and a seal, with a prefix that clients recognize."""
    sign = "-" if own.startswith("file-") else "_"
    kind, known, _ = own.partition(sign)
    beginning = kind if known and kind.isalnum() else "kept"
    said = msgspec.json.encode([_OURS, deployment, own, seal_of(seal, deployment, own)])
    return f"{beginning}{sign}" + urlsafe_b64encode(said).decode().rstrip("=")


def read_place(id: str, seal: str) -> tuple[str, str] | None:
    """The deployment and the provider's own id; None for an id that was not given out under that seal."""
    packed = id.removeprefix("file-") if id.startswith("file-") else id.partition("_")[2]
    try:
        ours, deployment, own, mark = msgspec.json.decode(urlsafe_b64decode(packed + "=" * (-len(packed) % 4)), type=_SAID)
    except (NotBase64, ValueError):
        return None
    return (deployment, own) if ours == _OURS and opens(seal, mark, deployment, own) else None


_SAID = tuple[str, str, str, str]
"""The content of an id: `_OURS`, the deployment, the provider's id and the seal's mark."""
