"""Routes of the fast path: where one caller's calls to one model go, with the bytes that are the same for each call."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from headrace.gateway.records import Record
from headrace.layers.observing import Where, where_of
from headrace.routing.fast_path import Lane, Sending
from headrace.runtime.http1 import Origin, way_of, written


class PreparedRequest(Struct, frozen=True, eq=False):
    """The constant parts of requests to one deployment and of their responses."""

    sending: Sending
    origin: Origin
    head: bytes
    """The request head, up to the value of `content-length`."""
    opening: bytes
    """The beginning of the body, with the provider's name for the model."""
    told: bytes
    """Header lines of the response."""
    record: Record
    """The fields of the call's ledger record that are known in advance."""
    where: Where
    """Labels of the call, as metrics use them."""


class Route(Struct, frozen=True, eq=False):
    """A Router lane and the constant bytes around its calls. Without a lane, calls take the slow path."""

    stamp: object
    lane: Lane | None = None
    prepared: Mapping[str, PreparedRequest] = {}
    """By deployment id."""
    left: Callable[[float], bytes] | None = None
    """Renders the rate limit headers for the caller's own limits at a given time; None if it has no limits."""


def prepare(sending: Sending, record: Record) -> PreparedRequest:
    """The constant parts of requests to a deployment. record: the call's record, without its deployment.

    Raises TransportError or ValueError for a request that cannot be sent on the fast path.
    """
    whole, id, group = written(sending.request), sending.member.deployment.id, sending.member.deployment.group
    if not (id + group).isprintable():
        raise ValueError("a deployment's id, or its group's name, cannot be put in a header")
    lines = (
        f"x-headrace-deployment: {id}", "x-headrace-queue-wait-ms: 0", "x-headrace-attempts: 1",
        f"x-litellm-model-id: {id}", f"x-litellm-model-group: {group}", "x-litellm-attempted-retries: 0", "",
    )  # fmt: skip
    told = "\r\n".join(lines).encode("latin-1", "replace")
    to = sending.member.to
    opening = b'{"model":' + msgspec.json.encode(to.model)
    record = replace(record, group=group, deployment=id, provider=to.provider.name, served=to.model, attempts=1)
    where = where_of(record.operation, sending.known)
    return PreparedRequest(sending, way_of(sending.request), whole[: whole.rindex(b"0\r\n\r\n")], opening, told, record, where)
