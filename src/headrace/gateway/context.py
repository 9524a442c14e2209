"""What a request resolves to: a response that needs no call, or a call and how its result becomes the response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from headrace.api import Router
from headrace.calls import EMPTY, Operation
from headrace.errors import BadRequestError, Kind
from headrace.gateway.callers import Caller
from headrace.gateway.forms import ReadForm
from headrace.gateway.requests import refusal
from headrace.gateway.stored_objects import NoStoredObjects, StoredObjects
from headrace.objects import BinaryResponse, JsonObject


class RequestContext(Struct, frozen=True, eq=False):
    """The context of one request: the Router, and what of it this caller may use."""

    router: Router
    caller: Caller
    form: ReadForm
    """The multipart form of the request; the files opened for it are closed with it."""
    stored_objects: StoredObjects = NoStoredObjects()
    """Ownership of what providers store."""

    def names(self) -> list[str]:
        """The models the caller may call."""
        groups = self.router.get_deployment_by_model_group_name
        return [
            name for name in self.router.get_model_names() if self.caller.may_call(name, found.group if (found := groups(name)) else None)
        ]

    def meant(self, model: str) -> str:
        """The gateway's name of a model that the caller may call. Raises a refusal with status 403 or 404.

        A model that the caller may not call is reported like one that does not exist.
        """
        model = self.caller.meant(model)
        deployment = self.router.get_deployment_by_model_group_name(model)
        self.caller.check(model, None if deployment is None else deployment.group)
        if deployment is None:
            raise refusal(404, Kind.NOT_FOUND, f"there is no model {model!r}; /v1/models lists the available ones", "model")
        return model

    def scopes(self, model: str) -> tuple[str, ...]:
        """The caller's limits that apply to calls of a model."""
        return self.caller.scopes_on(model, self._group(model))

    def options(self, model: str) -> dict[str, Any]:
        """The Router options that describe the caller of a call."""
        return self.caller.options(model, self._group(model))

    def _group(self, model: str) -> str | None:
        if not self.caller.model_scopes:
            return None
        found = self.router.get_deployment_by_model_group_name(model)
        return None if found is None else found.group

    def may_use(self, deployment: str) -> bool:
        """Whether the caller may access what a deployment stores."""
        found = self.router.get_deployment(deployment)
        return found is not None and self.caller.role.calls and self.caller.may_call(found.group)


class Listed(Struct, frozen=True, eq=False):
    """A response that needs no call."""

    body: Any


class AggregatedResponse(Struct, frozen=True, eq=False):
    """As `Listed`, but gathered from several queries."""

    gather: Callable[[], Awaitable[Any]]


class RouterCall(Struct, frozen=True, eq=False):
    """A call, ready for the Router."""

    operation: Operation
    model: str
    prompt: Any
    stream: bool
    options: Mapping[str, Any]


class ConvertedCall(Struct, frozen=True, eq=False):
    """A call whose result is converted, or that accesses something stored."""

    wanted: RouterCall
    finish: Callable[[Any], Any] | None = None
    """Converts the result; None leaves it as is: the provider's own bytes if it speaks the caller's dialect."""
    place: Mapping[str, str] = EMPTY
    deployment: str = ""
    """The deployment that stores what the call refers to; "" for any."""
    noted: Callable[[Any], Awaitable[None]] | None = None
    """Called with the result before the response is sent."""
    once: Callable[[], Awaitable[bool]] | None = None
    """Whether this call pays for the result, asked before the call is made; `unpaid` is called if there is nothing to pay yet."""
    unpaid: Callable[[], Awaitable[None]] | None = None
    told: Callable[[], Callable[[bytes], bytes]] | None = None
    """Returns a converter for the pieces of the stream, which are complete events."""

    def at(self, deployment: str) -> ConvertedCall:
        """The same call, bound to the only deployment that can serve it."""
        return msgspec.structs.replace(self, deployment=deployment)


class Sent(Struct, frozen=True, eq=False):
    """A call in a provider's own format."""

    prepare: Callable[[str], Awaitable[Any]]
    """(the deployment that stores what the body refers to, or "") → `headrace.gateway.passing.Passing`."""


Reply: TypeAlias = Listed | AggregatedResponse | RouterCall | ConvertedCall | Sent


class Plain(Struct, frozen=True, eq=False):
    """A response that is not JSON."""

    content: bytes
    kind: str


def _own(value: Any) -> Any:
    if isinstance(value, JsonObject):
        return value.__dict__
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


encode = msgspec.json.Encoder(enc_hook=_own).encode
"""Encode a response as JSON, keeping the provider's nulls."""

JSON = "application/json"


def written(made: Any) -> tuple[bytes, str]:
    """The body of a response, and its content type."""
    match made:
        case BinaryResponse():
            return made.content, made.headers.get("content-type", "application/octet-stream")
        case Plain():
            return made.content, made.kind
    return encode(made), JSON


def wanted(operation: Operation, body: dict[str, Any], model: str = "") -> RouterCall:
    """The call that a body asks for. model: the model named in the path, if any. Raises BadRequestError naming the field."""
    said = body.pop("model", None)
    model = model or said
    if not isinstance(model, str) or not model:
        raise BadRequestError("model must be the name of a model, such as those that /v1/models lists")
    if operation.prompt not in body and not operation.may_lack_prompt(body):
        raise BadRequestError(f"{operation.prompt} is missing", model)
    stream = body.pop("stream", None)
    if stream is not None and not isinstance(stream, bool):
        raise BadRequestError("stream must be true or false", model)
    if stream and operation.chunk is None:
        raise BadRequestError(f"{operation.name} cannot be streamed: leave stream out", model)
    return RouterCall(operation, model, body.pop(operation.prompt, None), bool(stream), body)
