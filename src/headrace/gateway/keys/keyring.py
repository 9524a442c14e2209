"""Keys in memory: a call finds its caller without a database query, and changes reach every process within seconds."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from headrace.errors import Kind as Failing
from headrace.gateway.callers import ADMIN, Caller, Role, is_named
from headrace.gateway.keys import global_limits, table
from headrace.gateway.keys.holders import Holder, Kind, Terms, budget_id, member_id, scope_of
from headrace.gateway.keys.identity import Identities
from headrace.gateway.keys.tokens import PREFIX, hash_of
from headrace.gateway.requests import refusal
from headrace.limits.limit import NANO
from headrace.routing.router import Router
from headrace.runtime.sql import Database
from headrace.runtime.sql_drivers import Connection, DatabaseError

log: Final = logging.getLogger("headrace.gateway")

LOOK: Final = 1.0
"""Seconds between checks for changes by other processes."""
MOST_FORMER: Final = 10_000
"""Tokens that are remembered as formerly cached."""
LINGER: Final = 600.0
"""Seconds for which calls of a deleted holder may still be in flight."""
MOST: Final = 100_000
"""Keys that are cached."""
PEOPLE: Final = 60.0
"""Seconds after which it is checked again whether the user named in an identity provider's token exists."""

MASTER: Final = ""
"""In place of a hash: the master key is not in the table."""

K = TypeVar("K", bound="_Known | None")

Period = tuple[Kind, str, float]
"""A holder with a budget, and the start of the budget's period."""
Spent = Callable[[Period], Awaitable[int]]
"""Returns the nano-dollars that all processes spent in a period, as far as the ledger knows."""


class _Known(Struct, eq=False):
    """A cached key with the holders whose terms apply to it."""

    holders: tuple[Holder, ...]
    """The key itself, its team and user, the organization above them and all their tags."""
    caller: Caller
    until: float
    """When it must be looked up again: a budget period ends, or the key expires."""


class Keyring:
    """Finds the caller of a token. Limits become scopes of the Router, budgets one scope per period."""

    def __init__(
        self,
        database: Database,
        router: Router,
        spent: Spent,
        *,
        identities: Identities | None = None,
        over: Callable[[Period], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """identities: issuers of tokens accepted besides the gateway's own keys.

        over: called with each period that has ended for good.
        """
        self._over = over
        self._identities = identities
        self._database = database
        self._router = router
        self._spent = spent
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        """By hash of the token."""
        self._former: OrderedDict[str, None] = OrderedDict()
        """Hashes of tokens that were cached and have not been looked up again."""
        self._asking: dict[str, asyncio.Task[Any]] = {}
        self._placed: dict[str, Mapping[str, Any]] = {}
        """Scopes in the Router, with their limits."""
        self._periods: dict[tuple[Kind, str], tuple[Period, ...]] = {}
        """The current period and the one before it, whose calls may still be in flight."""
        self._own: dict[tuple[Kind, str], tuple[set[str], set[tuple[Kind, str]]]] = {}
        """By holder: its scopes, except those of periods, and the holders of its periods."""
        self._gone: dict[tuple[Kind, str], float] = {}
        """Deleted holders, and when the deletion was noticed."""
        self._ends: dict[str, float] = {}
        """Keys that expire, by id, and when."""
        self._named: dict[Kind, dict[str, Holder]] = {}
        """The existing end users, tags and budgets, loaded when the first of a kind is needed."""
        self._revision = self._forgotten = 0
        self._secret = ""
        self._together: Holder | None = None
        """All calls together, if they have a budget."""
        self._each = Terms()
        """The terms of each end user without terms of its own."""
        self._since: dict[str, float] = {}
        """Start of the periods of everybody's budgets, by id."""
        self._unnamed: dict[str, float] = {}
        """End users without terms of their own, least recently used first, and when they were last used."""

    # ---- lookup

    def remembered(self, token: str) -> Caller | None:
        """The caller of a token, if it is cached."""
        return self._remembered(hash_of(token))

    def _remembered(self, hash: str) -> Caller | None:
        known = self._known.get(hash)
        if known is None or known.until <= self._clock():
            return None
        self._known.move_to_end(hash)
        return known.caller

    def administrator(self) -> Caller | None:
        """The caller with the master key, if it is cached."""
        return self._remembered(MASTER)

    async def find_administrator(self) -> Caller:
        """The administrator, under the budget of all calls if there is one."""
        return self._remembered(MASTER) or (await self._asked(MASTER, self._look_up_administrator)).caller

    def recognizes(self, token: str) -> bool:
        """Whether the token was valid a while ago: before a change, or in a period that has ended."""
        hash = hash_of(token)
        return hash in self._known or hash in self._former

    async def find(self, token: str) -> Caller | None:
        """The caller of a token, or None if it is unknown. Raises a refusal if it is blocked or has expired."""
        if token.startswith(PREFIX):
            known = await self._asked(hash_of(token), self._look_up)
        elif self._identities is not None and self._identities.may_read(token):
            known = await self._asked(hash_of(token), lambda hash: self._read(token, hash))
        else:
            known = None
        return None if known is None else known.caller

    async def named(self, key: str) -> Caller | None:
        """The caller of the key with that id. Raises a refusal if it is blocked or has expired."""
        found = await self._database.read(lambda connection: _named(connection, key))
        if not found:
            return None
        now = self._clock()
        _valid_until(found, "", now)
        return await self._caller(self._with_all(found), now)

    async def _asked(self, hash: str, ask: Callable[[str], Coroutine[Any, Any, K]]) -> K:
        """The result of a lookup that runs once however many calls wait for it."""
        task = self._asking.get(hash)
        if task is None:
            task = self._asking[hash] = asyncio.create_task(ask(hash))
            task.add_done_callback(lambda _: self._asking.pop(hash, None))
        found: K = await asyncio.shield(task)
        return found

    async def _look_up(self, hash: str) -> _Known | None:
        """Look up a virtual key in the database."""
        forgotten = self._forgotten
        found = await self._database.read(lambda connection: _belonging(connection, hash))
        if not found:
            self._former.pop(hash, None)
            return None
        now = self._clock()
        until = _valid_until(found, hash, now)
        if found[0].expires is not None:
            self._ends[found[0].id] = found[0].expires
        found = self._with_all(found)
        return self._remember(hash, found, await self._caller(found, now), until, forgotten)

    async def _look_up_administrator(self, hash: str) -> _Known:
        forgotten = self._forgotten
        found = self._with_all(())
        scopes = (await self._caller(found, self._clock())).scopes
        return self._remember(hash, found, replace(ADMIN, scopes=scopes) if scopes else ADMIN, math.inf, forgotten)

    async def _read(self, token: str, hash: str) -> _Known:
        """A token of an identity provider, used for a team and a user in the database."""
        assert self._identities is not None
        forgotten = self._forgotten
        who = await self._identities.read(token)
        found = await self._database.read(lambda connection: _people(connection, who.team, who.user))
        for holder in found:
            _check(holder)
        if who.team and not any(holder.kind is Kind.TEAM for holder in found):
            raise refusal(403, Failing.PERMISSION, f"the token names the team {who.team!r}, which does not exist")
        found = self._with_all(found)
        now = self._clock()
        caller = await self._caller(found, now, who.user)
        models = (*caller.models, *who.models)
        caller = replace(caller, name=who.email or who.user, user=who.user, role=who.role or caller.role, models=models, routes=who.routes)
        return self._remember(hash, found, caller, min(who.ends, now + PEOPLE), forgotten)

    def _remember(self, hash: str, found: tuple[Holder, ...], caller: Caller, until: float, forgotten: int) -> _Known:
        """Cache a key for the token with this hash.

        forgotten: the number of changes before the lookup. If there were more since, the result counts for this call
        alone.
        """
        now = self._clock()
        known = _Known(found, caller, min(until, *[one.terms.ends_at(now) for one in found], math.inf))
        self._known.pop(hash, None)
        self._former.pop(hash, None)
        if self._forgotten == forgotten:
            self._known[hash] = known
        while len(self._known) > MOST:
            self._known.popitem(last=False)
        return known

    async def _caller(self, found: tuple[Holder, ...], now: float, named: str = "") -> Caller:
        """named: the user named by a token, who need not be in the database."""
        scopes = [scope for holder in found for scope in await self._scopes(holder, now)]
        model_scopes = [pair for holder in found for pair in await self._model_scopes(holder, now)]
        by_kind = {holder.kind: holder for holder in found}
        user = by_kind[Kind.USER].id if Kind.USER in by_kind else named or (found[0].user if found else "")
        if user and Kind.TEAM in by_kind:
            scopes += await self._member_scopes(by_kind[Kind.TEAM], user, now)
        key = by_kind.get(Kind.KEY)
        own = found[0] if found else None
        self._secret = self._secret or await self._database.read(table.sealing)
        return Caller(
            key="" if key is None else key.id,
            name="" if own is None else own.name,
            team=by_kind[Kind.TEAM].id if Kind.TEAM in by_kind else "" if own is None else own.team,
            team_name=by_kind[Kind.TEAM].name if Kind.TEAM in by_kind else "",
            user=user,
            role=_role(found),
            routes=key.terms.routes or None if key is not None else None,
            models=tuple([names for holder in found if (names := _names(holder))]),
            aliases={alias: model for holder in reversed(found) for alias, model in holder.terms.aliases.items()},
            scopes=tuple(scopes),
            model_scopes=tuple(model_scopes),
            tags=tuple(dict.fromkeys([tag for holder in found for tag in holder.terms.tags])),
            metadata={} if own is None else own.terms.metadata,
            content=next((holder.terms.content for holder in found if holder.terms.content is not None), None),
            secret=self._secret,
        )

    # ---- limits

    async def _scopes(self, holder: Holder, now: float) -> list[str]:
        """The scopes with a holder's limits; they are in the Router when this returns."""
        scopes, (own, periods) = [], self._own.setdefault((holder.kind, holder.id), (set(), set()))
        if holder.terms.limits:
            self._place(holder.scope, holder.terms.limits)
            own.add(holder.scope)
            scopes.append(holder.scope)
        if holder.terms.budget is not None:
            periods.add((holder.kind, holder.id))
            began, _ = holder.terms.period_at(now)
            scopes.append(await self._budget((holder.kind, holder.id, began), holder.terms.budget))
        return scopes

    async def stand(self, together: Terms, each: Terms) -> None:
        """Set the budget of all calls, and the terms of each end user without its own.

        The budget covers the calls of every process on this database together.
        """
        before, self._together = self._together, None
        if together.budget is not None:
            since = await self._period_of(global_limits.ALL, together)
            now, id = self._clock(), global_limits.id_of(global_limits.ALL, together)
            self._together = Holder(kind=Kind.GATEWAY, id=id, terms=replace(together, budget_since=since), created=now, updated=now)
        for held in (before, self._together):
            if held is not None:
                self._gone[held.kind, held.id] = self._clock()
        if self._together is not None:
            del self._gone[self._together.kind, self._together.id]
        self.forget(Kind.GATEWAY, global_limits.ALL)
        self._each = each
        if await self._for_each() is None and each.budget_id:
            log.warning("there is no budget %r: until it is created, end users without limits of their own have none", each.budget_id)
        await self.find_administrator()  # cached while the database responds, as the master key must work without it

    async def _period_of(self, whose: str, terms: Terms) -> float:
        """Start of its budget periods: as stored in the database, or now."""
        id, now = global_limits.id_of(whose, terms), self._clock()
        if id not in self._since:
            kept = await self._database.write(lambda connection: global_limits.keep(connection, whose, terms, now))
            self._since[id] = kept.terms.budget_since
        return self._since[id]

    def _with_all(self, found: tuple[Holder, ...]) -> tuple[Holder, ...]:
        return found if self._together is None else (*found, self._together)

    # ---- end users

    def may_be_held(self, customer: str) -> bool:
        """Whether limits of an end user must be looked up."""
        known = self._named.get(Kind.CUSTOMER)
        return known is None or customer in known or self._each != Terms()

    async def customer(self, id: str, model: str, group: str | None) -> tuple[str, ...]:
        """The scopes with an end user's limits on a model. Raises a refusal if it is blocked."""
        holder = (await self._all(Kind.CUSTOMER)).get(id)
        if holder is not None and holder.blocked:
            raise refusal(403, Failing.PERMISSION, f"the customer {id!r} of this call is blocked", "user")
        terms = None if holder is not None and holder.terms.binds else await self._for_each()
        now = self._clock()
        if terms is not None:
            holder = Holder(kind=Kind.CUSTOMER, id=id, terms=terms, created=now, updated=now)
            self._unnamed.pop(id, None)
            self._unnamed[id] = now
        return () if holder is None else tuple(await self._scopes_on(holder, model, group, now))

    async def _for_each(self) -> Terms | None:
        """The terms of an end user without its own, or None."""
        said = self._each
        if said.budget_id and (budget := (await self._all(Kind.BUDGET)).get(said.budget_id)) is not None:
            # budgets for single models are counted for customers that were created only
            said = replace(budget.terms, model_budgets={}, budget=budget.terms.budget if said.budget is None else said.budget)
        if not said.binds:
            return None
        return said if said.budget is None else replace(said, budget_since=await self._period_of(global_limits.CUSTOMERS, said))

    async def _all(self, kind: Kind) -> dict[str, Holder]:
        """All end users, tags or budgets, by id."""
        if (known := self._named.get(kind)) is not None:
            return known
        forgotten = self._forgotten
        found = {one.id: one for one in await self._database.read(lambda connection: table.listed(connection, kind))}
        if self._forgotten == forgotten:
            self._named[kind] = found
        return found

    # ---- tags

    async def tagged(self, tags: Iterable[str], model: str, group: str | None) -> tuple[str, ...]:
        """The scopes with the limits of tags on a model. Raises a refusal if a tag is not allowed on it."""
        known, now = await self._all(Kind.TAG), self._clock()
        scopes: list[str] = []
        for holder in [known[tag] for tag in dict.fromkeys(tags) if tag in known]:
            if (names := _names(holder)) and not any(is_named(name, model, group) for name in names):
                raise refusal(403, Failing.PERMISSION, f"calls with the tag {holder.id!r} may not use {model!r}", "metadata.tags")
            scopes += await self._scopes_on(holder, model, group, now)
        return tuple(scopes)

    async def _scopes_on(self, holder: Holder, model: str, group: str | None, now: float) -> list[str]:
        """The scopes with a holder's limits on a model: those of all its calls, and those of that model."""
        single = await self._model_scopes(holder, now)
        return [*await self._scopes(holder, now), *[scope for name, scope in single if is_named(name, model, group)]]

    async def _model_scopes(self, holder: Holder, now: float) -> list[tuple[str, str]]:
        """The scopes with a holder's limits on single models, each with the model's name or pattern."""
        scopes, (own, periods) = [], self._own.setdefault((holder.kind, holder.id), (set(), set()))
        for name in holder.terms.limited_models:
            scope = f"{holder.scope}:{name}"
            self._place(scope, holder.terms.limits_on(name))
            own.add(scope)
            scopes.append((name, scope))
        for name, allowance in holder.terms.model_budgets.items():
            period = (Kind.MODEL, budget_id(holder.kind, holder.id, name), allowance.period_at(now)[0])
            periods.add(period[:2])
            scopes.append((name, await self._budget(period, allowance.budget)))
        return scopes

    async def _member_scopes(self, team: Holder, user: str, now: float) -> list[str]:
        """The scopes with a user's limits and budget within a team."""
        member, id = team.terms.within(user), member_id(team.id, user)
        scopes, (own, periods) = [], self._own.setdefault((team.kind, team.id), (set(), set()))
        if member.limits:
            scope = f"{Kind.MEMBER.value}:{id}:limits"
            self._place(scope, member.limits)
            own.add(scope)
            scopes.append(scope)
        if member.allowance is not None:
            periods.add((Kind.MEMBER, id))
            scopes.append(await self._budget((Kind.MEMBER, id, member.allowance.period_at(now)[0]), member.allowance.budget))
        return scopes

    def _place(self, scope: str, limits: Mapping[str, Any]) -> None:
        if self._placed.get(scope) != limits:
            self._router.add_scope(scope, **limits)
            self._placed[scope] = dict(limits)

    async def _budget(self, period: Period, budget: int) -> str:
        """A scope of its own for each period, so that the next one starts at zero. What was already spent is charged to it."""
        scope = budget_scope(*period)
        new = scope not in self._placed
        before = await self._spent(period) if new else 0
        if new and scope in self._placed:
            return scope  # another call was faster
        self._place(scope, {"max_budget": max(1, budget) / NANO})
        if new:
            self._begin(period, scope, before)
        return scope

    def _begin(self, period: Period, scope: str, spent: int) -> None:
        """Start a period of which `spent` nano-dollars are already used."""
        if spent:
            self._router.charge_scope(scope, spent)
        *over, last = (*self._periods.get(period[:2], ()), period)
        for old in over[:-1]:
            self._end(old)
        self._periods[period[:2]] = (*over[-1:], last)

    def _end(self, period: Period) -> None:
        self._remove(budget_scope(*period))
        self._over(period)

    def _remove(self, scope: str) -> None:
        if self._placed.pop(scope, None) is not None:
            self._router.remove_scope(scope)

    def spent_elsewhere(self, period: Period, cost: int) -> None:
        """Other processes spent `cost` nano-dollars more in a period: charge it here too."""
        scope = budget_scope(*period)
        if scope in self._placed:
            self._router.charge_scope(scope, cost)

    # ---- changes by other processes

    def forget(self, kind: Kind, id: str) -> None:
        """A holder has changed: look it up again at the next call."""
        self._forgotten += 1
        self._named.pop(kind, None)
        stale = [
            hash for hash, known in self._known.items()
            if kind is Kind.GATEWAY or any(one.kind is kind and one.id == id for one in known.holders)
            or (kind is Kind.TAG and id in known.caller.tags)
        ]  # fmt: skip
        for hash in stale:
            del self._known[hash]
            self._former[hash] = None
        while len(self._former) > MOST_FORMER:
            self._former.popitem(last=False)

    async def watch(self) -> None:
        """Follow changes by other processes until cancelled."""
        while True:
            try:
                await self.refresh()
            except DatabaseError as error:
                log.warning("cannot check for changed keys: the database does not respond (%s)", error)
            await asyncio.sleep(LOOK)

    async def refresh(self) -> None:
        """Apply changes by other processes once, and remove limits that are no longer needed."""
        self._clear()
        revision = self._revision
        if await self._database.read(lambda connection: table.revision(connection, table.WHAT)) == revision:
            return
        for kind, id, number, deleted in await self._database.read(lambda connection: table.changed(connection, revision)):
            self._revision = max(self._revision, number)
            self.forget(kind, id)
            self._gone.pop((kind, id), None)
            if deleted:
                self._gone[kind, id] = self._clock()

    def _clear(self) -> None:
        """Remove the limits of holders that were deleted, expired or unused for so long that no call of theirs is in flight."""
        now = self._clock()
        gone = [whose for whose, seen in self._gone.items() if seen + LINGER <= now]
        ended = [id for id, end in self._ends.items() if end + LINGER <= now]
        recent = len(self._unnamed) - MOST
        unnamed = [id for at, (id, seen) in enumerate(self._unnamed.items()) if at < recent or seen + LINGER <= now]
        for whose in [*gone, *[(Kind.KEY, id) for id in ended], *[(Kind.CUSTOMER, id) for id in unnamed]]:
            self._gone.pop(whose, None)
            self._ends.pop(whose[1], None)
            self._unnamed.pop(whose[1], None)
            scopes, periods = self._own.pop(whose, (set(), set()))
            for scope in scopes:
                self._remove(scope)
            for period in [one for own in periods for one in self._periods.pop(own, ())]:
                self._end(period)


def budget_scope(kind: Kind, id: str, began: float) -> str:
    """The name of the scope for one budget period."""
    whose = f"{kind.value}:{id}" if kind in (Kind.MODEL, Kind.MEMBER) else scope_of(kind, id)
    return f"{whose}:{began:.0f}"


def _belonging(connection: Connection, hash: str) -> tuple[Holder, ...]:
    """The key with that hash and the holders whose terms apply to it; empty if there is no such key."""
    key = table.by_hash(connection, hash)
    return () if key is None else _people(connection, key.team, key.user, key)


def _named(connection: Connection, id: str) -> tuple[Holder, ...]:
    """As `_belonging`, for the key with that id."""
    key = table.get(connection, Kind.KEY, id)
    return () if key is None else _people(connection, key.team, key.user, key)


def _people(connection: Connection, team: str, user: str, *key: Holder) -> tuple[Holder, ...]:
    """Those that exist of a key, its team and user, the organization above them and the tags of all their calls."""
    own = [*key, *_there(connection, [(Kind.TEAM, team), (Kind.USER, user)])]
    above = next((one.terms.organization for one in own if one.terms.organization), "")
    tags = dict.fromkeys([tag for one in own for tag in one.terms.tags])
    others = [(Kind.ORGANIZATION, above), *[(Kind.TAG, tag) for tag in tags]]
    return (*own, *_there(connection, others))


def _there(connection: Connection, named: Iterable[tuple[Kind, str]]) -> list[Holder]:
    return [one for kind, id in named if id and (one := table.get(connection, kind, id)) is not None]


def _valid_until(found: tuple[Holder, ...], hash: str, now: float) -> float:
    """When the key expires, in Unix seconds. Raises a refusal if it has expired or a holder is blocked."""
    key = found[0]
    ends = [moment for moment in (key.expires, key.former_until if hash == key.former else None) if moment is not None]
    if ends and min(ends) <= now:
        raise refusal(401, Failing.AUTHENTICATION, f"the API key {key.hint} has expired")
    for holder in found:
        _check(holder)
    return min(ends, default=math.inf)


def _check(holder: Holder) -> None:
    if holder.blocked:
        raise refusal(401, Failing.AUTHENTICATION, f"the {holder.kind.value} of this call is blocked")


def _role(found: tuple[Holder, ...]) -> Role:
    """The role that the key states, else the one of its user."""
    said = next((holder.terms.role for holder in found if holder.terms.role and holder.kind in (Kind.KEY, Kind.USER)), "")
    try:
        return Role(said)
    except ValueError:
        return Role.CALLER


EVERY_MODEL: Final = frozenset({"*", "all-proxy-models"})
OF_THE_TEAM: Final = "all-team-models"


def _names(holder: Holder) -> tuple[str, ...]:
    """The models that a holder is restricted to; empty if its list names all of them."""
    names = holder.terms.models
    return () if any(name in EVERY_MODEL or name == OF_THE_TEAM for name in names) else names
