"""The judge's table: what was held against what, by provider and endpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final, NamedTuple

from conformance import (
    beside_checks,
    cohere_checks,
    endpoint_checks,
    error_checks,
    gemini_checks,
    hybrid_checks,
    judge,
    mutations,
    text_checks,
)
from conformance.checks import READ_AND_WRITE
from conformance.checks import answer as plain_answer
from conformance.corpus import Exchange, everything, exchanges
from conformance.tongues import TONGUES, Tongue
from headrace.errors import HeadraceError

TongueCheck = Callable[[Tongue, Exchange], list[str]]


class Column(NamedTuple):
    """One column: which exchanges it concerns, and the checks each must pass."""

    name: str
    concerns: Callable[[Tongue, Exchange], bool]
    checks: tuple[TongueCheck, ...]


COLUMNS = (
    Column("answers", Tongue.is_answer, (judge.answer, lambda tongue, it: tongue.told(it))),
    Column("requests", Tongue.is_request, (judge.request,)),
    Column("streams", Tongue.is_stream, (lambda tongue, it: tongue.stream(it),)),
    Column("errors", lambda tongue, it: tongue.is_error(it), (lambda tongue, it: tongue.error(it),)),
)
"""What is printed for every exchange."""

MUTATIONS = (
    Column("pieces", Tongue.is_stream, (mutations.in_pieces, mutations.respelled)),
    Column("cuts", Tongue.is_stream, (mutations.cut_anywhere_sampled,)),
    Column("unknown", Tongue.is_answer, (mutations.answer_grown,)),
    Column("unknown", Tongue.is_stream, (mutations.stream_grown,)),
    Column("altered", Tongue.is_answer, (mutations.answer_altered,)),
    Column("sent on", Tongue.is_request, (mutations.request_grown, mutations.request_altered)),
    Column("spoiled", Tongue.is_answer, (mutations.answer_spoiled,)),
    Column("spoiled", Tongue.is_request, (mutations.request_spoiled,)),
    Column("spoiled", Tongue.is_stream, (mutations.stream_spoiled,)),
    Column("spoiled", lambda tongue, it: tongue.is_error(it) and it.response_json is not None, (mutations.error_spoiled,)),
)

EVERY_CUT = Column("cuts", Tongue.is_stream, (mutations.cut_at_every_frame, mutations.cut_anywhere))


class Count(NamedTuple):
    """Of one provider, endpoint and column: how many were looked at, and what was wrong."""

    held: Counter[tuple[str, str, str]]
    failed: Counter[tuple[str, str, str]]
    wrong: list[str]


def problems(check: TongueCheck, tongue: Tongue, exchange: Exchange) -> list[str]:
    """What is wrong. An exception is wrong as well, and stops nothing: other recordings than these may hold what no check foresees."""
    try:
        return check(tongue, exchange)
    except HeadraceError as error:
        return [repr(error)]
    except Exception as error:
        place = extract_tb(error.__traceback__)[-1]
        return [f"{type(error).__name__} {error} in {Path(place.filename).name}:{place.lineno}"]


def judged(columns: tuple[Column, ...], share: tuple[int, int] = (0, 1)) -> Count:
    """Every exchange against every column. share: the first of every so many exchanges only, for several workers."""
    count = Count(Counter(), Counter(), [])
    for tongue in TONGUES:
        for exchange in list(tongue.exchanges())[share[0] :: share[1]]:
            for column in columns:
                if concerned(column, tongue, exchange):
                    found = [problem for check in column.checks for problem in problems(check, tongue, exchange)]
                    note(count, exchange, column.name, found)
    return count


def concerned(column: Column, tongue: Tongue, exchange: Exchange) -> bool:
    """Whether the column is of such exchanges. One so strange that nobody can tell is: the checks say what is wrong with it."""
    try:
        return column.concerns(tongue, exchange)
    except Exception:
        return True


def note(count: Count, exchange: Exchange, column: str, found: list[str]) -> None:
    where = (exchange.provider, exchange.endpoint, column)
    count.held[where] += 1
    if found:
        count.failed[where] += 1
        count.wrong.extend(f"{exchange}: {column}: {problem}" for problem in found[:3])


def plainly(count: Count) -> None:
    """Answers of OpenAI's shape that are no chat: embeddings, text completions."""
    for kind in READ_AND_WRITE:
        for exchange in exchanges(kind):
            if plain(kind, exchange):
                note(count, exchange, "answers", problems(lambda _, it: plain_answer(it), TONGUES[0], exchange))


def plain(kind: str, exchange: Exchange) -> bool:
    return kind != "chat" and exchange.status < 300 and isinstance(exchange.response_json, dict) and not exchange.is_error


def beside(count: Count) -> None:
    """What is no chat and in no shape of OpenAI's answers: vectors, rankings, counts, files, batches and the like."""
    for column, check, them in others():
        for exchange in them:
            note(count, exchange, column, problems(lambda _, it, check=check: check(it), TONGUES[0], exchange))  # type: ignore[misc]


def others() -> Iterator[tuple[str, Callable[[Exchange], list[str]], list[Exchange]]]:
    good = [it for it in everything() if it.status < 300]
    yield "answers", cohere_checks.embedded, [it for it in good if (it.provider, it.endpoint) == ("cohere", "embeddings")]
    yield "answers", gemini_checks.embedded, [it for it in good if (it.provider, it.endpoint) == ("gemini", "embeddings")]
    yield "answers", beside_checks.ranked, [it for it in good if it.endpoint == "rerank"]
    yield "answers", beside_checks.counted, beside_checks.counts(good)
    yield "streams", beside_checks.texts, [it for it in good if it.kind == "completions" and it.sse_text]
    yield "answers", hybrid_checks.embedded, hybrid_checks.embeddings()
    texts = text_checks.of_bedrock(good)
    yield "answers", text_checks.completed, [it for it in texts if it.response_json]
    yield "streams", text_checks.streamed, [it for it in texts if it.eventstream_b64]
    yield "streams", text_checks.generated, text_checks.of_watsonx(good)
    yield "requests", text_checks.predicted, text_checks.of_replicate(good)
    yield "answers", endpoint_checks.called, list(endpoint_checks.concerned(good))
    known = {it.id for tongue in TONGUES for it in tongue.exchanges() if tongue.is_error(it)}
    yield "errors", error_checks.kind, [it for it in error_checks.refusals() if it.id not in known]


def excepted() -> Iterator[tuple[str, str, int, int]]:
    """Dialect, explained exception, how often, and of how many answers."""
    for tongue in TONGUES:
        them = [it for it in tongue.exchanges() if tongue.is_answer(it)]
        rules = Counter(rule for it in them for rule in tongue.meant(it.response_json)[1])
        rules.update(tongue.oddities.values())
        yield from ((tongue.name, rule, number, len(them)) for rule, number in rules.most_common())


NOT_OURS: Final = (
    ("/v1/complete", "text completions of Claude's, whose models are retired"),
    ("/count-tokens", "a count of an invocation: Converse's words are counted"),
    ("cohere.command-r", "asked by Converse"),
    ("/guardrail/", "guardrails are no call of a model"),
    ("api.cohere.com/v1/chat", "asked by v2, which has the same models"),
    ("/tokenize", "tokens are counted by the count"),
    ("api.deepseek.com/v1/models", "asked at its address without a version"),
    ("/cachedContents", "kept contexts are called by their own client"),
    ("/interactions", "asked by generateContent"),
    ("Stores/", "stores of files are called by their own client"),
    ("/vector_stores/", "stores of files are called by their own client"),
    ("/pipeline/", "no model that speaks"),
    ("/api/embeddings", "asked by /api/embed, which takes several texts"),
    ("/api/tags", "listed by /v1/models"),
    ("/api/generate", "asked by /api/chat"),
    ("/input_tokens", "tokens of OpenAI's are counted here"),
    ("/api/v1/images", "OpenRouter's pictures are asked for by chat"),
    ("api.replicate.com/v1/models/", "a model's card"),
    ("api.writer.com/v1/completions", "a stream that never says that it is whole"),
    ("/videos/", "films are called by their own client"),
)
"""What is no endpoint of headrace's, by a part of its address, and how its users get there."""


def uncovered() -> tuple[list[Exchange], Counter[str]]:
    """Exchanges that nothing looks at; and how many of those are meant to be left, by the reason."""
    seen = {it.id for tongue in TONGUES for it in tongue.exchanges() for column in COLUMNS if column.concerns(tongue, it)}
    seen |= {it.id for kind in READ_AND_WRITE for it in exchanges(kind) if plain(kind, it)} | {
        it.id for _, _, them in others() for it in them
    }
    odd = {id_: why for tongue in TONGUES for id_, why in tongue.oddities.items()}
    left = [(it, odd.get(it.id) or no_endpoint(it)) for it in everything() if it.id not in seen]
    return [it for it, why in left if not why], Counter(why for _, why in left if why)


def no_endpoint(exchange: Exchange) -> str:
    address = f"{exchange.host}{exchange.path}"
    return next((why for part, why in NOT_OURS if part in address), "")


def lines(count: Count, columns: tuple[Column, ...]) -> Iterator[str]:
    """The table: of every provider and endpoint how many exchanges there are, and of each column how many were right."""
    names = list(dict.fromkeys(column.name for column in columns))
    recorded = Counter((it.provider, it.endpoint) for it in everything())
    yield f"{'provider':<24} {'endpoint':<22}{'exchanges':>10}" + "".join(f"{name:>11}" for name in names)
    for row in sorted({(provider, endpoint) for provider, endpoint, _ in count.held}):
        yield f"{row[0]:<24} {row[1]:<22}{recorded[row]:>10}" + "".join(f"{cell(count, *row, name):>11}" for name in names)
    total = sum(recorded[row] for row in {(provider, endpoint) for provider, endpoint, _ in count.held})
    yield f"{'all':<47}{total:>10}" + "".join(f"{told(*sums(count, name)):>11}" for name in names)


def cell(count: Count, provider: str, endpoint: str, name: str) -> str:
    return told(count.held[provider, endpoint, name], count.failed[provider, endpoint, name])


def sums(count: Count, name: str) -> tuple[int, int]:
    return tuple(sum(number for where, number in them.items() if where[2] == name) for them in (count.held, count.failed))  # type: ignore[return-value]


def told(held: int, failed: int) -> str:
    return "" if not held else str(held) if not failed else f"{held - failed}/{held}"


def merged(counts: Any) -> Count:
    """Counts of several workers as one."""
    whole = Count(Counter(), Counter(), [])
    for count in counts:
        whole.held.update(count.held)
        whole.failed.update(count.failed)
        whole.wrong.extend(count.wrong)
    return whole
