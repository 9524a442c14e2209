"""Compressed bodies, and HEAD requests."""

from __future__ import annotations

import gzip
import http.client
import json
import zlib
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from tests.client.upstream import CHAT, Reply, Upstream, standing
from tests.gateway.conftest import KEY, serving
from tests.gateway.test_endpoints import form, raw, router_over

from headrace.gateway import requests
from headrace.gateway.config import Settings

MOST = 1 << 20
ASKED = {"model": "many", "messages": [{"role": "user", "content": "hi " * 2000}]}


@pytest.fixture
def provider() -> Iterator[Upstream]:
    with standing() as made:
        yield made


@pytest.fixture
def address(provider: Upstream) -> Iterator[str]:
    with serving(router_over(provider), Settings(key=KEY, max_body=MOST, max_upload=MOST)) as base:
        yield base


def bare_deflate(body: bytes) -> bytes:
    """Without zlib's wrapper, as some send it."""
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(body) + made.flush()


CODINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", bare_deflate),
    ("identity", lambda body: body),
]  # fmt: skip


@pytest.mark.parametrize(("coding", "compress"), CODINGS)
@pytest.mark.parametrize("slice", [100, requests.SLICE])
def test_a_compressed_chat_is_answered(
    address: str, provider: Upstream, monkeypatch: pytest.MonkeyPatch, coding: str, compress: Callable[[bytes], bytes], slice: int
) -> None:
    monkeypatch.setattr(requests, "SLICE", slice)
    provider.answer(Reply(CHAT))
    body = compress(json.dumps(ASKED).encode())
    status, _ = raw(address, "/v1/chat/completions", body, **{"content-type": "application/json", "content-encoding": coding})
    assert status == 200
    assert provider.seen[-1].body["messages"] == ASKED["messages"]


def test_a_compressed_form_is_taken(address: str, provider: Upstream) -> None:
    provider.answer(Reply({"text": "hello"}))
    parts = b'--x\r\ncontent-disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    sound = bytes(range(256)) * 2000
    body = parts % (b"model", b"", b"many") + parts % (b"file", b'; filename="a.wav"', sound) + b"--x--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=x", "content-encoding": "gzip"}
    assert raw(address, "/v1/audio/transcriptions", gzip.compress(body), **headers) == (200, {"text": "hello"})
    assert form(provider)["file"][0] == sound


def test_a_compressed_body_at_the_providers_own_path_arrives_as_it_was_before(address: str, provider: Upstream) -> None:
    provider.answer(Reply(CHAT))
    body = gzip.compress(json.dumps(ASKED).encode(), mtime=0)
    status, _ = raw(address, "/openai/v1/anything", body, **{"content-type": "application/json", "content-encoding": "gzip"})
    assert status == 200
    assert provider.seen[-1].body["messages"] == ASKED["messages"]
    assert "content-encoding" not in provider.seen[-1].headers


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/v1/chat/completions", "application/json"), ("/v1/audio/transcriptions", "multipart/form-data; boundary=x")],
)
def test_a_small_body_that_holds_too_much_is_refused(address: str, provider: Upstream, path: str, kind: str) -> None:
    bomb = gzip.compress(b'{"model": "' + b"a" * (40 * MOST))
    assert len(bomb) < MOST / 10
    status, told = raw(address, path, bomb, **{"content-type": kind, "content-encoding": "gzip"})
    assert status in ((413,) if "json" in kind else (413, 400))
    assert told["error"]["message"]
    assert provider.seen == []


WHOLE = gzip.compress(json.dumps(ASKED).encode(), mtime=0)


@pytest.mark.parametrize(
    ("coding", "body", "status", "told"),
    [
        ("gzip", json.dumps(ASKED).encode(), 400, "is not valid gzip"),
        ("gzip", WHOLE[:-10], 400, "stops before"),
        ("gzip", WHOLE[:-8] + bytes(8), 400, "is not valid gzip"),
        ("gzip", WHOLE + b"more", 400, "continues after"),
        ("gzip", b"", 400, "not JSON"),
        ("br", b"anything", 415, "as gzip, deflate or uncompressed"),
        ("gzip, gzip", WHOLE, 415, "as gzip, deflate or uncompressed"),
    ],
    ids=["no gzip", "cut off", "another sum", "more behind it", "nothing", "unknown", "twice"],
)
def test_what_cannot_be_inflated_is_refused_by_name(
    address: str, provider: Upstream, coding: str, body: bytes, status: int, told: str
) -> None:
    found, answer = raw(address, "/v1/chat/completions", body, **{"content-type": "application/json", "content-encoding": coding})
    assert found == status
    assert told in answer["error"]["message"]
    assert provider.seen == []


# ---- the head of an answer -----------------------------------------------------------------------------------------------


def headed(address: str, *paths: str) -> list[tuple[int, str | None, bytes]]:
    """Status, length and body of each answer, all on one connection: a body that came unasked would be taken for the next head."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    found: list[tuple[int, str | None, bytes]] = []
    for path in paths:
        connection.request("HEAD", path, headers={"authorization": f"Bearer {KEY}"})
        answer = connection.getresponse()
        found.append((answer.status, answer.headers["content-length"], answer.read()))
    connection.close()
    return found


def test_what_can_be_got_can_be_asked_for_its_head(address: str) -> None:
    paths = ("/v1/models", "/v1/models/many", "/health/readiness", "/v1/models/nobody", "/", "/openapi.json")
    found = headed(address, *paths)
    assert [status for status, _, _ in found] == [200, 200, 200, 404, 200, 200]
    assert {body for _, _, body in found} == {b""}
    assert int(found[0][1] or 0) > 20


def test_head_of_what_is_posted_to_is_refused(address: str) -> None:
    assert headed(address, "/v1/chat/completions")[0][0] == 405
