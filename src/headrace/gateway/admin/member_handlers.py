"""The members of teams in the admin API: added, changed and removed, each with a budget and limits within the team."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec.structs import replace

from headrace.errors import BadRequestError
from headrace.gateway.admin.context import AdminContext, AdminRequest, Route, not_found
from headrace.gateway.admin.forms import check_names, mapping, member_shape, team_shape, user_shape
from headrace.gateway.admin.memberships import OWN, allowed, memberships
from headrace.gateway.admin.people_handlers import MEMBER, NOBODY, People, member_of, role_of
from headrace.gateway.keys.holders import Holder, Kind, Member

_ADDED: Final = (OWN.budget, OWN.duration)


class MemberHandlers:
    """Handlers of the members of teams."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._teams = People(context, Kind.TEAM, "team_id", "team_alias", team_shape)
        self._users = People(context, Kind.USER, "user_id", "user_alias", user_shape)

    def routes(self) -> dict[str, Route]:
        return {
            "/team/member_add": Route(("POST",), "admin", self.add),
            "/team/bulk_member_add": Route(("POST",), "admin", self.add_many),
            "/team/member_update": Route(("POST",), "admin", self.update),
            "/team/member_delete": Route(("POST",), "admin", self.delete),
        }

    async def add(self, request: AdminRequest) -> Any:
        """Add a `member` or several, with `max_budget_in_team` for each. Users that do not exist yet are created."""
        body = request.body
        check_names(body, ("team_id", "member", *MEMBER, *_ADDED))
        given = body.get("member") or {name: body[name] for name in MEMBER if name in body}
        forms = given if isinstance(given, list) else [given]
        for form in forms:  # before any user is created
            role_of(form)
        allowed(NOBODY, body, OWN)
        await self._teams.find(body.get("team_id"))
        users = await self._there(forms)
        added = {member.user: allowed(member, body, OWN) for member in [member_of(one, users) for one in forms]}
        team = await self._changed(request, lambda had: (*[one for one in had if one.user not in added], *added.values()))
        rows = (await memberships(self._context, [team]))[team.id]
        return {
            **await self._context.shown(team, team_shape),
            "updated_users": await self._context.all_shown([user for user in users if user.id in added], user_shape),
            "updated_team_memberships": [row for row in rows if row["user_id"] in added],
        }

    async def _there(self, forms: Iterable[Any]) -> list[Holder]:
        """All users, among them those whom the forms name."""
        users = await self._users.all()
        for form in forms:
            said = mapping("member", form)
            id, email = said.get("user_id"), said.get("user_email")
            if (id or email) and not any(user.id == id if id else user.terms.email == email for user in users):
                users.append(await self._users.make({name: said[name] for name in ("user_id", "user_email") if said.get(name)}))
        return users

    async def add_many(self, request: AdminRequest) -> Any:
        """Add several `members` at once."""
        check_names(request.body, ("team_id", "members", *_ADDED))
        members = request.body.get("members")
        if not isinstance(members, list) or not members:
            raise BadRequestError("members must be a list of at least one member")
        return await self.add(replace(request, body={**_without(request.body, "members"), "member": members}))

    async def update(self, request: AdminRequest) -> Any:
        """Change a member's role, budget and limits within the team. Fields that are left out keep their values."""
        body = request.body
        check_names(body, ("team_id", *MEMBER, *OWN))
        named = member_of({name: body[name] for name in MEMBER if name in body}, await self._users.all())

        def changed(member: Member) -> Member:
            if member.user != named.user:
                return member
            return allowed(replace(member, role=named.role) if "role" in body else member, body, OWN)

        team = await self._changed(request, lambda had: tuple(map(changed, _holding(had, named.user))))
        (member,) = [one for one in team.terms.members if one.user == named.user]
        terms = member_shape(member)
        told = {"team_id": team.id, "user_id": member.user, "user_email": body.get("user_email"), "role": member.role}
        return {**told, **_without(terms, "max_budget"), OWN.budget: terms["max_budget"]}

    async def delete(self, request: AdminRequest) -> Any:
        """Remove a member."""
        check_names(request.body, ("team_id", *MEMBER))
        named = member_of({name: request.body[name] for name in MEMBER if name in request.body}, await self._users.all()).user
        team = await self._changed(request, lambda had: tuple([one for one in had if one.user != named]))
        return await self._context.shown(team, team_shape)

    async def _changed(self, request: AdminRequest, how: Callable[[tuple[Member, ...]], tuple[Member, ...]]) -> Holder:
        def changed(team: Holder) -> Holder:
            return replace(team, terms=replace(team.terms, members=how(team.terms.members)), updated=self._context.clock())

        return await self._teams.change(request.body.get("team_id"), changed)


def _holding(members: tuple[Member, ...], user: str) -> tuple[Member, ...]:
    if not any(one.user == user for one in members):
        raise not_found(f"member {user!r} of the team")
    return members


def _without(body: Any, name: str) -> dict[str, Any]:
    return {word: value for word, value in body.items() if word != name}
