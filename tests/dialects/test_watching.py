"""Streams handed on in their own dialect: what the watcher sees of them in passing."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.dialects import load
from headrace.dialects.base import StreamWatcher, Target, passable
from headrace.dialects.gemini.responses import read_usage
from headrace.dialects.gemini.watching import used
from headrace.dialects.openai_chat.responses import write_usage
from headrace.errors import HeadraceError, InternalServerError, Kind, ServiceUnavailableError, TruncatedStream
from headrace.framing import BOM
from headrace.passing import handed_on
from headrace.types import ChatRequest, Finished, Started, TextDelta, ToolCallDelta, Usage, UsageReported
from headrace.wire import Frame

WATCHED = ("openai_responses", "anthropic_messages", "gemini")
TARGET = Target("provider", "model")
ASKED = ChatRequest(model="model", messages=(), stream=True, include_usage=True)
USAGE = Usage(input=12, output=7, total=19, cached=5)
EVENTS = [
    Started(id="id_1", model="model", created=1),
    TextDelta(text="Hello [DONE] error"),
    ToolCallDelta(index=0, id="call_1", name="weather", arguments='{"error": 1}'),
    Finished(finish="tool_calls"),
    UsageReported(usage=USAGE),
]


def watcher_of(name: str) -> StreamWatcher:
    dialect = load(name)
    assert passable(dialect)
    return dialect.watch_stream(TARGET)


def written(name: str) -> bytes:
    writer = load(name).write_stream(ASKED)
    return b"".join([writer.feed(event) for event in EVENTS]) + writer.close()


def fed(name: str, data: bytes, watcher: StreamWatcher) -> list[dict[str, Any]]:
    frames = load(name).framing()
    events = [watcher.feed(frame) for frame in frames.feed(data)]
    events += [watcher.feed(frame, last=True) for frame in frames.close()]
    watcher.close()
    return [event for event in events if event is not None]


@pytest.mark.parametrize("name", WATCHED)
def test_events_come_out_as_they_came_and_the_usage_with_the_end(name: str) -> None:
    data, watcher = written(name), watcher_of(name)
    sent = [json.loads(frame.data) for frame in load(name).framing().feed(data) if frame.data != b"[DONE]"]
    assert fed(name, data, watcher) == sent
    assert watcher.usage == write_usage(USAGE)


@given(name=st.sampled_from(WATCHED), share=st.floats(0, 1))
def test_a_stream_cut_anywhere_ends_for_the_watcher_as_for_the_reader(name: str, share: float) -> None:
    data = written(name)
    data = data[: round(len(data) * share)]
    assert watched(name, data) == read(name, data)


ENDINGS = {"lf": b"\n", "crlf": b"\r\n"}


@given(
    name=st.sampled_from((*WATCHED, "openai_chat")),
    share=st.floats(0, 1),
    sizes=st.lists(st.integers(1, 300)),
    ending=st.sampled_from(list(ENDINGS)),
    mark=st.sampled_from((b"", BOM)),
)
@example(name="openai_chat", share=1.0, sizes=[1], ending="lf", mark=b"")
def test_a_stream_handed_on_in_bytes_is_the_same_however_it_arrives_and_wherever_it_is_cut(
    name: str, share: float, sizes: list[int], ending: str, mark: bytes
) -> None:
    data = mark + b": hello\n\n" + written(name).replace(b"\r\n", b"\n")
    data = data.replace(b"\n", ENDINGS[ending])
    data = data[: round(len(data) * share)]
    pieces, kind, usage = passed(name, data, sizes)
    assert (kind, usage) == read(name, data)
    assert data.startswith(b"".join(pieces)) or (kind is None and not data.endswith(ENDINGS[ending] * 2))
    assert all(piece.endswith((b"\n\n", b"\r\n\r\n")) for piece in pieces)
    assert kind is not None or b"".join(pieces)[: len(data)] == data or not data.endswith(ENDINGS[ending] * 2)


def passed(name: str, data: bytes, sizes: list[int]) -> tuple[list[bytes], Kind | None, Any]:
    """The pieces that go out, of bytes that come in so."""
    watcher, pieces = watcher_of(name), deque[bytes]()
    passing_on = handed_on(watcher, name)
    try:
        for size in [*sizes, len(data)]:
            if data[:size]:
                passing_on.feed(data[:size], pieces)
            data = data[size:]
        passing_on.close(pieces)
    except HeadraceError as error:
        return list(pieces), error.failure.kind, passing_on.usage
    return list(pieces), None, passing_on.usage


@pytest.mark.parametrize("name", [*WATCHED, "openai_chat"])
def test_a_glance_tells_pieces_of_an_answer_from_what_must_be_looked_at(name: str) -> None:
    """Nearly every event is a piece; broken ones and errors are not, nor those of Responses whose ids may have to be changed."""
    writer, watcher = load(name).write_stream(ASKED), watcher_of(name)
    many = [Started(id="id_1", model="model", created=1), *[TextDelta(text=f'{n} "error" "usage"') for n in range(50)]]
    frames = load(name).framing().feed(b"".join([writer.feed(event) for event in many]))
    glanced = 0
    for frame in frames:
        if watcher.glance(frame.data):
            glanced += 1
        else:
            watcher.feed(frame)
    assert glanced >= 49
    for data in (b"", b"{", b"[DONE]", b'{"error": {"message": "no"}}', b'{"type": "error"}', *_telling(name)):
        assert not watcher.glance(data), data


def test_what_gemini_counts_in_the_middle_counts_at_the_end() -> None:
    pieces = [{"candidates": [{"index": 0, "content": {"parts": [{"text": text}]}}]} for text in "abc"]
    counted = {**pieces[1], "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}}
    end = {"candidates": [{"index": 0, "finishReason": "STOP"}]}
    data = b"".join(b"data: " + json.dumps(piece).encode() + b"\n\n" for piece in (pieces[0], counted, pieces[2], end))
    _, kind, usage = passed("gemini", data, [])
    assert kind is None
    assert usage is not None
    assert usage["prompt_tokens"] == 3


def _telling(name: str) -> list[bytes]:
    """The events of Responses in which it is told whole."""
    frames = load(name).framing().feed(written(name))
    return [frame.data for frame in frames if b'"response":{' in frame.data]


@pytest.mark.parametrize("name", [*WATCHED, "openai_chat"])
def test_what_is_seen_at_a_glance_is_what_a_look_would_see(name: str) -> None:
    """The end and the counts, whoever told them."""
    ended = []
    for glancing in (True, False):
        watcher, seen = watcher_of(name), 0
        for frame in load(name).framing().feed(written(name)):
            if glancing and watcher.glance(frame.data):
                seen += 1
            else:
                watcher.feed(frame)
        assert seen > 0 or not glancing
        watcher.close()
        ended.append(watcher.usage)
    assert ended[0] == ended[1]
    assert ended[0] is not None


def watched(name: str, data: bytes) -> tuple[Kind | None, Any]:
    watcher = watcher_of(name)
    try:
        fed(name, data, watcher)
    except HeadraceError as error:
        return error.failure.kind, watcher.usage
    return None, watcher.usage


def read(name: str, data: bytes) -> tuple[Kind | None, Any]:
    dialect = load(name)
    frames, reader, usage = dialect.framing(), dialect.read_stream(ASKED, TARGET), None
    try:
        events = [event for frame in frames.feed(data) for event in reader.feed(frame)]
        events += [event for frame in frames.close() for event in reader.feed(frame, last=True)]
        for event in [*events, *reader.close()]:
            usage = write_usage(event.usage) if isinstance(event, UsageReported) else usage
    except HeadraceError as error:
        return error.failure.kind, usage
    return None, usage


@pytest.mark.parametrize(
    ("name", "event", "raised"),
    [
        ("anthropic_messages", {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, ServiceUnavailableError),
        ("gemini", {"error": {"code": 503, "status": "UNAVAILABLE", "message": "busy"}}, ServiceUnavailableError),
        (
            "openai_responses",
            {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "x"}}},
            InternalServerError,
        ),
    ],
)
def test_an_error_inside_a_stream_that_is_handed_on_is_raised(name: str, event: Any, raised: type[HeadraceError]) -> None:
    with pytest.raises(raised):
        watcher_of(name).feed(Frame(json.dumps(event).encode()))


@pytest.mark.parametrize("name", WATCHED)
def test_a_stream_of_nothing_is_cut(name: str) -> None:
    with pytest.raises(TruncatedStream):
        watcher_of(name).close()


# ---- events like the one before ------------------------------------------------------------------------------------------------------

ODD = ("plain", "", "über", '"quoted"', "back\\slash", "line\nbreak", "emoji 😀", '"error": {}', "data: x", "[DONE]")


def one_by_one(name: str, events: list[bytes], *, compared: bool) -> tuple[list[bytes], Kind | None, Any, int]:
    """The pieces that go out. compared: whether events may be handed on because of what stands around their text."""
    passing_on, pieces = handed_on(watcher_of(name), name), deque[bytes]()
    if not compared:
        passing_on._lessons = 0
    kind = None
    try:
        for event in events:
            passing_on.feed(event, pieces)
        passing_on.close(pieces)
    except HeadraceError as error:
        kind = error.failure.kind
    return list(pieces), kind, passing_on.usage, passing_on.count


def spoiled(event: bytes, how: str) -> bytes:
    """An event that looks much like the others and is none."""
    body = event.rstrip()
    match how:
        case "cut":
            return event[: len(event) // 2] + b"\n\n"
        case "twice":
            return event + event
        case "failed":
            return event + b'data: {"type":"error","error":{"message":"no"}}\n\n' + event
        case "bare":
            return body + b"\n"
    return body[:-1] + b',"error":{"message":"no"}}\n\n'


@given(
    name=st.sampled_from((*WATCHED, "openai_chat")),
    texts=st.lists(st.sampled_from(ODD), min_size=1, max_size=30),
    how=st.sampled_from(("", "cut", "twice", "failed", "bare", "error")),
    at=st.floats(0, 1),
)
def test_an_event_like_the_one_before_is_judged_as_if_it_were_the_first(name: str, texts: list[str], how: str, at: float) -> None:
    """Only the text of an event may differ for it to be handed on unread: what else is in it is found all the same."""
    writer = load(name).write_stream(ASKED)
    said = [EVENTS[0], *[TextDelta(text=text) for text in ["plain", *texts, "plain"]], Finished(finish="stop"), UsageReported(usage=USAGE)]
    data = b"".join([writer.feed(event) for event in said]) + writer.close()
    end = b"\r\n\r\n" if b"\r\n\r\n" in data else b"\n\n"
    events = [event + end for event in data.split(end) if event]
    spots = [place for place, event in enumerate(events) if b"plain" in event and place]
    spot = spots[round(at * (len(spots) - 1))]
    events[spot] = spoiled(events[spot], how) if how else events[spot]
    assert one_by_one(name, events, compared=True) == one_by_one(name, events, compared=False)


GEMINI = st.fixed_dictionaries({
    "text": st.sampled_from(ODD),
    "answered": st.integers(0, 3000),
    "thought": st.sampled_from((0, 7, 700)),
    "index": st.sampled_from((None, 0, 0, 0, 1)),
    "how": st.sampled_from(("",) * 12 + (
        "finish", "beside", "before", "error", "blocked", "cached", "uncounted", "cut", "twice", "bare", "grounded", "last", "behind",
    )),
})  # fmt: skip


def of_gemini(event: dict[str, Any]) -> bytes:
    """One event in the way Google writes them, spaces included, `how` it differs from the others."""
    index = {} if event["index"] is None else {"index": event["index"]}
    candidate = {"content": {"parts": [{"text": event["text"]}], "role": "model"}, **index}
    counts = {"promptTokenCount": 11, "candidatesTokenCount": event["answered"], "totalTokenCount": 11 + event["answered"]}
    thoughts = {"thoughtsTokenCount": event["thought"]} if event["thought"] else {}
    details = {"promptTokensDetails": [{"modality": "TEXT", "tokenCount": 11}], **thoughts}
    how = event["how"]
    ended = {"finishReason": "STOP", "index": 1}
    grounded = {"groundingMetadata": {"groundingChunks": [{"web": {"uri": "https://a"}}], "groundingSupports": [{"indices": [0]}]}}
    candidates = {
        "finish": [{**candidate, "finishReason": "STOP"}],
        "grounded": [{**candidate, **grounded}],
        "last": [{**candidate, "finishReason": "STOP", **grounded, **index}],
        "behind": [candidate, {**candidate, "index": 1}],
        "beside": [{**candidate, **ended}, candidate],
        "before": [ended, candidate],
    }
    told: dict[str, Any] = {"candidates": candidates.get(how, [candidate])}
    if how != "uncounted":
        told["usageMetadata"] = {**counts, **({"cachedContentTokenCount": 5} if how == "cached" else {}), **details}
    told |= {"blocked": {"promptFeedback": {"blockReason": "SAFETY"}}, "error": {"error": {"code": 503, "message": "no"}}}.get(how, {})
    line = (
        b"data: "
        + json.dumps({**told, "modelVersion": "gemini-9", "responseId": "r1"}, separators=(",", ": "), ensure_ascii=False).encode()
    )
    return {"cut": line[: len(line) // 2], "twice": line + b"\r\n\r\n" + line}.get(how, line) + (b"\r\n" if how == "bare" else b"\r\n\r\n")


@given(events=st.lists(GEMINI, min_size=2, max_size=30), ended=st.booleans())
def test_nothing_of_geminis_ends_errors_and_counts_is_hidden_by_an_event_like_the_one_before(
    events: list[dict[str, Any]], ended: bool
) -> None:
    """Ends, errors, other candidates and counts are found wherever they stand, and counts are those of the last event that tells them."""
    last = [{"text": "", "answered": 9, "thought": 0, "index": index, "how": "finish"} for index in (0, 1)] if ended else []
    sent = [of_gemini(event) for event in [*events, *last]]
    assert one_by_one("gemini", sent, compared=True) == one_by_one("gemini", sent, compared=False)


def test_an_end_of_geminis_that_stands_before_what_its_answer_is_backed_by_is_an_end() -> None:
    """It was looked for behind the last list of objects: the answer was whole and told as cut."""
    plain = {"text": "a", "answered": 5, "thought": 0, "index": 0, "how": ""}
    told = [plain, plain, {**plain, "thought": 7}, {**plain, "thought": 7, "how": "last"}]
    assert one_by_one("gemini", [of_gemini(event) for event in told], compared=True)[1] is None


@pytest.mark.parametrize("counts", ['"trafficType": "ON_DEMAND"', '"candidatesTokenCount": 5,"totalTokenCount": 8'])
def test_an_end_of_vertexs_before_citations_that_end_as_its_parts_do_is_an_end(counts: str) -> None:
    """What leads from parts to counts there, and from citations to counts, are the same bytes: the answer was told as cut."""

    def event(text: str, more: str = "") -> bytes:
        said = f'{{"candidates": [{{"content": {{"role": "model","parts": [{{"text": "{text}"}}]}}{more}}}],"usageMetadata": {{{counts}}},'
        return f'data: {said}"modelVersion": "gemini-9","responseId": "r1"}}\r\n\r\n'.encode()

    end = ',"finishReason": "STOP","citationMetadata": {"citations": [{"uri": "https://a"}]}'
    told = [event("a"), event("b }]} c"), event("d"), event("e", end)]
    assert one_by_one("gemini", told, compared=True) == one_by_one("gemini", told, compared=False)
    assert one_by_one("gemini", told, compared=True)[1] is None


def test_a_second_candidate_of_geminis_with_fewer_counts_is_seen_beside_the_first() -> None:
    plain = {"text": "a", "answered": 5, "thought": 700, "index": 0, "how": "cached"}
    end = {**plain, "how": "finish"}
    second = of_gemini({**plain, "how": "behind"})
    cut = second.index(b'"usageMetadata"'), second.index(b',"modelVersion"')
    fewer = second[: cut[0]] + b'"usageMetadata": {"promptTokenCount": 11}' + second[cut[1] :]
    swapped = fewer.replace(b'"index": 0', b'"index": 2').replace(b'"index": 1', b'"index": 0')
    events = [of_gemini(plain), of_gemini(plain), swapped, of_gemini(end)]
    assert one_by_one("gemini", events, compared=True)[1] is Kind.TRUNCATED


def test_a_second_candidate_of_geminis_that_ends_beside_the_first_has_ended() -> None:
    plain = {"text": "a", "answered": 5, "thought": 0, "index": 0, "how": ""}
    told = [{**plain, "index": 1}, plain, plain, plain, {**plain, "how": "beside"}, plain, {**plain, "how": "finish"}]
    assert one_by_one("gemini", [of_gemini(event) for event in told], compared=True)[1] is None
    assert one_by_one("gemini", [of_gemini(event) for event in told if event["how"] != "beside"], compared=True)[1] is Kind.TRUNCATED


def test_what_gemini_counted_last_counts_where_its_end_counts_nothing() -> None:
    plain = {"text": "a", "answered": 5, "thought": 0, "index": 0, "how": ""}
    told = [of_gemini({**plain, "answered": count}) for count in (5, 6, 7, 81)]
    end = b'data: {"candidates": [{"finishReason": "STOP","index": 0}]}\r\n\r\n'
    usage = one_by_one("gemini", [*told, end], compared=True)[2]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (11, 81)


def test_what_gemini_counted_in_passing_counts_where_its_end_counts_less() -> None:
    plain = {"text": "a", "answered": 5, "thought": 7, "index": 0, "how": "cached"}
    told = [of_gemini({**plain, "answered": count}) for count in (5, 6, 7, 81)]
    end = b'data: {"candidates": [{"finishReason": "STOP","index": 0}],"usageMetadata": {"candidatesTokenCount": 82}}\r\n\r\n'
    usage = one_by_one("gemini", [*told, end], compared=True)[2]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (11, 89, 92)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 5}


NUMBERS = st.sampled_from((0, 1, 7, 700, 2**60, 2**63, -1, 1.0, "7", True, None))
BESIDE = ("promptTokensDetails", "candidatesTokensDetails", "trafficType")
DETAILS = st.lists(st.fixed_dictionaries({"modality": st.sampled_from(("TEXT", "AUDIO")), "tokenCount": NUMBERS}), max_size=2)
COUNTED = (
    "promptTokenCount", "candidatesTokenCount", "totalTokenCount", "thoughtsTokenCount", "cachedContentTokenCount",
    "toolUsePromptTokenCount",
)  # fmt: skip


@given(
    counts=st.dictionaries(st.sampled_from(COUNTED), st.integers(1, 99) | NUMBERS),
    whole=st.booleans(),
    beside=st.dictionaries(
        st.sampled_from(("promptTokensDetails", "candidatesTokensDetails", "trafficType")), DETAILS | st.just("ON_DEMAND")
    ),
)
def test_geminis_counts_are_said_in_passing_as_through_the_hub(counts: Any, whole: bool, beside: Any) -> None:
    told = (dict.fromkeys(COUNTED[:3], 9) if whole else {}) | counts | beside
    assert used(told) == write_usage(read_usage(told))


@pytest.mark.parametrize("name", ["openai_chat", "openai_responses", "anthropic_messages", "gemini"])
def test_until_an_event_was_learnt_none_is_handed_on_unread(name: str) -> None:
    """Not even one that begins with a byte with which no event begins: it is a line without a name."""
    passing_on, pieces = handed_on(watcher_of(name), name), deque[bytes]()
    passing_on.feed(b"\0\n\n", pieces)
    assert passing_on.count == 0


def glances(watcher: Any, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The events that a watcher will have had a glance at."""
    glanced: list[bytes] = []
    glance = type(watcher).glance
    monkeypatch.setattr(type(watcher), "glance", lambda self, data: bool(glanced.append(data)) or glance(self, data))
    return glanced


def test_events_of_gemini_that_count_on_are_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    passing_on, pieces = handed_on(watcher_of("gemini"), "gemini"), deque[bytes]()
    told = [{"text": f'"{number}"', "answered": 10 * number, "thought": 7, "index": 0, "how": ""} for number in range(1, 40)]
    events = [of_gemini(event) for event in [*told, {**told[-1], "how": "finish", "answered": 402}]]
    glanced = glances(passing_on._watcher, monkeypatch)
    for event in events:
        passing_on.feed(event, pieces)
    passing_on.close(pieces)
    assert (list(pieces), passing_on.count) == (events, len(events))
    assert passing_on.usage is not None
    assert (passing_on.usage["prompt_tokens"], passing_on.usage["completion_tokens"]) == (11, 409)
    assert len(glanced) < 5


def test_events_that_differ_in_their_text_alone_are_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, pieces = load("openai_chat").write_stream(ASKED), deque[bytes]()
    passing_on = handed_on(watcher_of("openai_chat"), "openai_chat")
    writer.feed(EVENTS[0])
    events = [writer.feed(TextDelta(text=f"piece {number}")) for number in range(40)]
    glanced = glances(passing_on._watcher, monkeypatch)
    for event in events:
        passing_on.feed(event, pieces)
    assert (list(pieces), passing_on.count) == (events, len(events))
    assert len(glanced) < 5
