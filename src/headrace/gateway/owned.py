"""Access to the stored objects that a body refers to.

Objects of other owners are treated as missing, and the call goes to the account that has the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.errors import BadRequestError, HeadraceError, Kind
from headrace.gateway.context import ConvertedCall, RequestContext
from headrace.gateway.kept import read_place
from headrace.gateway.requests import refusal
from headrace.gateway.stored_objects import NAMES, ObjectRef, Reference, StoredObject, references


async def home_of(here: RequestContext, body: Any, names: Mapping[str, str] = NAMES) -> str:
    """The deployment whose account stores the objects that the body refers to; "" if it refers to none that is known.

    names: the fields with references. The gateway's ids are replaced by the provider's own, in place. Raises a refusal
    for objects of another owner, or of several accounts.
    """
    found = list(references(body, names)) if isinstance(body, dict) else []
    if not found:
        return ""
    known = await here.stored_objects.find([one.thing for one in found])
    homes = [home for one in found if (home := _home(here, one, known))]
    for other in homes[1:]:
        if not here.router.same_account(homes[0], other):
            raise BadRequestError(f"{found[0].field}: all objects in one call must belong to one account of one provider")
    return homes[0] if homes else ""


def _home(here: RequestContext, one: Reference, known: list[StoredObject]) -> str:
    seal = here.caller.seal
    if (opened := read_place(one.thing.id, seal)) is not None:
        one.become(opened[1])
        return opened[0]
    mine = next((row for row in known if row.thing == one.thing and is_theirs(here, row)), None)
    if mine is not None:
        return mine.deployment
    if seal:
        raise not_here(one.thing, one.field)
    return ""


def is_theirs(here: RequestContext, row: StoredObject) -> bool:
    """Whether it is accessible to the caller."""
    return not here.caller.seal or row.owner == here.caller.owner


def not_here(thing: ObjectRef, field: str | None = None) -> HeadraceError:
    """The refusal for an object that does not exist, or belongs to another owner."""
    return refusal(404, Kind.NOT_FOUND, f"{thing.id!r} ({thing.kind}) does not exist for this key", field)


def bound(here: RequestContext, home: str, call: ConvertedCall) -> ConvertedCall:
    """The call, bound to the account with the objects it refers to. A call that accesses a stored object is bound already."""
    return call if call.deployment else call.at(serving(here, home, here.meant(call.wanted.model)))


def serving(here: RequestContext, home: str, model: str) -> str:
    """The first deployment of `model` in the account of `home`. Raises BadRequestError if there is none."""
    found = next((id for id in here.router.get_model_ids(model) if here.router.same_account(home, id)), None)
    if found is None:
        raise BadRequestError(f"the objects in the call belong to an account that does not serve {model!r}", model)
    return found
