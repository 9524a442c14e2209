"""Hub values as anybody could mean them, for property tests. Parts stand in the order the hub promises."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from headrace import types as hub

WORDS = st.sampled_from(["x", "hello", "ünïcode 你好 \U0001f600", "\n\n", 'a "quoted" \\ text', "data: [DONE]", " leading", "</s>"])
TEXTS = st.lists(WORDS, max_size=3).map("".join)
SOME_TEXT = st.lists(WORDS, min_size=1, max_size=3).map("".join)
NAMES = st.sampled_from(["get_weather", "add", "f-1"])
IDS = st.uuids().map(lambda made: f"call_{made.hex[:8]}")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
)
EXTRA = st.dictionaries(
    st.sampled_from(["x_vendor", "cache_control", "new_field"]), JSON.filter(lambda value: value is not None), max_size=2
)
COUNTS = st.integers(0, 10**9)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def texts(extra: st.SearchStrategy[Any] = EXTRA) -> st.SearchStrategy[hub.Text]:
    return st.builds(hub.Text, text=TEXTS, extra=extra)


DATA_URL = st.just("data:image/png;base64,iVBORw0KGgo=")
IMAGES = st.builds(
    hub.Image, url=st.just("https://example.com/cat.png") | DATA_URL, detail=maybe(st.sampled_from(["low", "high"])), extra=EXTRA
)
HEARD = st.builds(hub.Audio, data=st.just("UklGRg=="), format=st.sampled_from(["wav", "mp3"]), extra=EXTRA)
FILES = st.builds(hub.File, id=st.just("file-1"), extra=EXTRA) | st.builds(
    hub.File, url=st.just("data:application/pdf;base64,JVBERg=="), name=st.just("a.pdf"), extra=EXTRA
)
OTHERS = st.builds(lambda extra: hub.Other(type="video_url", extra={"type": "video_url", **extra}), EXTRA)

CONTENT = st.one_of(
    st.just(()),
    texts(st.just({})).map(lambda text: (text,)),
    st.lists(st.one_of(texts(), IMAGES, HEARD, FILES, OTHERS), min_size=2, max_size=4).map(tuple),
)
"""One plain text, or several parts: a list of one text is a spelling of OpenAI's, not a meaning."""

CALLS = st.builds(
    hub.ToolCall, id=IDS, name=NAMES, arguments=st.sampled_from(["", "{}", '{"a": 1}', "{broken"]),
    kind=st.sampled_from(["function", "custom"]), signature=maybe(st.just("c2ln")), extra=EXTRA,
)  # fmt: skip
PLAIN_THOUGHT = st.builds(hub.Thinking, text=SOME_TEXT, extra=st.sampled_from([{"field": "reasoning_content"}, {"field": "reasoning"}]))
SIGNED = st.builds(hub.Thinking, text=TEXTS, signature=maybe(st.just("c2ln")), extra=EXTRA)
OPAQUE = st.builds(hub.Thinking, data=st.just("b3BhcXVl"), extra=EXTRA)
SIGNED_THOUGHTS = st.lists(SIGNED | OPAQUE, min_size=1, max_size=3).map(tuple)
THOUGHTS = st.just(()) | PLAIN_THOUGHT.map(lambda thought: (thought,)) | SIGNED_THOUGHTS
ANSWERED = st.just(()) | st.builds(hub.Text, text=TEXTS, signature=maybe(st.just("c2ln"))).map(lambda text: (text,))
REFUSED = st.just(()) | st.builds(hub.Refusal, text=SOME_TEXT).map(lambda refusal: (refusal,))
SPOKEN = st.just(()) | st.builds(hub.Audio, id=st.just("audio_1"), data=st.just("UklGRg=="), transcript=TEXTS, extra=EXTRA).map(
    lambda audio: (audio,)
)


@st.composite
def turns(draw: st.DrawFn) -> hub.Message:
    """An assistant's turn."""
    parts = (*draw(THOUGHTS), *draw(ANSWERED), *draw(REFUSED), *draw(SPOKEN), *draw(st.lists(CALLS, max_size=3)))
    return hub.Message(role="assistant", content=parts, extra=draw(EXTRA))


RESULTS = st.builds(
    lambda result, extra: hub.Message(role="tool", content=(result,), extra=extra),
    st.builds(hub.ToolResult, call_id=IDS, content=CONTENT.filter(lambda parts: parts != (hub.Text(text=""),)), name=maybe(NAMES)),
    EXTRA,
)
SAID = st.builds(
    hub.Message, role=st.sampled_from(["user", "system", "developer"]), content=CONTENT, name=maybe(st.just("ada")), extra=EXTRA
)  # fmt: skip
MESSAGES = st.one_of(SAID, turns(), RESULTS)

SCHEMA = st.just({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
TOOLS = st.builds(
    hub.Tool, name=NAMES, description=maybe(SOME_TEXT), parameters=maybe(SCHEMA), strict=maybe(st.booleans()), extra=EXTRA
) | st.builds(hub.Tool, type=st.just("web_search"), extra=EXTRA)  # fmt: skip
CHOICES_OF_TOOL = st.sampled_from([hub.ToolChoice(mode=mode) for mode in ("auto", "none", "required")]) | st.builds(
    hub.ToolChoice, mode=st.just("tool"), name=NAMES
)
FORMATS = st.builds(hub.ResponseFormat, type=st.sampled_from(["text", "json_object"]), extra=EXTRA) | st.builds(
    hub.ResponseFormat,
    type=st.just("json_schema"),
    name=NAMES,
    schema=maybe(SCHEMA),
    strict=maybe(st.booleans()),
    description=maybe(SOME_TEXT),
)
NUMBERS = st.floats(0, 2, allow_nan=False) | st.integers(0, 2)

REQUESTS = st.builds(
    hub.ChatRequest,
    model=st.just("m"),
    messages=st.lists(MESSAGES, min_size=1, max_size=4).map(tuple),
    tools=st.lists(TOOLS, max_size=2).map(tuple),
    tool_choice=maybe(CHOICES_OF_TOOL),
    parallel_tool_calls=maybe(st.booleans()),
    response_format=maybe(FORMATS),
    max_tokens=maybe(st.integers(0, 9)),
    temperature=maybe(NUMBERS),
    top_p=maybe(NUMBERS),
    top_k=maybe(st.integers(0, 9)),
    n=maybe(st.integers(1, 3)),
    stop=st.lists(SOME_TEXT, max_size=2).map(tuple),
    seed=maybe(st.integers(0, 9)),
    presence_penalty=maybe(NUMBERS),
    frequency_penalty=maybe(NUMBERS),
    logprobs=maybe(st.booleans()),
    top_logprobs=maybe(st.integers(0, 9)),
    effort=maybe(st.sampled_from(["none", "low", "high"])),
    user=maybe(SOME_TEXT),
    stream=st.booleans(),
    include_usage=st.booleans(),
    extra=EXTRA,
)


@st.composite
def usages(draw: st.DrawFn) -> hub.Usage:
    """Counts that are true to each other: what was cached is part of the input, reasoning part of the output."""
    given, written = draw(COUNTS), draw(COUNTS)
    return hub.Usage(
        input=given,
        output=written,
        total=given + written,
        cached=draw(st.integers(0, given)),
        cache_write=draw(COUNTS),
        reasoning=draw(st.integers(0, written)),
        audio_input=draw(COUNTS),
        audio_output=draw(COUNTS),
        extra=draw(EXTRA),
    )


@st.composite
def choices(draw: st.DrawFn, index: int) -> hub.Choice:
    message = draw(turns())
    finish = draw(st.sampled_from(["length", "content_filter"]) | st.just("tool_calls" if message.tool_calls else "stop"))
    logprobs = draw(maybe(st.just({"content": [{"token": "x", "logprob": -0.5, "top_logprobs": []}], "refusal": None})))
    return hub.Choice(index=index, message=message, finish=finish, logprobs=logprobs, extra=draw(EXTRA))


@st.composite
def answers(draw: st.DrawFn) -> hub.ChatResponse:
    count = draw(st.integers(1, 3))
    return hub.ChatResponse(
        id=draw(TEXTS),
        model=draw(TEXTS),
        created=draw(COUNTS),
        choices=tuple(draw(choices(index)) for index in range(count)),
        usage=draw(maybe(usages())),
        extra=draw(EXTRA),
    )


@st.composite
def streams(draw: st.DrawFn) -> list[hub.StreamEvent]:
    """Events of a stream in an order a provider could send them: choices interleaved, each one's parts in order."""
    count = draw(st.integers(1, 2))
    queues = [draw(_of_choice(index)) for index in range(count)]
    events: list[hub.StreamEvent] = [hub.Started(id=draw(SOME_TEXT), model="m", created=draw(COUNTS), extra=draw(EXTRA))]
    while any(queues):
        queue = draw(st.sampled_from([queue for queue in queues if queue]))
        events.append(queue.pop(0))
    usage = draw(maybe(usages()))
    return events if usage is None else [*events, hub.UsageReported(usage=usage)]


@st.composite
def _of_choice(draw: st.DrawFn, index: int) -> list[hub.StreamEvent]:
    events: list[hub.StreamEvent] = []
    extra = draw(st.sampled_from([{"field": "reasoning"}, {}]))
    blocks = 1 if extra else draw(st.integers(0, 2))
    for block in range(blocks):
        pieces = draw(st.lists(SOME_TEXT, min_size=1, max_size=3))
        events += [hub.ThinkingDelta(text=text, block=block, choice=index, extra=extra) for text in pieces]
        if not extra:
            events.append(hub.ThinkingDelta(signature="c2ln", block=block, choice=index))
    events += [hub.TextDelta(text=text, choice=index) for text in draw(st.lists(SOME_TEXT, max_size=4))]
    events += [hub.RefusalDelta(text=text, choice=index) for text in draw(st.lists(SOME_TEXT, max_size=1))]
    called = draw(st.integers(0, 2))
    for call in range(called):
        events.append(hub.ToolCallDelta(index=call, id=draw(IDS), name=draw(NAMES), choice=index))
        pieces = draw(st.lists(st.sampled_from(['{"a"', ": 1", "}"]), max_size=3))
        events += [hub.ToolCallDelta(index=call, arguments=piece, choice=index) for piece in pieces]
    events.append(hub.Finished(finish="tool_calls" if called else draw(st.sampled_from(["stop", "length"])), choice=index))
    return events
