"""Teams and users in the admin API."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from headrace.errors import BadRequestError, HeadraceError
from headrace.gateway.admin.budget_handlers import applied
from headrace.gateway.admin.context import AdminContext, AdminRequest, Route, blocking, holds, not_found, page_of
from headrace.gateway.admin.forms import (
    TERMS,
    check_names,
    flag,
    forms_of,
    key_shape,
    mapping,
    team_shape,
    terms_of,
    text,
    texts,
    user_shape,
)
from headrace.gateway.admin.key_handlers import KeyHandlers, reset
from headrace.gateway.admin.memberships import EACH, allowed, memberships
from headrace.gateway.callers import Role
from headrace.gateway.default_terms import teams_of
from headrace.gateway.keys import table
from headrace.gateway.keys.holders import Holder, Kind, Member, Terms
from headrace.runtime.sql_drivers import Connection

TEAM: Final = (*TERMS, "team_id", "team_alias", "members_with_roles", "blocked", "spend", *EACH)
USER: Final = (*TERMS, "user_id", "user_alias", "auto_create_key", "teams", "spend", "key_alias", "duration", "send_invite_email")
ROLES: Final[Mapping[Role, tuple[str, str]]] = {
    Role.ADMIN: ("Admin", "administers everything"),
    Role.VIEWER: ("Admin (view only)", "sees everything, changes nothing, calls no model"),
    Role.CALLER: ("Internal user", "calls models, and sees what is its own"),
    Role.ONLOOKER: ("Internal user (view only)", "sees what is its own, and calls no model"),
}
_ROLES: Final = ("user", "admin")
MEMBER: Final = ("role", "user_id", "user_email")


def member_of(given: Any, users: Iterable[Holder] = ()) -> Member:
    """A team member in LiteLLM's format: `{"role": "user", "user_id": "…"}`, or with the `user_email` of one of `users`."""
    said, role = mapping("member", given), role_of(given)
    if said.get("user_id") or not said.get("user_email"):
        return Member(text("member.user_id", said.get("user_id")), role)
    email = text("member.user_email", said["user_email"])
    found = next((user.id for user in users if user.terms.email == email), None)
    if found is None:
        raise not_found(f"user whose user_email is {email!r}: create one with /user/new, or give a user_id")
    return Member(found, role)


def role_of(given: Any) -> str:
    """The role of a team member in that format. Raises BadRequestError naming the field that is wrong."""
    said = mapping("member", given)
    check_names(said, MEMBER)
    role = said.get("role", "user")
    if role not in _ROLES:
        raise BadRequestError(f"member.role must be user or admin, got {role!r}")
    return str(role)


class People:
    """Operations that holders of one kind have in common: create, change, find, remove."""

    def __init__(
        self, context: AdminContext, kind: Kind, id: str, alias: str, shape: Callable[[Holder, int, float], dict[str, Any]]
    ) -> None:
        self.context = context
        self.kind = kind
        self.id = id
        self.alias = alias
        self.shape = shape

    async def make(self, body: Mapping[str, Any], terms: Terms = Terms()) -> Holder:  # noqa: B008 - frozen
        """Create a holder from a body. Raises BadRequestError if the id is taken or a field is invalid."""
        now = self.context.clock()
        id = text(self.id, body[self.id]) if body.get(self.id) else str(uuid.uuid4())
        holder = self.changed(Holder(kind=self.kind, id=id, terms=terms, created=now, updated=now), body)

        def put(connection: Connection) -> Holder:
            if table.get(connection, self.kind, id) is not None:
                raise BadRequestError(f"{self.id} {id!r} is taken")
            return table.put(connection, applied(connection, holder, now))

        return await self.context.change(put, self.kind.value)

    def changed(self, holder: Holder, body: Mapping[str, Any]) -> Holder:
        """A holder with the fields of a body applied."""
        now = self.context.clock()
        terms = terms_of(body, holder.terms, now)
        if body.get("spend") is not None and holder.revision:
            terms = reset(terms, body["spend"], now)
        blocked = flag("blocked", body["blocked"]) if body.get("blocked") is not None else holder.blocked
        name = text(self.alias, body[self.alias]) if body.get(self.alias) else holder.name
        return replace(holder, terms=terms, name=name, blocked=blocked, updated=now)

    async def change(self, id: Any, how: Callable[[Holder], Holder]) -> Holder:
        """Change a stored holder. Raises a refusal with status 404."""
        named, now = text(self.id, id), self.context.clock()

        def work(connection: Connection) -> Holder | None:
            return table.change(connection, self.kind, named, lambda one: applied(connection, how(one), now, one))

        return await self.context.change(work, f"{self.kind.value} {named!r}")

    async def find(self, id: Any) -> Holder:
        """A stored holder. Raises a refusal with status 404."""
        named = text(self.id, id)
        holder = await self.context.database.read(lambda connection: table.get(connection, self.kind, named))
        if holder is None:
            raise not_found(f"{self.kind.value} {named!r}")
        return holder

    async def remove(self, ids: tuple[str, ...]) -> list[Holder]:
        """Delete holders with their keys, which must not outlive the limits they are under."""
        now = self.context.clock()

        def work(connection: Connection) -> list[Holder]:
            found = []
            for id in ids:
                holder = table.get(connection, self.kind, id)
                if holder is None:
                    raise not_found(f"{self.kind.value} {id!r}")
                found += [holder, *table.listed(connection, Kind.KEY, {self.kind.value: id})]
            for holder in found:
                table.remove(connection, holder, now)
            return found

        gone = await self.context.database.write(work)
        for holder in gone:
            self.context.keys.forget(holder.kind, holder.id)
        return gone

    async def keys_of(self, id: str) -> list[dict[str, Any]]:
        """The keys of a team or user, in LiteLLM's format."""
        keys = await self.context.database.read(lambda connection: table.listed(connection, Kind.KEY, {self.kind.value: id}))
        return await self.context.all_shown(keys, key_shape)

    async def all(self) -> list[Holder]:
        return await self.context.database.read(lambda connection: table.listed(connection, self.kind))


class TeamHandlers:
    """Handlers of `/team/…`."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._teams = People(context, Kind.TEAM, "team_id", "team_alias", team_shape)
        self._users = People(context, Kind.USER, "user_id", "user_alias", user_shape)

    def routes(self) -> dict[str, Route]:
        return {
            "/team/new": Route(("POST",), "admin", self.new),
            "/team/update": Route(("POST", "PATCH"), "admin", self.update),
            "/team/delete": Route(("POST",), "admin", self.delete),
            "/team/info": Route(("GET",), "anyone", self.info),
            "/team/list": Route(("GET",), "look", self.page),
            "/v2/team/list": Route(("GET",), "look", self.pages),
            "/team/model/add": Route(("POST",), "admin", self.model_add),
            "/team/model/delete": Route(("POST",), "admin", self.model_delete),
            **{f"/team/{name}": route for name, route in blocking(self._blocked).items()},
        }

    async def _shown(self, team: Holder) -> dict[str, Any]:
        return await self._context.shown(team, team_shape)

    async def new(self, request: AdminRequest) -> Any:
        """Create a team. Its terms apply to all its keys."""
        body = request.body
        check_names(body, TEAM)
        users = await self._users.all()
        members = tuple([member_of(one, users) for one in body.get("members_with_roles") or ()])
        return await self._shown(await self._teams.make(body, Terms(members=members, each_member=_each(None, body))))

    async def update(self, request: AdminRequest) -> Any:
        """Change a team; omitted fields stay."""
        check_names(request.body, TEAM)
        body = request.body

        def changed(team: Holder) -> Holder:
            team = self._teams.changed(team, body)
            return replace(team, terms=replace(team.terms, each_member=_each(team.terms.each_member, body)))

        team = await self._teams.change(body.get("team_id"), changed)
        return {"team_id": team.id, "data": await self._shown(team)}

    async def delete(self, request: AdminRequest) -> Any:
        """Delete teams with their keys."""
        ids = texts("team_ids", request.body.get("team_ids"))
        gone = await self._teams.remove(ids)
        return {"deleted_teams": list(ids), "deleted_keys": sum(one.kind is Kind.KEY for one in gone)}

    async def info(self, request: AdminRequest) -> Any:
        """A team, by default the caller's own; with its keys for those who may see everything."""
        id = request.query.get("team_id") or request.caller.team
        if not request.sees_all and id != request.caller.team:
            raise not_found(f"team {id!r}")
        team = await self._teams.find(id)
        keys = await self._teams.keys_of(team.id) if request.sees_all else []
        members = (await memberships(self._context, [team]))[team.id] if request.sees_all else []
        return {"team_id": team.id, "team_info": await self._shown(team), "keys": keys, "team_memberships": members}

    async def page(self, request: AdminRequest) -> Any:
        """The teams with their keys, filtered by the query."""
        teams = [team for team in await self._teams.all() if _is_wanted(team, request.query)]
        keys: dict[str, list[Holder]] = defaultdict(list)
        for key in await self._context.database.read(lambda connection: table.listed(connection, Kind.KEY)) if teams else ():
            keys[key.team].append(key)
        shown = await self._context.all_shown(teams, team_shape)
        members = await memberships(self._context, teams)
        told = [{"team_memberships": members[team.id], "keys": await self._context.all_shown(keys[team.id], key_shape)} for team in teams]
        return [{**one, **more} for one, more in zip(shown, told, strict=True)]

    async def pages(self, request: AdminRequest) -> Any:
        """The teams page by page."""
        page = page_of(request.query, 10)
        teams = [team for team in await self._teams.all() if _is_wanted(team, request.query)]
        counts = await self._context.database.read(lambda connection: table.counts(connection, Kind.KEY, "team"))
        shown = [
            {**one, "members_count": len(one["members_with_roles"]), "keys_count": counts.get(one["team_id"], 0)}
            for one in await self._context.page(teams, team_shape, request.query, page)
        ]
        told = {"total": len(teams), "page": page.number, "page_size": page.size, "total_pages": page.pages(len(teams))}
        return {"teams": shown, **told}

    async def model_add(self, request: AdminRequest) -> Any:
        """Allow a team further models."""
        return await self._models(request, lambda had, named: tuple(dict.fromkeys([*had, *named])))

    async def model_delete(self, request: AdminRequest) -> Any:
        """Withdraw models from a team. Its last model stays, as an empty list allows all models."""
        return await self._models(request, _without)

    async def _models(self, request: AdminRequest, how: Callable[[tuple[str, ...], tuple[str, ...]], tuple[str, ...]]) -> Any:
        check_names(request.body, ("team_id", "models"))
        named = texts("models", request.body.get("models"))

        def changed(team: Holder) -> Holder:
            return replace(team, terms=replace(team.terms, models=how(team.terms.models, named)), updated=self._context.clock())

        return await self._shown(await self._teams.change(request.body.get("team_id"), changed))

    async def _blocked(self, request: AdminRequest, blocked: bool) -> Any:
        now = self._context.clock()
        return await self._shown(
            await self._teams.change(request.body.get("team_id"), lambda team: replace(team, blocked=blocked, updated=now))
        )


def _each(had: Member | None, body: Mapping[str, Any]) -> Member | None:
    """A team's terms for each member, changed by a body; None for none."""
    changed = allowed(had or NOBODY, body, EACH)
    return None if changed == NOBODY else changed


NOBODY: Final = Member("")


def _is_wanted(team: Holder, query: Mapping[str, str]) -> bool:
    """Whether a team passes the filters of a query."""
    user, search, above = query.get("user_id"), query.get("search", ""), query.get("organization_id")
    return (
        (not user or any(member.user == user for member in team.terms.members))
        and query.get("team_id", team.id) == team.id
        and holds(query.get("team_alias", ""), team.name)
        and (search == team.id or holds(search, team.name))
        and (above is None or team.terms.organization == ("" if above == "default_organization" else above))
    )


def _without(had: tuple[str, ...], named: tuple[str, ...]) -> tuple[str, ...]:
    left = tuple([name for name in had if name not in named])
    if had and not left:
        raise BadRequestError("models must leave the team at least one, as a team without models may call all; block the team instead")
    return left


class UserHandlers:
    """Handlers of `/user/…`."""

    def __init__(self, context: AdminContext, keys: KeyHandlers) -> None:
        self._context = context
        self._keys = keys
        self._users = People(context, Kind.USER, "user_id", "user_alias", user_shape)
        self._teams = People(context, Kind.TEAM, "team_id", "team_alias", team_shape)

    def routes(self) -> dict[str, Route]:
        return {
            "/user/new": Route(("POST",), "admin", self.new),
            "/user/update": Route(("POST",), "admin", self.update),
            "/user/bulk_update": Route(("POST",), "admin", self.update_many),
            "/user/delete": Route(("POST",), "admin", self.delete),
            "/user/info": Route(("GET",), "anyone", self.info),
            "/user/list": Route(("GET",), "look", self.page),
            "/user/available_roles": Route(("GET",), "anyone", self.roles),
            "/v2/user/info": Route(("GET",), "anyone", self.alone),
        }

    async def new(self, request: AdminRequest) -> Any:
        """Create a user and, unless `auto_create_key` is false, a key for it. The user's terms also apply to the key."""
        check_names(request.body, USER)
        default_terms = self._context.default_terms
        body = default_terms.new_user(request.body)
        own = {name: value for name, value in body.items() if name not in ("key_alias", "duration")}
        teams = teams_of("teams", body["teams"]) if body.get("teams") else default_terms.teams
        for team, _ in teams:
            await self._teams.find(team)
        user = await self._users.make(own)
        for team, member in teams:
            await self._join(team, replace(member, user=user.id))
        shown = await self._context.shown(user, user_shape)
        if body.get("auto_create_key") is False:
            return {**shown, "key": None}
        made = await self._keys.made({"user_id": user.id, **{name: body[name] for name in ("key_alias", "duration") if body.get(name)}})
        return {**made, **shown}

    async def _join(self, team: str, come: Member) -> None:
        def how(team: Holder) -> Holder:
            return replace(team, terms=replace(team.terms, members=(*team.terms.members, come)), updated=self._context.clock())

        await self._teams.change(team, how)

    async def update(self, request: AdminRequest) -> Any:
        """Change a user; omitted fields stay."""
        check_names(request.body, USER)
        user = await self._users.change(request.body.get("user_id"), lambda user: self._users.changed(user, request.body))
        return {"user_id": user.id, "data": await self._context.shown(user, user_shape)}

    async def update_many(self, request: AdminRequest) -> Any:
        """Change each of `users` as /user/update does, or with `all_users` all of them by `user_updates`.

        A failure does not affect the others.
        """
        body = request.body
        if flag("all_users", body.get("all_users") or False):
            updates = mapping("user_updates", body.get("user_updates"))
            forms = [{**updates, "user_id": user.id} for user in await self._users.all()]
        else:
            forms = forms_of("users", body.get("users"))
        results = [await self._updated(replace(request, body=form)) for form in forms]
        done = sum(result["success"] for result in results)
        return {"results": results, "total_requested": len(forms), "successful_updates": done, "failed_updates": len(forms) - done}

    async def _updated(self, request: AdminRequest) -> dict[str, Any]:
        told = {"user_id": request.body.get("user_id"), "user_email": request.body.get("user_email")}
        try:
            return {**told, "success": True, "error": None, "updated_user": await self.update(request)}
        except HeadraceError as error:
            return {**told, "success": False, "error": error.failure.message, "updated_user": None}

    async def delete(self, request: AdminRequest) -> Any:
        """Delete users with their keys."""
        ids = texts("user_ids", request.body.get("user_ids"))
        gone = await self._users.remove(ids)
        return {"deleted_users": list(ids), "deleted_keys": sum(one.kind is Kind.KEY for one in gone)}

    async def info(self, request: AdminRequest) -> Any:
        """A user with its keys and teams, by default the caller's own."""
        id = request.query.get("user_id") or request.caller.user
        if not request.sees_all and id != request.caller.user:
            raise not_found(f"user {id!r}")
        user = await self._users.find(id)
        teams = await self._context.database.read(lambda connection: table.listed(connection, Kind.TEAM))
        own = [team for team in teams if any(member.user == user.id for member in team.terms.members)]
        return {
            "user_id": user.id,
            "user_info": await self._context.shown(user, user_shape),
            "keys": await self._users.keys_of(user.id),
            "teams": await self._context.all_shown(own, team_shape),
        }

    async def alone(self, request: AdminRequest) -> Any:
        """A user without its keys and teams."""
        return (await self.info(request))["user_info"]

    async def roles(self, request: AdminRequest) -> Any:
        """The possible values of `user_role`."""
        return {role.value: {"description": what, "ui_label": name} for role, (name, what) in ROLES.items()}

    async def page(self, request: AdminRequest) -> Any:
        """The users page by page, newest first unless `sort_by` says otherwise."""
        query = request.query
        page, teams = page_of(query, 25), defaultdict(list)
        for team in await self._teams.all():
            for member in team.terms.members:
                teams[member.user].append(team.id)
        users = [user for user in reversed(await self._users.all()) if _is_asked_for(user, teams[user.id], query)]
        counts = await self._context.database.read(lambda connection: table.counts(connection, Kind.KEY, "user"))
        shown = [
            {**one, "teams": teams[one["user_id"]], "key_count": counts.get(one["user_id"], 0)}
            for one in await self._context.page(users, user_shape, query, page)
        ]
        told = {"total": len(users), "page": page.number, "page_size": page.size, "total_pages": page.pages(len(users))}
        return {"users": shown, **told}


def _is_asked_for(user: Holder, teams: Sequence[str], query: Mapping[str, str]) -> bool:
    """Whether a user passes the filters of a query. A single id matches as a substring, several must match exactly."""
    ids = [id for one in query.get("user_ids", "").split(",") if (id := one.strip())]
    above = query.get("organization_ids")
    return (
        query.get("role", user.terms.role or Role.CALLER.value) == (user.terms.role or Role.CALLER.value)
        and (not ids or (holds(ids[0], user.id) if len(ids) == 1 else user.id in ids))
        and not query.get("sso_user_ids")
        and holds(query.get("user_email", ""), user.terms.email)
        and holds(query.get("search", ""), user.id, user.terms.email)
        and ("team" not in query or query["team"] in teams)
        and (not above or user.terms.organization in above.split(","))
    )
