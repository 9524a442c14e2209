"""The sans-I/O core under arbitrary cuts and mutations, and both shells beside httpx2 on the same bytes."""

from __future__ import annotations

import gzip

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.wires import ASYNC, SYNC, post, serving

from headrace.bridge import complete
from headrace.runtime.http1 import Http1
from headrace.runtime.httpx2_transport import SyncHttpx2Transport
from headrace.wire import Timeouts, TransportError

Outcome = tuple[str, int, bytes]

PLAIN = {"trust_env": False, "verify": False}
"""For httpx2: reading the authorities of an encryption that nobody uses here takes 70 ms, a hundred times what an example does."""

bodies = st.binary(max_size=300)
token = st.text("abcdefghij-", min_size=1, max_size=12)


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """A valid response in one of the framings, sometimes compressed, sometimes after an interim one."""
    body, status = draw(bodies), draw(st.sampled_from([200, 201, 400, 429, 500]))
    headers = [b"x-%b: %b" % (name.encode(), value.encode()) for name, value in draw(st.lists(st.tuples(token, token), max_size=4))]
    if draw(st.booleans()):
        body = gzip.compress(body)
        headers.append(b"content-encoding: gzip")
    if draw(st.booleans()):
        cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=4)))
        parts = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True) if start < end]
        framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        headers.append(b"transfer-encoding: chunked")
    else:
        framed = body
        headers.append(b"content-length: %d" % len(body))
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" if draw(st.booleans()) else b""
    return interim + b"\r\n".join([b"HTTP/1.1 %d Status" % status, *headers, b"", framed])


def read(raw: bytes, cuts: list[int]) -> Outcome:
    """What the core makes of `raw`, fed in pieces, with the connection closed behind it."""
    http = Http1()
    exchange = http.expect(10_000)
    try:
        for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
            if start < end and not exchange.complete:
                http.feed(raw[start:end])
        if not exchange.complete:
            http.feed_eof()
    except TransportError as error:
        return (error.fault.name, 0, b"")
    return ("complete", exchange.status, exchange.take())


@given(responses(), st.lists(st.integers(0, 600), max_size=12))
def test_a_response_cut_anywhere_is_the_same_response(raw: bytes, cuts: list[int]) -> None:
    whole = read(raw, [])
    assert whole[0] == "complete"
    assert read(raw, sorted(min(cut, len(raw)) for cut in cuts)) == whole
    assert read(raw, list(range(1, len(raw)))) == whole


@given(responses(), st.data())
def test_a_response_that_ends_early_is_never_taken_for_whole(raw: bytes, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(raw) - 1))
    assert read(raw[:end], [])[0] in ("CLOSED", "PROTOCOL")


@given(responses(), st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 600))
def test_mutated_bytes_end_in_an_answer_or_in_our_own_error(raw: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    mutated = bytearray(raw)
    for at, value in changes:
        mutated[at % len(mutated)] = value
    outcome = read(bytes(mutated), [min(cut, len(mutated))])
    assert outcome[0] in ("complete", "CLOSED", "PROTOCOL", "TOO_LARGE")
    assert len(outcome[2]) <= 10_000


@settings(max_examples=60)
@given(responses())
def test_both_shells_read_what_httpx2_reads(raw: bytes) -> None:
    limits = Timeouts(connect=5, total=5)
    with serving(["read", raw, "close"]) as server:
        ours = [driver.fetch(post(server.url), limits) for driver in (ASYNC, SYNC)]
        with httpx2.Client(**PLAIN) as client:
            theirs = complete(SyncHttpx2Transport(client).fetch(post(server.url), limits))
    assert {(response.status, response.body) for response in ours} == {(theirs.status, theirs.body)}
    for response in ours:
        assert dict(response.headers) == dict(theirs.headers)


@settings(max_examples=60)
@given(responses(), st.data())
def test_where_httpx2_sees_a_cut_so_do_we(raw: bytes, data: st.DataObject) -> None:
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    limits = Timeouts(connect=5, total=5)
    with serving(["read", cut, "close"]) as server:
        for driver in (ASYNC, SYNC):
            with pytest.raises(TransportError):
                driver.fetch(post(server.url), limits)
        with httpx2.Client(**PLAIN) as client, pytest.raises(TransportError):
            complete(SyncHttpx2Transport(client).fetch(post(server.url), limits))
