"""Spending in the admin API: calls from the ledger, and totals by key, user, team, model, tag and day, in dollars."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from headrace.errors import BadRequestError, HeadraceError
from headrace.gateway.admin.asked_calls import Calls, Row, date_of
from headrace.gateway.admin.context import AdminContext, AdminRequest, Route, number_of, page_of
from headrace.gateway.admin.forms import dollars, key_shape, moment, text, user_shape
from headrace.gateway.keys import table
from headrace.gateway.keys.holders import Holder, Kind
from headrace.gateway.ledger.reading import Condition, Query, query
from headrace.gateway.records import Outcome
from headrace.models.info import completion_cost

MOST: Final = 10_000
"""Calls in one response."""


class SpendHandlers:
    """Handlers of `/spend/…` and `/global/…`."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._calls = Calls(context)

    def routes(self) -> dict[str, Route]:
        look = {
            "/spend/keys": self.keys, "/spend/users": self.users, "/spend/tags": self.tags,
            "/global/spend": self.all, "/global/spend/logs": self.days, "/global/spend/keys": self.dear_keys,
            "/global/spend/models": self.models, "/global/spend/teams": self.teams, "/global/spend/tags": self.global_tags,
            "/global/spend/provider": self.providers, "/global/spend/report": self.report, "/global/activity": self.activity,
            "/global/spend/all_tag_names": self.tag_names, "/global/all_end_users": self.customers,
        }  # fmt: skip
        return {
            **{path: Route(("GET",), "look", answer) for path, answer in look.items()},
            "/spend/logs": Route(("GET",), "anyone", self.logs),
            "/spend/logs/v2": Route(("GET",), "anyone", self.pages),
            "/spend/calculate": Route(("POST",), "anyone", self.calculate),
            "/global/spend/end_users": Route(("POST",), "look", self.dear_customers),
        }

    # ---- calls

    async def logs(self, request: AdminRequest) -> Any:
        """The latest calls; with `start_date` and `end_date` the totals per day, unless `summarize` is false.

        Request and response content, where recorded, is included for the call named by `request_id`.
        """
        where = await self._calls.where(request)
        dated = request.query.get("start_date") and request.query.get("end_date")
        if dated and request.query.get("summarize", "true").lower() != "false":
            return await self._by_day(where)
        return await self._payloads(query("*", where, "ORDER BY began DESC LIMIT :most", most=MOST), content=_names_one(request))

    async def pages(self, request: AdminRequest) -> Any:
        """The calls page by page, latest first."""
        where = await self._calls.where(request)
        page = page_of(request.query, 50)
        total = await self._calls.scalar(query("count(*)", where))
        chosen = query("*", where, "ORDER BY began DESC LIMIT :size OFFSET :first", size=page.size, first=page.first)
        data = await self._payloads(chosen, content=_names_one(request))
        return {"data": data, "total": total, "page": page.number, "page_size": page.size, "total_pages": page.pages(total)}

    async def _payloads(self, chosen: Query, *, content: bool) -> list[dict[str, Any]]:
        rows = await self._calls.rows(chosen)
        hashes = await self._calls.hashes(rows)
        return [payload(row, hashes, content=content) for row in rows]

    async def _by_day(self, where: Sequence[Condition]) -> list[dict[str, Any]]:
        rows = await self._calls.grouped([self._calls.day, "key", '"user"', "served"], where)
        hashes = await self._calls.hashes(rows)
        days: dict[int, dict[str, Any]] = {}
        for row in rows:
            day = days.setdefault(int(row["day"]), {"startTime": date_of(row["day"]), "spend": 0.0, "users": {}, "models": {}})
            spend = dollars(row["cost"])
            day["spend"] += spend
            for kind, name in (("users", row["user"]), ("models", row["served"])):
                day[kind][name] = day[kind].get(name, 0.0) + spend
            if row["key"]:
                hash = str(hashes.get(row["key"], row["key"]))
                day[hash] = day.get(hash, 0.0) + spend
        return [days[day] for day in sorted(days)]

    # ---- sums

    async def keys(self, request: AdminRequest) -> Any:
        """The keys with their spend, highest first."""
        return await self._holders(Kind.KEY, request, key_shape)

    async def users(self, request: AdminRequest) -> Any:
        """The users with their spend, highest first."""
        return await self._holders(Kind.USER, request, user_shape)

    async def _holders(self, kind: Kind, request: AdminRequest, shape: Any) -> list[dict[str, Any]]:
        wanted = request.query.get("user_id") if kind is Kind.USER else None
        where = {"id": wanted} if wanted else {}
        holders: list[Holder] = await self._context.database.read(lambda connection: table.listed(connection, kind, where, most=MOST))
        shown = await self._context.all_shown(holders, shape)
        return sorted(shown, key=lambda one: -one["spend"])

    async def tags(self, request: AdminRequest) -> Any:
        """Calls and spend by tag, highest spend first."""
        found = await self._tags(request)
        return [{"individual_request_tag": tag, "log_count": count, "total_spend": dollars(cost)} for tag, (count, cost) in found]

    async def global_tags(self, request: AdminRequest) -> Any:
        """Calls and spend by tag, highest spend first, under `spend_per_tag`."""
        found = await self._tags(request)
        return {"spend_per_tag": [{"name": tag, "log_count": count, "spend": dollars(cost)} for tag, (count, cost) in found]}

    async def _tags(self, request: AdminRequest) -> list[tuple[str, tuple[int, int]]]:
        """Each tag with its number of calls and their cost, the most expensive first."""
        found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for row in await self._calls.grouped(["tags"], [*await self._calls.where(request), ("tags <> '[]'", {})]):
            for tag in msgspec.json.decode(row["tags"]):
                found[tag][0] += row["calls"]
                found[tag][1] += row["cost"]
        return sorted(((tag, (count, cost)) for tag, (count, cost) in found.items()), key=lambda one: -one[1][1])

    async def tag_names(self, request: AdminRequest) -> Any:
        """All tags that calls carried."""
        return {"tag_names": sorted(tag for tag, _ in await self._tags(request))}

    async def customers(self, request: AdminRequest) -> Any:
        """All end users that calls named."""
        rows = await self._calls.grouped(["customer"], [*await self._calls.where(request), ("customer <> ''", {})])
        return {"end_users": sorted(row["customer"] for row in rows)}

    async def all(self, request: AdminRequest) -> Any:
        """The total spend, and the budget of all calls."""
        total = await self._calls.scalar(query("sum(cost)", await self._calls.where(request)))
        together = self._context.default_terms.together.budget
        return {"spend": dollars(total), "max_budget": None if together is None else dollars(together)}

    async def days(self, request: AdminRequest) -> Any:
        """Spend per day, by default of the last 30 days."""
        where = await self._calls.where(request, days=30)
        rows = await self._calls.grouped([self._calls.day], where)
        return [{"date": date_of(row["day"]), "spend": dollars(row["cost"])} for row in sorted(rows, key=lambda row: row["day"])]

    async def activity(self, request: AdminRequest) -> Any:
        """Calls and tokens per day, by default of the last 30 days."""
        rows = sorted(await self._calls.grouped([self._calls.day], await self._calls.where(request, days=30)), key=lambda row: row["day"])
        daily = [{"date": date_of(row["day"]), "api_requests": row["calls"], "total_tokens": row["tokens"]} for row in rows]
        return {
            "daily_data": daily,
            "sum_api_requests": sum(day["api_requests"] for day in daily),
            "sum_total_tokens": sum(day["total_tokens"] for day in daily),
        }

    async def dear_keys(self, request: AdminRequest) -> Any:
        """The keys with the highest spend, by default of the last 30 days."""
        rows = await self._dearest(["key", "name"], request)
        hashes = await self._calls.hashes(rows)
        return [
            {
                "api_key": hashes.get(row["key"], row["key"]),
                "key_alias": row["name"] or None,
                "key_name": row["name"] or None,
                "total_spend": dollars(row["cost"]),
            }
            for row in rows
        ]

    async def dear_customers(self, request: AdminRequest) -> Any:
        """The spend of each end user, highest first, filtered by `api_key`, `startTime` and `endTime`."""
        words = {"startTime": "start_date", "endTime": "end_date"}
        said = {words.get(name, name): str(value) for name, value in request.body.items() if value is not None}
        rows = await self._dearest(["customer"], replace(request, query=said))
        return [{"end_user": row["customer"], "total_count": row["calls"], "total_spend": dollars(row["cost"])} for row in rows]

    async def models(self, request: AdminRequest) -> Any:
        """The models with the highest spend, by default of the last 30 days."""
        return [{"model": row["served"], "total_spend": dollars(row["cost"])} for row in await self._dearest(["served"], request)]

    async def providers(self, request: AdminRequest) -> Any:
        """The providers with the highest spend, by default of the last 30 days."""
        return [{"provider": row["provider"], "spend": dollars(row["cost"])} for row in await self._dearest(["provider"], request)]

    async def _dearest(self, by: list[str], request: AdminRequest) -> list[Row]:
        rows = await self._calls.grouped(by, await self._calls.where(request, days=30))
        return sorted(rows, key=lambda row: -row["cost"])[: number_of(request.query, "limit", 100)]

    async def teams(self, request: AdminRequest) -> Any:
        """Spend per day and team, by default of the last 30 days."""
        rows = await self._calls.grouped([self._calls.day, "team"], await self._calls.where(request, days=30))
        daily: dict[int, dict[str, Any]] = {}
        total: dict[str, int] = defaultdict(int)
        for row in sorted(rows, key=lambda row: row["day"]):
            daily.setdefault(row["day"], {"date": date_of(row["day"])})[row["team"]] = dollars(row["cost"])
            total[row["team"]] += row["cost"]
        return {
            "daily_spend": list(daily.values()),
            "teams": sorted(total),
            "total_spend_per_team": [{"team_id": team, "total_spend": dollars(cost)} for team, cost in sorted(total.items())],
        }

    async def report(self, request: AdminRequest) -> Any:
        """Per day and team (customer, api_key): the cost of each model."""
        by = request.query.get("group_by", "team")
        columns = {"team": "team", "customer": "customer", "api_key": "key"}
        if by not in columns:
            raise BadRequestError(f"group_by must be one of {', '.join(columns)}, got {by!r}")
        rows = await self._calls.grouped([self._calls.day, f"{columns[by]} AS who", "served"], await self._calls.where(request, days=30))
        days: dict[int, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            days[row["day"]][row["who"]].append(
                {"model": row["served"], "spend": dollars(row["cost"]), "total_tokens": row["tokens"], "requests": row["calls"]}
            )
        return [
            {
                "group_by_day": date_of(day),
                f"{by}s": [
                    {f"{by}_name": name, "total_spend": sum(model["spend"] for model in models), "metadata": models}
                    for name, models in sorted(who.items())
                ],
            }
            for day, who in sorted(days.items())
        ]

    # ---- the price of a call that is not made

    async def calculate(self, request: AdminRequest) -> Any:
        """The cost of `model` and `messages`, or of a `completion_response`."""
        body = request.body
        try:
            if "completion_response" in body:
                return {"cost": completion_cost(body["completion_response"])}
            return {"cost": completion_cost(model=text("model", body.get("model")), messages=body.get("messages") or [])}
        except HeadraceError as error:
            raise BadRequestError(error.failure.message) from None


def _names_one(request: AdminRequest) -> bool:
    return bool(request.query.get("request_id"))


_PROMPTS: Final = ("messages", "input", "prompt", "contents", "query")
"""Names of the prompt field in request bodies."""


def payload(row: Row, hashes: Mapping[str, str], *, content: bool) -> dict[str, Any]:
    """A call in the format of LiteLLM's spend logs. content: include request and response, where recorded."""
    usage = msgspec.json.decode(row["usage"])
    said = msgspec.json.decode(row["content"]) if content and row["content"] else {}
    asked = said.get("request", {})
    return {
        "request_id": row["id"],
        "call_type": row["operation"],
        "api_key": hashes.get(row["key"], row["key"]),
        "spend": dollars(row["cost"] or 0),
        "total_tokens": row["input"] + row["output"],
        "prompt_tokens": row["input"],
        "completion_tokens": row["output"],
        "startTime": moment(row["began"]),
        "endTime": moment(row["ended"]),
        "completionStartTime": moment(row["first"]),
        "request_duration_ms": round((row["ended"] - row["began"]) * 1000),
        "model": row["served"] or row["model"],
        "model_group": row["group"] or row["model"],
        "model_id": row["deployment"],
        "custom_llm_provider": row["provider"],
        "user": row["user"],
        "team_id": row["team"] or None,
        "end_user": row["customer"] or None,
        "session_id": row["session"] or None,
        "request_tags": msgspec.json.decode(row["tags"]),
        "messages": next((asked[name] for name in _PROMPTS if name in asked), {}) if isinstance(asked, dict) else {},
        "response": said.get("response", {}),
        "proxy_server_request": asked,
        "status": "success" if row["outcome"] == Outcome.ANSWERED.value else "failure",
        "metadata": {
            "user_api_key": hashes.get(row["key"], row["key"]) or None,
            "user_api_key_alias": row["name"] or None,
            "user_api_key_user_id": row["user"] or None,
            "user_api_key_team_id": row["team"] or None,
            "litellm_call_id": row["id"],
            "spend_logs_metadata": msgspec.json.decode(row["metadata"]),
            "usage": usage,
            "outcome": row["outcome"],
            "http_status": row["status"],
            "error": row["error"] or None,
            "attempts": row["attempts"],
            "attempted_retries": max(0, row["attempts"] - 1),
            "queue_wait_ms": round(row["waited"] * 1000),
            "path": row["path"],
        },
    }
