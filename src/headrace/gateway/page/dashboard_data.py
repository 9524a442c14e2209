"""The data of the dashboard page as plain values: groups with deployments, limits, queue and traffic, and the latest calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from headrace.api import Router
from headrace.gateway.page.recent_calls import RecentCalls, Seen


class DashboardData(Struct, frozen=True, eq=False):
    """The sources of the dashboard's data."""

    router: Router
    watch: RecentCalls
    version: str

    def now(self, at: float) -> dict[str, Any]:
        """All data of the page. at: the current time in Unix seconds."""
        snapshot = self.router.snapshot()
        return {
            "at": at,
            "began": self.watch.began,
            "version": self.version,
            "groups": [self._group(group, entries, snapshot) for group, entries in self._groups().items()],
            "scopes": self._scopes(snapshot["scopes"]),
            "calls": [call_of(seen) for seen in self.watch.recent()],
        }

    def _scopes(self, scopes: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The limits of each holder together, as its budgets and limits on single models have scopes of their own."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for name, use in scopes.items():
            kind, id, model = holder_of(name)
            whose = found.setdefault((kind, id), {"kind": kind, "name": self.watch.names.get(id, id), "in_flight": 0, "limits": []})
            whose["in_flight"] = max(whose["in_flight"], use["in_flight"])
            for label, gauge in use["limits"].items():
                limit = label.removeprefix(f"{name}:")
                whose["limits"].append({"name": f"{limit} {model}" if model else limit, **gauge})
        return list(found.values())

    def _groups(self) -> dict[str, list[dict[str, Any]]]:
        """The entries of each group, without aliases."""
        groups: dict[str, list[dict[str, Any]]] = {}
        for entry in filter(None, map(self.router.get_model_info, self.router.get_model_ids())):
            groups.setdefault(entry["model_name"], []).append(entry)
        return groups

    def _group(self, group: str, entries: Sequence[Mapping[str, Any]], snapshot: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "name": group,
            "waiting": snapshot["queues"].get(group, 0),
            "line": self.watch.line(group),
            "traffic": self.watch.sums(group),
            "series": self.watch.series(group),
            "deployments": [self._deployment(group, entry, snapshot) for entry in entries],
        }

    def _deployment(self, group: str, entry: Mapping[str, Any], snapshot: Mapping[str, Any]) -> dict[str, Any]:
        id = entry["model_info"]["id"]
        use = snapshot["deployments"].get(id, {"in_flight": 0, "held": 0.0, "limits": {}})
        return {
            "id": id,
            "model": entry["litellm_params"]["model"],
            "resting": use["held"],
            **_use(use),
            "traffic": self.watch.sums(group, id),
        }


def holder_of(scope: str) -> tuple[str, str, str]:
    """Kind and id of the holder of a gateway's scope, and the single model or member that it limits; "" for all."""
    kind, id, *more = [*scope.removeprefix("model:").removeprefix("member:").split(":"), ""]
    more = more[:-1]
    period = scope.startswith(("model:", "member:")) or (len(more) == 1 and more[0].isdecimal())
    if period:  # the last part of a budget is the start of its period
        more = more[:-1]
    return kind, unquote(id), ":".join(more)


def _use(use: Mapping[str, Any]) -> dict[str, Any]:
    return {"in_flight": use["in_flight"], "limits": [{"name": label, **gauge} for label, gauge in use["limits"].items()]}


def call_of(seen: Seen) -> dict[str, Any]:
    """One call, as a row. Times in seconds, cost in nano-dollars."""
    record = seen.record
    return {
        "id": record.id,
        "at": record.ended,
        "model": record.model,
        "deployment": record.deployment,
        "provider": record.provider,
        "served": record.served,
        "key": record.name or record.key,
        "team": record.team,
        "operation": record.operation,
        "stream": record.stream,
        "outcome": record.outcome.value,
        "status": record.status,
        "error": record.error,
        "waited": record.waited,
        "first": None if record.first is None else record.first - record.began,
        "total": record.ended - record.began,
        "usage": record.usage,
        "cost": record.cost,
        "attempts": record.attempts,
        "kept": record.content is not None,
        "decision": None if seen.decision is None else msgspec.to_builtins(dict(seen.decision), enc_hook=str),
    }
