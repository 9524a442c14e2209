"""Virtual keys in the admin API: create, show, change, rotate, block, delete."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from headrace.errors import BadRequestError, ConfigurationError, HeadraceError
from headrace.gateway.admin.budget_handlers import applied
from headrace.gateway.admin.context import AdminContext, AdminRequest, Route, blocking, holds, not_found, page_of
from headrace.gateway.admin.forms import TERMS, check_names, dollars, flag, forms_of, key_shape, key_status, seconds, terms_of, text, texts
from headrace.gateway.keys import table
from headrace.gateway.keys.holders import Holder, Kind, Terms
from headrace.gateway.keys.tokens import PREFIX, SHORTEST, hash_of, hint_of, new_token
from headrace.gateway.permissions import read_routes
from headrace.runtime.sql_drivers import Connection, TakenError

OWN: Final = ("key", "key_alias", "duration", "user_id", "team_id", "blocked", "spend", "allowed_routes", "key_type")
"""The fields of a key besides its terms."""


def draft(body: Mapping[str, Any], now: float) -> tuple[Holder, str]:
    """A new key and its token, which is shown once and never stored. Raises BadRequestError."""
    check_names(body, (*TERMS, *OWN))
    token = own_token(body["key"]) if body.get("key") else new_token()
    key = Holder(
        kind=Kind.KEY, id=f"key_{secrets.token_hex(8)}", terms=Terms(), created=now, updated=now, hash=hash_of(token), hint=hint_of(token)
    )
    return changed(key, body, now), token


def own_token(value: Any) -> str:
    """A token chosen by the user. Errors do not repeat its value."""
    if not isinstance(value, str) or not value.startswith(PREFIX) or len(value) < SHORTEST:
        raise BadRequestError(f"key must begin with {PREFIX} and have at least {SHORTEST} characters; leave it out to have one generated")
    return value


def changed(key: Holder, body: Mapping[str, Any], now: float) -> Holder:
    """A key with the fields of a body applied."""
    said: dict[str, Any] = {"updated": now, "terms": terms_of(body, key.terms, now)}
    for name, field in (("key_alias", "name"), ("user_id", "user"), ("team_id", "team")):
        if name in body:
            said[field] = text(name, body[name]) if body[name] else ""
    if "blocked" in body:
        said["blocked"] = bool(body["blocked"]) and flag("blocked", body["blocked"])
    if "duration" in body:
        said["expires"] = None if body["duration"] is None else now + seconds("duration", body["duration"])
    if body.get("spend") is not None and key.revision:
        said["terms"] = reset(said["terms"], body["spend"], now)
    if (routes := _routes(body)) is not None:
        said["terms"] = replace(said["terms"], routes=routes)
    return replace(key, **said)


_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "default": (),
    "llm_api": ("llm_api_routes",),
    "management": ("management_routes",),
    "read_only": ("info_routes",),
}
"""LiteLLM's types of keys, and the paths that each may use."""


def _routes(body: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The paths that a body sets for a key; None if it sets none. Raises BadRequestError."""
    if body.get("key_type") is not None:
        kind = body["key_type"]
        if kind not in _TYPES:
            raise BadRequestError(f"key_type must be one of {', '.join(_TYPES)}, got {kind!r}")
        if kind != "default":
            return _TYPES[kind]
    if "allowed_routes" not in body:
        return None
    try:
        return read_routes("allowed_routes", body["allowed_routes"] or [])
    except ConfigurationError as error:
        raise BadRequestError(error.failure.message) from None


def reset(terms: Terms, spend: Any, now: float) -> Terms:
    """Terms with a new budget period, so that earlier spending no longer counts."""
    if spend != 0:
        raise BadRequestError("spend can only be reset to 0: the ledger determines what was spent")
    return replace(terms, budget_since=now)


class KeyHandlers:
    """Handlers of `/key/…`."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context

    def routes(self) -> dict[str, Route]:
        return {
            "/key/generate": Route(("POST",), "admin", self.generate),
            "/key/update": Route(("POST",), "admin", self.update),
            "/key/bulk_update": Route(("POST",), "admin", self.update_many),
            "/key/delete": Route(("POST",), "admin", self.delete),
            "/key/info": Route(("GET",), "anyone", self.info),
            "/key/list": Route(("GET",), "look", self.page),
            "/key/aliases": Route(("GET",), "look", self.aliases),
            "/key/health": Route(("POST",), "anyone", self.health),
            "/key/service-account/generate": Route(("POST",), "admin", self.service),
            "/v2/key/info": Route(("POST",), "look", self.several),
            "/key/regenerate": Route(("POST",), "admin", self.regenerate),
            "/key/{}/regenerate": Route(("POST",), "admin", self.regenerate),
            "/key/{}/reset_spend": Route(("POST",), "admin", self.reset_spend),
            "/global/spend/reset": Route(("POST",), "admin", self.reset_all),
            **{f"/key/{name}": route for name, route in blocking(self._blocked).items()},
        }

    async def generate(self, request: AdminRequest) -> Any:
        """Create a virtual key; the response includes its token."""
        return await self.made(self._context.default_terms.new_key(request.body))

    async def made(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a key, and its user if that does not exist yet; the response includes the token. Raises BadRequestError."""
        now = self._context.clock()
        key, token = draft(body, now)

        def put(connection: Connection) -> Holder:
            check_alias(connection, key)
            if key.user and table.get(connection, Kind.USER, key.user) is None:
                table.put(connection, Holder(kind=Kind.USER, id=key.user, terms=Terms(), created=now, updated=now))
            return table.put(connection, self._context.default_terms.bounded(applied(connection, key, now), None, now))

        try:
            key = await self._context.change(put, "key")
        except TakenError:
            raise BadRequestError("there is a key with that token already") from None
        return await self._with_token(key, token)

    async def _with_token(self, key: Holder, token: str) -> dict[str, Any]:
        return {**await self._context.shown(key, key_shape), "key": token}

    async def update(self, request: AdminRequest) -> Any:
        """Change a key; omitted fields stay."""
        body = request.body
        check_names(body, (*TERMS, *OWN))
        hash = _named(body.get("key"))
        key = await self._change(hash, lambda key: changed(key, body, self._context.clock()))
        return {"key": key.hash, **await self._context.shown(key, key_shape)}

    async def update_many(self, request: AdminRequest) -> Any:
        """Change each of `keys` as /key/update does. A failure does not affect the others."""
        done: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        forms = forms_of("keys", request.body.get("keys"))
        for form in forms:
            try:
                done.append({"key": form.get("key"), "key_info": await self.update(replace(request, body=form))})
            except HeadraceError as error:
                failed.append({"key": form.get("key"), "key_info": None, "failed_reason": error.failure.message})
        return {"total_requested": len(forms), "successful_updates": done, "failed_updates": failed}

    async def _change(self, hash: str, how: Callable[[Holder], Holder]) -> Holder:
        now = self._context.clock()

        def work(connection: Connection) -> Holder | None:
            found = table.by_hash(connection, hash)
            if found is None:
                return None
            default_terms = self._context.default_terms
            key = table.change(
                connection, Kind.KEY, found.id, lambda key: default_terms.bounded(applied(connection, how(key), now, key), key, now)
            )
            if key is not None:
                check_alias(connection, key)
            return key

        return await self._context.change(work, "such key")

    async def delete(self, request: AdminRequest) -> Any:
        """Delete keys, by token, token hash or alias."""
        names = texts("keys", request.body.get("keys") or [])
        aliases = texts("key_aliases", request.body.get("key_aliases") or [])
        if not names and not aliases:
            raise BadRequestError("keys or key_aliases must name at least one key")
        now = self._context.clock()

        def work(connection: Connection) -> list[Holder]:
            hashes = [_named(name) for name in names]
            found = [table.by_hash(connection, hash) for hash in hashes]
            found += [table.by_name(connection, Kind.KEY, alias) for alias in aliases]
            if None in found:
                raise not_found(f"such key: {[*[hint_of(name) for name in names], *aliases][found.index(None)]}")
            keys = [key for key in found if key is not None]
            for key in keys:
                table.remove(connection, key, now)
            return keys

        gone = await self._context.database.write(work)
        for key in gone:
            self._context.keys.forget(Kind.KEY, key.id)
        return {"deleted_keys": [*names, *aliases]}

    async def info(self, request: AdminRequest) -> Any:
        """The named key, or the caller's own."""
        named = request.query.get("key")
        own = request.caller.key
        key = await self._context.database.read(
            lambda connection: table.by_hash(connection, _named(named)) if named else table.get(connection, Kind.KEY, own)
        )
        if key is None or not (request.sees_all or key.id == own):
            raise not_found("such key")
        return {"key": named or key.hash, "info": await self._context.shown(key, key_shape)}

    async def page(self, request: AdminRequest) -> Any:
        """The keys page by page, newest first unless `sort_by` says otherwise."""
        query, now = request.query, self._context.clock()
        page, whole = page_of(query, 10, "size"), flag("return_full_object", query.get("return_full_object", "false")) or "expand" in query
        parts = flag("substring_matching", query.get("substring_matching", "false"))
        names = {"user_id": "user", "team_id": "team", "key_alias": "name", "key_hash": "hash"}
        where = {column: query[name] for name, column in names.items() if query.get(name) and not (parts and name in _IN_PARTS)}
        if _FURTHER.isdisjoint(query):
            first, most = page.first, page.size

            def read(connection: Connection) -> tuple[list[Holder], int]:
                keys = table.listed(connection, Kind.KEY, where, first=first, most=most, newest=True)
                return keys, table.count(connection, Kind.KEY, where)

            keys, total = await self._context.database.read(read)
            shown = await self._context.all_shown(keys, key_shape)
        else:
            found = await self._context.database.read(lambda connection: table.listed(connection, Kind.KEY, where, newest=True))
            keys = [key for key in found if _is_wanted(key, query, now, parts=parts)]
            shown, total = await self._context.page(keys, key_shape, query, page), len(keys)
        told = {"total_count": total, "current_page": page.number, "total_pages": page.pages(total)}
        return {"keys": shown if whole else [one["token"] for one in shown], **told}

    async def aliases(self, request: AdminRequest) -> Any:
        """The aliases of keys, filtered by `search`."""
        query = request.query
        where = {"team": query["team_id"]} if query.get("team_id") else {}
        page = page_of(query, 50, "size")
        keys = await self._context.database.read(lambda connection: table.listed(connection, Kind.KEY, where))
        found = sorted({key.name for key in keys if key.name and query.get("search", "").lower() in key.name.lower()})
        told = {"total_count": len(found), "current_page": page.number, "total_pages": page.pages(len(found)), "size": page.size}
        return {"aliases": found[page.first : page.first + page.size], **told}

    async def health(self, request: AdminRequest) -> Any:
        """Whether the key works: a caller whose key is accepted gets `healthy`."""
        return {"key": "healthy", "logging_callbacks": None}

    async def service(self, request: AdminRequest) -> Any:
        """Create a key that belongs to a team and to no user."""
        text("team_id", request.body.get("team_id"))
        if request.body.get("user_id"):
            raise BadRequestError("user_id must be left out: a service account's key belongs to its team only")
        return await self.made({**self._context.default_terms.new_key(request.body), "user_id": None})

    async def several(self, request: AdminRequest) -> Any:
        """Those of the named keys that exist, in the given order."""
        names = texts("keys", request.body.get("keys"))
        hashes = [_named(name) for name in names]
        found = await self._context.database.read(lambda connection: [table.by_hash(connection, hash) for hash in hashes])
        keys = [key for key in found if key is not None]
        return {"key": list(names), "info": await self._context.all_shown(keys, key_shape)}

    async def regenerate(self, request: AdminRequest) -> Any:
        """Give a key a new token. grace_period: how long the old token stays valid; without it, it becomes invalid at once."""
        body = request.body
        check_names(body, (*TERMS, *OWN, "grace_period", "new_key"))
        hash = _named(request.part or body.get("key"))
        token = own_token(body["new_key"]) if body.get("new_key") else new_token()
        grace = seconds("grace_period", body["grace_period"]) if body.get("grace_period") else 0.0
        now = self._context.clock()
        form = {name: value for name, value in body.items() if name != "key"}
        key = await self._change(hash, lambda key: rotated(changed(key, form, now), token, now, grace))
        return await self._with_token(key, token)

    async def reset_spend(self, request: AdminRequest) -> Any:
        """Reset the spend of a key. The ledger keeps its calls."""
        now = self._context.clock()
        spend, hash = request.body.get("reset_to", 0), _named(request.part)
        before = await self._context.database.read(lambda connection: table.by_hash(connection, hash))
        spent = {} if before is None else await self._context.spent([before])
        key = await self._change(hash, lambda key: replace(key, terms=reset(key.terms, spend, now), updated=now))
        told = {"key_hash": key.hash, "previous_spend": dollars(sum(spent.values()))}
        return {**told, **await self._context.shown(key, key_shape)}

    async def reset_all(self, request: AdminRequest) -> Any:
        """Reset the spend of all keys and teams. The ledger keeps its calls."""
        now = self._context.clock()

        def work(connection: Connection) -> list[Holder]:
            table.next_revision(connection, table.WHAT)  # concurrent changes wait here
            found = [*table.listed(connection, Kind.KEY), *table.listed(connection, Kind.TEAM)]
            return [table.put(connection, replace(one, terms=reset(one.terms, 0, now), updated=now)) for one in found]

        for one in await self._context.database.write(work):
            self._context.keys.forget(one.kind, one.id)
        return {"message": "the spend of all keys and teams was reset", "status": "success"}

    async def _blocked(self, request: AdminRequest, blocked: bool) -> Any:
        now = self._context.clock()
        key = await self._change(_named(request.body.get("key")), lambda key: replace(key, blocked=blocked, updated=now))
        return await self._context.shown(key, key_shape)


def rotated(key: Holder, token: str, now: float, grace: float) -> Holder:
    """The key with a new token. grace: seconds for which the old token stays valid."""
    former = (key.hash, now + grace) if grace else (None, None)
    return replace(key, hash=hash_of(token), hint=hint_of(token), former=former[0], former_until=former[1], updated=now)


def _named(value: Any) -> str:
    """The hash of a key, given its token or that hash."""
    named = text("key", value)
    return hash_of(named) if named.startswith(PREFIX) else named


def check_alias(connection: Connection, key: Holder) -> None:
    """Raises BadRequestError if another key has this alias."""
    if key.name and table.is_taken(connection, key):
        raise BadRequestError(f"key_alias {key.name!r} is taken by another key")


_IN_PARTS: Final = frozenset({"user_id", "key_alias"})
_NOBODYS: Final = ("project_id", "access_group_id", "agent_id")
"""Filters on fields that keys do not have here: they match nothing."""
_FURTHER: Final = frozenset({"sort_by", "organization_id", "search", "status", "expires", "substring_matching", *_NOBODYS})
"""Query parameters that a filter on columns cannot answer."""
_STATES: Final[Mapping[str, tuple[str, ...]]] = {"status": ("active", "expired", "revoked"), "expires": ("active", "expired")}


def _is_wanted(key: Holder, query: Mapping[str, str], now: float, *, parts: bool) -> bool:
    """Whether a key passes the filters that are not on columns. parts: whether user and alias match as substrings.

    Raises BadRequestError.
    """
    for name, known in _STATES.items():
        if query.get(name, known[0]) not in known:
            raise BadRequestError(f"{name} must be one of {', '.join(known)}, got {query[name]!r}")
    status, over = query.get("status"), "expired" if key.expires is not None and key.expires <= now else "active"
    return (
        not any(query.get(name) for name in _NOBODYS)
        and query.get("organization_id", key.terms.organization) == key.terms.organization
        and (not query.get("search") or query["search"] == key.hash or holds(query["search"], key.name))
        and (status is None or status == key_status(key, now))
        and query.get("expires", over) == over
        and not (parts and query.get("user_id") and not holds(query["user_id"], key.user))
        and not (parts and query.get("key_alias") and not holds(query["key_alias"], key.name))
    )
