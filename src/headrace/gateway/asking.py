"""What a request comes to: an answer that needs no call, or a call and what is made of its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from headrace.api import Router
from headrace.calls import EMPTY, Operation
from headrace.errors import BadRequestError, Kind
from headrace.gateway.belongings import Belongings, NoBelongings
from headrace.gateway.callers import Caller
from headrace.gateway.forms import ReadForm
from headrace.gateway.requests import refusal
from headrace.objects import BinaryResponse, JsonObject


class Here(Struct, frozen=True, eq=False):
    """Where somebody asks: the gateway's Router, and what of it is for this caller."""

    router: Router
    caller: Caller
    form: ReadForm
    """The form that was sent, if one was; what is opened for it is closed with it."""
    belongings: Belongings = NoBelongings()
    """Whose is what providers keep."""

    def names(self) -> list[str]:
        """The models it may call."""
        groups = self.router.get_deployment_by_model_group_name
        return [
            name for name in self.router.get_model_names() if self.caller.may_call(name, found.group if (found := groups(name)) else None)
        ]

    def meant(self, model: str) -> str:
        """A model that it may call, under the gateway's name. Raises refusals with status 403 and 404.

        What a caller may not call is not told to exist.
        """
        model = self.caller.meant(model)
        deployment = self.router.get_deployment_by_model_group_name(model)
        self.caller.check(model, None if deployment is None else deployment.group)
        if deployment is None:
            raise refusal(404, Kind.NOT_FOUND, f"there is no model {model!r} here; /v1/models lists those there are", "model")
        return model

    def scopes(self, model: str) -> tuple[str, ...]:
        """The caller's limits that a call of a model is under."""
        return self.caller.scopes_on(model, self._group(model))

    def options(self, model: str) -> dict[str, Any]:
        """What the Router is told of the caller with a call of a model."""
        return self.caller.options(model, self._group(model))

    def _group(self, model: str) -> str | None:
        if not self.caller.model_scopes:
            return None
        found = self.router.get_deployment_by_model_group_name(model)
        return None if found is None else found.group

    def may_use(self, deployment: str) -> bool:
        """Whether what a deployment keeps is for it to ask for."""
        found = self.router.get_deployment(deployment)
        return found is not None and self.caller.role.calls and self.caller.may_call(found.group)


class Listed(Struct, frozen=True, eq=False):
    """An answer that needs no call."""

    body: Any


class Gathered(Struct, frozen=True, eq=False):
    """The same, put together of several questions."""

    gather: Callable[[], Awaitable[Any]]


class Wanted(Struct, frozen=True, eq=False):
    """A call, ready for the Router."""

    operation: Operation
    model: str
    prompt: Any
    stream: bool
    options: Mapping[str, Any]


class Finished(Struct, frozen=True, eq=False):
    """A call whose answer is said in another way, or that asks for what is kept."""

    wanted: Wanted
    finish: Callable[[Any], Any] | None = None
    """None: as it is, the provider's own bytes where it speaks the caller's dialect."""
    place: Mapping[str, str] = EMPTY
    deployment: str = ""
    """The one that keeps what is asked for; empty for any."""
    noted: Callable[[Any], Awaitable[None]] | None = None
    """Told of the answer before it goes out."""
    once: Callable[[], Awaitable[bool]] | None = None
    """Whether what the answer came to is this call's to pay; asked before it is made, and `unpaid` told where it came to nothing."""
    unpaid: Callable[[], Awaitable[None]] | None = None
    told: Callable[[], Callable[[bytes], bytes]] | None = None
    """Makes what says the pieces of its stream, which are whole events, in another way."""

    def at(self, deployment: str) -> Finished:
        """The same call where it can be answered alone."""
        return msgspec.structs.replace(self, deployment=deployment)


class Sent(Struct, frozen=True, eq=False):
    """A call in a provider's own words."""

    prepare: Callable[[str], Awaitable[Any]]
    """(the deployment that keeps what its body speaks of, or nothing) → `headrace.gateway.passing.Passing`."""


Reply: TypeAlias = Listed | Gathered | Wanted | Finished | Sent


class Plain(Struct, frozen=True, eq=False):
    """An answer that is no JSON."""

    content: bytes
    kind: str


def _own(value: Any) -> Any:
    if isinstance(value, JsonObject):
        return value.__dict__
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


encode = msgspec.json.Encoder(enc_hook=_own).encode
"""An answer as JSON, the provider's nulls included."""

JSON = "application/json"


def written(made: Any) -> tuple[bytes, str]:
    """An answer as it goes out, and its content type."""
    match made:
        case BinaryResponse():
            return made.content, made.headers.get("content-type", "application/octet-stream")
        case Plain():
            return made.content, made.kind
    return encode(made), JSON


def wanted(operation: Operation, body: dict[str, Any], model: str = "") -> Wanted:
    """The call that a body asks for. model: from the path, where it stands there. Raises BadRequestError that names the field."""
    said = body.pop("model", None)
    model = model or said
    if not isinstance(model, str) or not model:
        raise BadRequestError("model must be the name of a model, such as those that /v1/models lists")
    if operation.prompt not in body:
        raise BadRequestError(f"{operation.prompt} is missing", model)
    stream = body.pop("stream", None)
    if stream is not None and not isinstance(stream, bool):
        raise BadRequestError("stream must be true or false", model)
    if stream and operation.chunk is None:
        raise BadRequestError(f"{operation.name} cannot be streamed: leave stream out", model)
    return Wanted(operation, model, body.pop(operation.prompt), bool(stream), body)
