"""Downloads from buckets that break off: the rest of the same object is requested; sync and async."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tests.client.test_bedrock_client import no_aws_here  # noqa: F401
from tests.client.upstream import Client, Reply, Upstream

import headrace
from headrace import downloads
from headrace.providers import cloud_auth, cloud_credentials

AWS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "a-secret-of-forty", "aws_region_name": "eu-central-1", "api_key": None}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PAUSE", 0.001)


def broken(data: bytes, **headers: str) -> Reply:
    return Reply(pieces=[data], cut=True, headers={"content-type": "application/octet-stream", **headers})


def rest(data: bytes, begin: int, *, cut: bool = False) -> Reply:
    said = {"content-type": "application/octet-stream", "content-range": f"bytes {begin}-8/9"}
    return Reply(pieces=[data] if data else [], status=206, headers=said, cut=cut)


def read(client: Client, upstream: Upstream) -> bytes:
    own = {"s3_endpoint_url": upstream.url, "s3_bucket_name": "mill"}
    return b"".join(client.call("file_content", "s3://mill/stone", "bedrock", stream=True, **AWS, **own))


def test_a_file_that_breaks_off_is_gone_on_with(client: Client, upstream: Upstream) -> None:
    """Twice, with some trouble in between."""
    upstream.answer(broken(b"mil", etag='"a"'), rest(b"ls", 3, cut=True), Reply(b"<Error/>", status=503), rest(b"tone", 5))
    assert read(client, upstream) == b"millstone"
    assert [seen.headers.get("range") for seen in upstream.seen] == [None, "bytes=3-", "bytes=5-", "bytes=5-"]
    assert [seen.headers.get("if-match") for seen in upstream.seen] == [None, '"a"', '"a"', '"a"']
    assert all("/s3/aws4_request" in seen.headers["authorization"] for seen in upstream.seen)


@pytest.mark.parametrize("status", [404, 412])
def test_a_file_is_not_put_together_of_two(client: Client, upstream: Upstream, status: int) -> None:
    upstream.answer(broken(b"mill", etag='"a"'), Reply(b"<Error/>", status=status))
    with pytest.raises(headrace.TruncatedStream, match="ended after 4 bytes, and the object was replaced or deleted"):
        read(client, upstream)


SHORT = {"content-range": "bytes 4-8/9", "content-length": "5", "connection": "close"}


@pytest.mark.parametrize("more", [Reply(b"", status=206, headers=SHORT), rest(b"", 4), Reply(b"<Error/>", status=503)])
def test_a_file_that_always_breaks_off_is_given_up(client: Client, upstream: Upstream, more: Reply) -> None:
    """Also where what was to be the rest ends properly and is none."""
    upstream.answer(broken(b"mill", etag='"a"'), more)
    with pytest.raises(headrace.TruncatedStream):
        read(client, upstream)
    assert len(upstream.seen) == 1 + downloads.TRIES


def test_a_server_that_sends_all_of_it_again_is_not_believed(client: Client, upstream: Upstream) -> None:
    upstream.answer(broken(b"mill", etag='"a"'), Reply(b"millstone"))
    with pytest.raises(headrace.TruncatedStream, match="the rest was answered with status 200"):
        read(client, upstream)


@pytest.mark.parametrize("headers", [{}, {"etag": 'W/"a"'}])
def test_nothing_is_asked_for_again_of_an_object_that_has_no_mark(client: Client, upstream: Upstream, headers: dict[str, str]) -> None:
    upstream.answer(broken(b"mill", **headers))
    with pytest.raises(headrace.TruncatedStream):
        read(client, upstream)
    assert len(upstream.seen) == 1


def test_a_file_of_cloud_storage_is_gone_on_with_by_its_generation(
    client: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Any = SimpleNamespace(token="", expiry=None)
    made.refresh = lambda _: setattr(made, "token", "a-token")
    monkeypatch.setattr(cloud_credentials, "_google_credentials", lambda given: made)
    monkeypatch.setattr(cloud_credentials, "_google_request", lambda: None)
    cloud_auth._signer.cache_clear()
    upstream.answer(broken(b"mill", **{"x-goog-generation": "77"}), rest(b"stone", 4))
    own = {"gcs_endpoint_url": upstream.url, "gcs_bucket_name": "mill", "vertex_credentials": "{}", "vertex_project": "p"}
    assert b"".join(client.call("file_content", "gs://mill/stone", "vertex_ai", stream=True, api_key=None, **own)) == b"millstone"
    assert upstream.seen[1].path.endswith("?alt=media&ifGenerationMatch=77")
    assert upstream.seen[1].headers["range"] == "bytes=4-"
