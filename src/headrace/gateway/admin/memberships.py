"""What the members of a team may spend within it: read from LiteLLM's fields, and shown as LiteLLM's memberships."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from headrace.errors import BadRequestError
from headrace.gateway.admin.asked_calls import Calls
from headrace.gateway.admin.context import AdminContext
from headrace.gateway.admin.forms import amount, dollars, duration, member_shape, money
from headrace.gateway.keys import table
from headrace.gateway.keys.holders import Allowance, Holder, Kind, Member, member_id
from headrace.runtime.sql_drivers import Connection, several


class Words(NamedTuple):
    """The fields that hold a member's terms."""

    budget: str
    duration: str
    rpm: str
    tpm: str


OWN: Final = Words("max_budget_in_team", "budget_duration", "rpm_limit", "tpm_limit")
EACH: Final = Words("team_member_budget", "team_member_budget_duration", "team_member_rpm_limit", "team_member_tpm_limit")
"""Those of every member, in the fields of a team."""


def allowed(member: Member, body: Mapping[str, Any], words: Words) -> Member:
    """The member with the terms of a body; null removes one. Raises BadRequestError naming the field."""
    had = member.allowance
    budget, period = (None, None) if had is None else (had.budget, had.duration)
    if words.budget in body:
        budget = None if body[words.budget] is None else money(words.budget, body[words.budget])
    if words.duration in body:
        period = None if body[words.duration] is None else duration(words.duration, body[words.duration])
    if budget is None and body.get(words.duration) is not None:
        raise BadRequestError(f"{words.duration} needs a {words.budget}")
    limits = {
        field: None if body[word] is None else amount(word, body[word])
        for field, word in (("rpm", words.rpm), ("tpm", words.tpm))
        if word in body
    }
    return replace(member, allowance=None if budget is None else Allowance(budget, period), **limits)


async def memberships(context: AdminContext, teams: Iterable[Holder]) -> dict[str, list[dict[str, Any]]]:
    """The members of each team, by its id, with what they have spent within it: in the current period of their budget, or ever."""
    now, spent, shown = context.clock(), dict[tuple[str, str], int](), dict[str, list[dict[str, Any]]]()
    named = [team for team in teams if team.terms.members]
    if named:
        marks, given = several("team", [team.id for team in named])
        for row in await Calls(context).grouped(["team", '"user"'], [(f"team IN {marks}", given)]):
            spent[row["team"], row["user"]] = row["cost"]
    for team in named:
        for member in [team.terms.within(one.user) for one in team.terms.members]:
            if member.allowance is not None:
                spent[team.id, member.user] = await _spent(context, member_id(team.id, member.user), member.allowance.period_at(now)[0])
    for team in teams:
        members = [team.terms.within(one.user) for one in team.terms.members]
        shown[team.id] = [
            {
                "user_id": member.user, "team_id": team.id, "budget_id": None, "spend": dollars(spent.get((team.id, member.user), 0)),
                "litellm_budget_table": member_shape(member) if member.allowance or member.limits else None,
            }
            for member in members
        ]  # fmt: skip
    return shown


async def _spent(context: AdminContext, id: str, began: float) -> int:
    def read(connection: Connection) -> int:
        return table.spent_in(connection, Kind.MEMBER, id, began)

    return await context.database.read(read)
