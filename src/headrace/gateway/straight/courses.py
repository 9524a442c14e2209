"""Where calls of one caller to one model go, with the bytes that are the same around each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from headrace.gateway.records import Record
from headrace.layers.observing import Where, where_of
from headrace.routing.straight import Lane, Sending
from headrace.runtime.http1 import Origin, way_of, written


class Start(Struct, frozen=True, eq=False):
    """What of a request to one deployment, and of its answer, is always the same."""

    sending: Sending
    origin: Origin
    head: bytes
    """Up to the length's value."""
    opening: bytes
    """The body's beginning, with the provider's name of the model."""
    told: bytes
    """Lines of the answer's head."""
    record: Record
    """What is remembered of a call before it has begun."""
    where: Where
    """As whoever counts calls has it."""


class Course(Struct, frozen=True, eq=False):
    """A lane of the Router with the bytes around it; None: it has to be the long way."""

    stamp: object
    lane: Lane | None = None
    starts: Mapping[str, Start] = {}
    """By deployment."""
    left: Callable[[float], bytes] | None = None
    """What is left under the caller's own limits at a moment, as lines of an answer's head; None where he has none."""


def start_of(sending: Sending, record: Record) -> Start:
    """What of all requests to a deployment is the same. record: without the deployment. Raises TransportError, ValueError for what
    cannot be sent."""
    whole, id, group = written(sending.request), sending.member.deployment.id, sending.member.deployment.group
    if not (id + group).isprintable():
        raise ValueError("a deployment's id, or its group's name, does not go into a header")
    lines = (
        f"x-headrace-deployment: {id}", "x-headrace-queue-wait-ms: 0", "x-headrace-attempts: 1",
        f"x-litellm-model-id: {id}", f"x-litellm-model-group: {group}", "x-litellm-attempted-retries: 0", "",
    )  # fmt: skip
    told = "\r\n".join(lines).encode("latin-1", "replace")
    to = sending.member.to
    opening = b'{"model":' + msgspec.json.encode(to.model)
    record = replace(record, group=group, deployment=id, provider=to.provider.name, served=to.model, attempts=1)
    where = where_of(record.operation, sending.known)
    return Start(sending, way_of(sending.request), whole[: whole.rindex(b"0\r\n\r\n")], opening, told, record, where)
