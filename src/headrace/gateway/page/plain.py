"""The dashboard page without its build: the same data in tables, for any browser, without scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from time import gmtime, strftime
from typing import Any

_FRAME = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><meta http-equiv="refresh" content="5"><title>headrace</title></head>
<body><h1>headrace</h1>
<p>{when} UTC. The dashboard is not built; <code>make page</code> builds it.</p>
{body}
</body></html>
"""


def plain_page(picture: Mapping[str, Any]) -> bytes:
    """HTML that reloads itself every five seconds. picture: from `DashboardData.now`."""
    parts = [_group(group) for group in picture["groups"]]
    parts.append("<h2>Latest calls</h2>" + _table(_CALLS, map(_call, picture["calls"])))
    when = strftime("%Y-%m-%d %H:%M:%S", gmtime(picture["at"]))
    return _FRAME.format(when=when, body="\n".join(parts)).encode()


def _group(group: Mapping[str, Any]) -> str:
    traffic = group["traffic"]
    told = (
        f"{group['waiting']} queued. Last 15 minutes: {traffic['calls']} calls, {traffic['failed']} failed, "
        f"latency p50 {_seconds(traffic['total']['p50']) or '–'}, wait p95 {_seconds(traffic['waited']['p95']) or '–'}"
    )
    rows = map(_deployment, group["deployments"])
    lines = [[one["tenant"] or "no tenant", str(one["waiting"]), _seconds(one["longest"])] for one in group["line"]]
    waiting = _table(("Tenant", "Waiting", "Longest wait"), lines) if lines else ""
    return f"<h2>{escape(group['name'])}</h2><p>{escape(told)}</p>{_table(_DEPLOYMENTS, rows)}{waiting}"


_DEPLOYMENTS = ("Deployment", "Model", "In flight", "Limits used", "Cooldown", "Calls", "Failed", "Latency p50")
_CALLS = ("Time", "Model", "Deployment", "Key", "Outcome", "Wait", "Latency", "Tokens", "Cost")
_OUTCOMES = {"left": "cancelled"}


def _deployment(one: Mapping[str, Any]) -> list[str]:
    limits = ", ".join(f"{limit['name']} {limit['used']:,.0f} of {limit['limit']:,.0f}" for limit in one["limits"]) or "none"
    traffic = one["traffic"]
    resting = _seconds(one["resting"]) if one["resting"] else ""
    counted = [str(traffic["calls"]), str(traffic["failed"]), _seconds(traffic["total"]["p50"])]
    return [one["id"], one["model"], str(one["in_flight"]), limits, resting, *counted]


def _call(call: Mapping[str, Any]) -> list[str]:
    cost = "" if call["cost"] is None else f"${call['cost'] / 1e9:.6f}"
    tokens = str(int(sum(call["usage"].values()))) if call["usage"] else ""
    when = strftime("%H:%M:%S", gmtime(call["at"]))
    ended = call["error"] or _OUTCOMES.get(call["outcome"], call["outcome"])
    return [when, call["model"], call["deployment"], call["key"], ended, _seconds(call["waited"]), _seconds(call["total"]), tokens, cost]


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f} s"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table border="1"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
