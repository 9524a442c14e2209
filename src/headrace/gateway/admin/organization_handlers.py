"""Organizations in the admin API: above teams and keys, with their own models, limits, budgets and members."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from headrace.errors import BadRequestError
from headrace.gateway.admin.context import AdminContext, AdminRequest, Route, not_found
from headrace.gateway.admin.forms import TERMS, check_names, mapping, organization_shape, team_shape, text, texts, user_shape
from headrace.gateway.admin.people_handlers import People
from headrace.gateway.keys import table
from headrace.gateway.keys.holders import Holder, Kind, Member
from headrace.runtime.sql_drivers import Connection

_UNFIT: Final = ("tags", "user_role", "user_email", "model_aliases", "aliases")
ORGANIZATION: Final = (*[word for word in TERMS if word not in _UNFIT], "organization_alias", "blocked", "spend")
ROLES: Final = ("org_admin", "internal_user", "internal_user_viewer")
"""LiteLLM's. A member sees the organization; only the gateway's administrators can change it."""
_MEMBER: Final = ("role", "user_id", "user_email")


class _Organizations(People):
    """Operations on organizations."""

    def changed(self, holder: Holder, body: Mapping[str, Any]) -> Holder:
        """`organization_id` names the organization itself, not one above it."""
        return super().changed(holder, {name: value for name, value in body.items() if name != self.id})


class OrganizationHandlers:
    """Handlers of `/organization/…`."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._all = _Organizations(context, Kind.ORGANIZATION, "organization_id", "organization_alias", organization_shape)

    def routes(self) -> dict[str, Route]:
        return {
            "/organization/new": Route(("POST",), "admin", self.new),
            "/organization/update": Route(("PATCH", "POST"), "admin", self.update),
            "/organization/delete": Route(("DELETE", "POST"), "admin", self.delete),
            "/organization/info": Route(("GET", "POST"), "anyone", self.info),
            "/organization/list": Route(("GET",), "anyone", self.page),
            "/organization/member_add": Route(("POST",), "admin", self.member_add),
            "/organization/member_update": Route(("PATCH", "POST"), "admin", self.member_update),
            "/organization/member_delete": Route(("DELETE", "POST"), "admin", self.member_delete),
        }

    async def new(self, request: AdminRequest) -> Any:
        """Create an organization.

        Its terms apply to the teams, keys and users with its `organization_id`, in addition to their own.
        """
        check_names(request.body, ORGANIZATION)
        text("organization_alias", request.body.get("organization_alias"))
        return await self._shown(await self._all.make(request.body))

    async def update(self, request: AdminRequest) -> Any:
        """Change an organization; omitted fields stay."""
        check_names(request.body, ORGANIZATION)
        said = request.body
        return await self._shown(await self._all.change(said.get("organization_id"), lambda one: self._all.changed(one, said)))

    async def delete(self, request: AdminRequest) -> Any:
        """Delete organizations with their teams and all their keys, which must not outlive the limits they are under."""
        ids, now = texts("organization_ids", request.body.get("organization_ids")), self._context.clock()

        def work(connection: Connection) -> tuple[list[Holder], list[Holder]]:
            above = [table.get(connection, Kind.ORGANIZATION, id) for id in ids]
            if None in above:
                raise not_found(f"organization {ids[above.index(None)]!r}")
            teams = [team for id in ids for team in table.having(connection, Kind.TEAM, "organization", id)]
            keys = [key for id in ids for key in table.having(connection, Kind.KEY, "organization", id)]
            keys += [key for team in teams for key in table.listed(connection, Kind.KEY, {"team": team.id})]
            users = [user for id in ids for user in table.having(connection, Kind.USER, "organization", id)]
            for one in {(one.kind, one.id): one for one in (*[one for one in above if one is not None], *teams, *keys)}.values():
                table.remove(connection, one, now)
            for user in users:
                table.put(connection, replace(user, terms=replace(user.terms, organization=""), updated=now))
            return [one for one in above if one is not None], [*teams, *keys, *users]

        gone, theirs = await self._context.database.write(work)
        for one in (*gone, *theirs):
            self._context.keys.forget(one.kind, one.id)
        return await self._context.all_shown(gone, organization_shape)

    async def info(self, request: AdminRequest) -> Any:
        """An organization with its teams and members; by POST all those in `organizations`."""
        if "organizations" in request.body:
            return [await self._whole(request, id) for id in texts("organizations", request.body["organizations"])]
        return await self._whole(request, request.query.get("organization_id"))

    async def _whole(self, request: AdminRequest, id: Any) -> dict[str, Any]:
        found = await self._all.find(id)
        if not _sees(request, found):
            raise not_found(f"organization {found.id!r}")
        read = self._context.database.read
        teams = await read(lambda connection: table.having(connection, Kind.TEAM, "organization", found.id))
        users = await read(lambda connection: [table.get(connection, Kind.USER, one.user) for one in found.terms.members])
        there = {user.id: user for user in users if user is not None}
        emails = {id: user.terms.email or None for id, user in there.items()}
        shown = await self._shown(found)
        members = [{**member, "user_email": emails.get(member["user_id"])} for member in shown["members"]]
        return {
            **shown, "members": members, "teams": await self._context.all_shown(teams, team_shape),
            "users": await self._context.all_shown(list(there.values()), user_shape),
        }  # fmt: skip

    async def page(self, request: AdminRequest) -> Any:
        """The organizations that the caller may see, filtered by `org_id`, or by `org_alias` in their name."""
        id, alias = request.query.get("org_id"), request.query.get("org_alias", "").lower()
        seen = [one for one in await self._all.all() if _sees(request, one) and id in (None, "", one.id) and alias in one.name.lower()]
        return await self._context.all_shown(seen, organization_shape)

    # ---- members

    async def member_add(self, request: AdminRequest) -> Any:
        """Add a `member` or several to an organization."""
        body = request.body
        check_names(body, ("organization_id", "member", *_MEMBER))
        given = body.get("member") or {name: body[name] for name in _MEMBER if name in body}
        members = [await self._member(one) for one in (given if isinstance(given, list) else [given])]
        out = frozenset(member.user for member in members)
        changed = await self._changed(request, lambda had: (*[one for one in had if one.user not in out], *members))
        shown = await self._shown(changed)
        users = await self._context.database.read(lambda connection: [table.get(connection, Kind.USER, id) for id in sorted(out)])
        return {
            "organization_id": changed.id,
            "updated_users": await self._context.all_shown([user for user in users if user is not None], user_shape),
            "updated_organization_memberships": [one for one in shown["members"] if one["user_id"] in out],
        }

    async def member_update(self, request: AdminRequest) -> Any:
        """Change the role of a member."""
        check_names(request.body, ("organization_id", *_MEMBER))
        member = await self._member(request.body)
        changed = await self._changed(
            request, lambda had: tuple([member if one.user == member.user else one for one in _with(had, member)])
        )
        return {"organization_id": changed.id, "user_id": member.user, "user_role": member.role}

    async def member_delete(self, request: AdminRequest) -> Any:
        """Remove a member from an organization."""
        check_names(request.body, ("organization_id", "user_id", "user_email"))
        member = await self._member(request.body)
        changed = await self._changed(request, lambda had: tuple([one for one in _with(had, member) if one.user != member.user]))
        return await self._shown(changed)

    async def _member(self, given: Any) -> Member:
        """A member in LiteLLM's format: `{"role": "internal_user", "user_id": "…"}`, or with the `user_email` of a user."""
        said = {name: value for name, value in mapping("member", given).items() if name in _MEMBER}
        role = said.get("role") or "internal_user"
        if role not in ROLES:
            raise BadRequestError(f"member.role must be one of {', '.join(ROLES)}, got {role!r}")
        if said.get("user_id") or not said.get("user_email"):
            return Member(text("member.user_id", said.get("user_id")), role)
        users = await self._context.database.read(lambda connection: table.listed(connection, Kind.USER))
        found = next((user.id for user in users if user.terms.email == said["user_email"]), None)
        if found is None:
            raise not_found(f"user whose user_email is {said['user_email']!r}: create one with /user/new, or give a user_id")
        return Member(found, role)

    async def _changed(self, request: AdminRequest, how: Callable[[tuple[Member, ...]], tuple[Member, ...]]) -> Holder:
        now = self._context.clock()

        def changed(one: Holder) -> Holder:
            return replace(one, terms=replace(one.terms, members=how(one.terms.members)), updated=now)

        return await self._all.change(request.body.get("organization_id"), changed)

    async def _shown(self, one: Holder) -> dict[str, Any]:
        return await self._context.shown(one, organization_shape)


def _with(had: tuple[Member, ...], member: Member) -> tuple[Member, ...]:
    if not any(one.user == member.user for one in had):
        raise not_found(f"member {member.user!r} of the organization")
    return had


def _sees(request: AdminRequest, one: Holder) -> bool:
    own = request.caller.user
    return request.sees_all or (bool(own) and any(member.user == own for member in one.terms.members))
