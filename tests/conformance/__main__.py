"""The same checks as a table by provider and endpoint: `PYTHONPATH=tests python -m conformance`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from time import perf_counter

from conformance import checks
from conformance.corpus import Exchange, everything, exchanges, folder
from headrace.errors import HeadraceError

COLUMNS: dict[str, tuple[Callable[[Exchange], bool], Callable[[Exchange], list[str]]]] = {
    "answers": (lambda it: it.status < 300 and isinstance(it.response_json, dict) and not it.is_error, checks.answer),
    "requests": (lambda it: it.kind == "chat" and it.status < 300 and isinstance(it.request_json, dict), checks.request),
    "streams": (lambda it: it.kind == "chat" and bool(it.sse_text) and "mid_stream_error" not in it.tags, checks.stream),
    "passed": (lambda it: bool(it.sse_text) and "mid_stream_error" not in it.tags, checks.passed_through),
    "cuts": (lambda it: it.kind == "chat" and bool(it.sse_text) and "mid_stream_error" not in it.tags, checks.cuts),
    "errors": (lambda it: it.is_error and it.response_json is not None, checks.error),
}


def problems(check: Callable[[Exchange], list[str]], exchange: Exchange) -> list[str]:
    try:
        return check(exchange)
    except HeadraceError as error:
        return [repr(error)]


def main() -> int:
    if folder() is None:
        print("no recorded traffic here: set HEADRACE_WIRE to its folder", file=sys.stderr)
        return 2
    begun = perf_counter()
    held: Counter[tuple[str, str, str]] = Counter()
    failed: Counter[tuple[str, str, str]] = Counter()
    rules: Counter[str] = Counter()
    for exchange in exchanges():
        for column, (concerns, check) in COLUMNS.items():
            if concerns(exchange):
                where = (exchange.provider, exchange.kind, column)
                held[where] += 1
                for problem in problems(check, exchange)[:1]:
                    failed[where] += 1
                    print(f"{exchange}: {problem}", file=sys.stderr)
        if COLUMNS["answers"][0](exchange):
            rules.update(checks.meant(exchange.response_json)[1])
    show(held, failed)
    limits = [it for it in everything() if any("ratelimit" in name for name in it.response_headers or {})]
    lost = sum(bool(checks.headers(it)) for it in limits)
    print(f"\nrate-limit headers: {len(limits) - lost} of {len(limits)} replies of all dialects")
    print("\n".join(f"{count:5} answers: {rule}" for rule, count in rules.most_common()))
    print(f"{perf_counter() - begun:.1f} s")
    return 1 if failed or lost else 0


def show(held: Counter[tuple[str, str, str]], failed: Counter[tuple[str, str, str]]) -> None:
    """Held right of held, a row for each provider and endpoint."""
    print(f"{'provider':<24} {'endpoint':<12}" + "".join(f"{column:>11}" for column in COLUMNS))
    rows = sorted({(provider, endpoint) for provider, endpoint, _ in held})
    for provider, endpoint in rows:
        cells = [told(held[provider, endpoint, column], failed[provider, endpoint, column]) for column in COLUMNS]
        print(f"{provider:<24} {endpoint:<12}" + "".join(f"{cell:>11}" for cell in cells))
    totals = [sum(n for (_, _, name), n in held.items() if name == column) for column in COLUMNS]
    wrong = [sum(n for (_, _, name), n in failed.items() if name == column) for column in COLUMNS]
    print(f"{'all':<37}" + "".join(f"{told(*pair):>11}" for pair in zip(totals, wrong, strict=True)))


def told(held: int, failed: int) -> str:
    return "" if not held else str(held) if not failed else f"{held - failed}/{held}"


if __name__ == "__main__":
    sys.exit(main())
