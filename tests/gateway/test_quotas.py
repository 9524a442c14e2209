"""Response headers with what is left under the caller's own limits."""

from __future__ import annotations

from headrace.gateway.quotas import OpenaiLines, openai_headers
from headrace.limits.account import Account
from headrace.limits.left import left_of
from headrace.limits.limit import Charge, limits_of
from headrace.limits.lock import Lock
from headrace.limits.roster import EXACT, OWN
from headrace.limits.tabs import Slate, Tabs


def told(scopes: list[Account], now: float) -> bytes:
    """By the way of every answer, limit by limit."""
    left = [left_of(meter, now) for account in scopes for meter in account.meters]
    return b"".join([f"{name}: {value}\r\n".encode() for name, value in openai_headers(left)])


def test_what_is_left_is_told_alike_before_a_call_and_on_a_tab_and_when_a_limit_has_changed() -> None:
    key, team = [Account(name, limits_of(rpm=rpm, tpm=100_000), OWN, EXACT) for name, rpm in (("key", 1000), ("team", 900))]
    for scopes in ([key], [key, team]):
        lines, tabs, slates = OpenaiLines(scopes), Tabs(Lock()), dict[Account, Slate]()
        assert lines.at(0.0) == told(scopes, 0.0)
        for call in range(5):
            tabs.put(slates, tuple(scopes[:-1]), scopes[-1], Charge(100, 50), call / 100)
            assert lines.at(call / 100) == told(scopes, call / 100)
        assert key.meters[0].unbooked > 0
        key.configure(limits_of(rpm=500, tpm=100_000), OWN)
        assert b"limit-requests: 500\r\n" in lines.at(0.05)
        assert lines.at(0.05) == told(scopes, 0.05)
        tabs.close()
        key.configure(limits_of(rpm=1000, tpm=100_000), OWN)
