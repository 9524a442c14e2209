"""Images, audio and documents, inline or by reference."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream

import headrace
from headrace.media import media_type

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
WAV = b"RIFF\x00\x00\x00\x00WAVEfmt " + bytes(20)
PDF = b"%PDF-1.7 ..."
PNG_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


def said(part: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]}]


def sent(client: Client, upstream: Upstream, part: dict[str, Any], **options: Any) -> Any:
    client.call("completion", "openai/m", said(part), **options)
    return upstream.seen[-1].body["messages"][0]["content"][1]


@pytest.mark.parametrize("shape", ["flat", "nested"])
@pytest.mark.parametrize("held", ["bytes", "path", "file", "tuple"])
def test_a_picture_is_sent_as_data_however_it_is_held(client: Client, upstream: Upstream, tmp_path: Path, held: str, shape: str) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(PNG)
    value: Any = {"bytes": PNG, "path": path, "file": io.BytesIO(PNG), "tuple": ("a", PNG, "image/gif")}[held]
    part = {"type": "image_url", "image_url": value if shape == "flat" else {"url": value, "detail": "low"}}
    beside = {} if shape == "flat" else {"detail": "low"}
    assert sent(client, upstream, part) == {"type": "image_url", "image_url": {"url": PNG_URL, **beside}}


def test_a_sound_is_base64_with_its_format(client: Client, upstream: Upstream) -> None:
    heard = {"data": base64.b64encode(WAV).decode(), "format": "wav"}
    assert sent(client, upstream, {"type": "input_audio", "input_audio": {"data": WAV}}) == {"type": "input_audio", "input_audio": heard}


def test_a_document_keeps_its_name(client: Client, upstream: Upstream, tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(PDF)
    written = sent(client, upstream, {"type": "file", "file": {"file_data": path}})
    assert written["file"]["filename"] == "report.pdf"
    assert written["file"]["file_data"] == "data:application/pdf;base64," + base64.b64encode(PDF).decode()


def test_a_text_is_told_by_the_ending_of_its_name(client: Client, upstream: Upstream, tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("a,b\n1,2\n")
    assert sent(client, upstream, {"type": "file", "file": {"file_data": path}})["file"]["file_data"].startswith("data:text/csv;base64,")


def test_a_string_is_never_taken_for_a_path(client: Client, upstream: Upstream, tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(PNG)
    part = {"type": "image_url", "image_url": {"url": str(path)}}
    assert sent(client, upstream, part) == part


@pytest.mark.parametrize(
    ("value", "complaint"),
    [(b"\x00\x01\x02", "an unknown media type"), (Path("nowhere/a.png"), "there is no file"), (io.StringIO("x"), "binary mode")],
)
def test_what_cannot_be_sent_is_named(client: Client, value: Any, complaint: str) -> None:
    with pytest.raises(headrace.BadRequestError, match=rf"messages\[0\]\.content\[1\].*{complaint}"):
        client.call("completion", "openai/m", said({"type": "image_url", "image_url": {"url": value}}))


def test_what_is_too_large_is_refused_before_it_is_read(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with path.open("wb") as file:
        file.truncate(60 * 1024 * 1024)
    with pytest.raises(headrace.BadRequestError, match=r"content\[1\] has 62914560 bytes"):
        client.call("completion", "openai/m", said({"type": "file", "file": {"file_data": path}}))


@pytest.mark.parametrize(
    ("data", "media"),
    [
        (PNG, "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"GIF89a", "image/gif"), (b"RIFF1234WEBP", "image/webp"),
        (PDF, "application/pdf"),
        (WAV, "audio/wav"), (b"ID3\x04", "audio/mp3"), (b"OggS", "audio/ogg"), (b"\x00\x00\x00\x18ftypmp42", "video/mp4"), (b"hello", None),
    ],
)  # fmt: skip
def test_data_says_itself_what_it_is(data: bytes, media: str | None) -> None:
    assert media_type(data) == media
    assert media_type(b"?", "text/plain; charset=utf-8") == "text/plain"


# ---- by address


@pytest.fixture
def everything_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.runtime.http1.is_public", lambda address: True)


class Web(Client):
    """A client whose messages point to the upstream itself."""

    def point(self, upstream: Upstream, **options: Any) -> Any:
        part = {"type": "image_url", "image_url": {"url": f"{upstream.url}/a.png?signature=secret"}}
        return self.call("completion", "openai/m", said(part), **options)


@pytest.fixture
def web(client: Client) -> Web:
    return Web(client.name, client.upstream)


def test_nothing_is_fetched_unless_asked_for(web: Web, upstream: Upstream) -> None:
    web.point(upstream)
    assert [seen.method for seen in upstream.seen] == ["POST"]


@pytest.mark.usefixtures("everything_is_public")
def test_what_a_message_points_to_is_fetched_and_sent_as_data(web: Web, upstream: Upstream) -> None:
    upstream.answer(Reply(PNG, headers={"content-type": "image/png"}), Reply(CHAT))
    web.point(upstream, fetch_media=True)
    assert [seen.method for seen in upstream.seen] == ["GET", "POST"]
    assert "authorization" not in upstream.seen[0].headers, "the provider's key is nobody else's"
    assert upstream.seen[1].body["messages"][0]["content"][1]["image_url"]["url"] == PNG_URL


@pytest.mark.usefixtures("everything_is_public")
def test_it_is_fetched_once_for_all_attempts(web: Web, upstream: Upstream) -> None:
    upstream.answer(Reply(PNG, headers={"content-type": "image/png"}), Reply({"error": {}}, status=503), Reply(CHAT))
    web.point(upstream, fetch_media=True, num_retries=1)
    assert [seen.method for seen in upstream.seen] == ["GET", "POST", "POST"]


@pytest.mark.usefixtures("everything_is_public")
@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(b"", status=404), "status 404"),
        (Reply(b"", status=302, headers={"location": "/v1/a.png"}), "more than 3 redirects"),
        (Reply(b"\x00", headers={"content-type": "application/octet-stream"}), "unknown media type"),
    ],
)
def test_what_cannot_be_fetched_is_the_callers_fault(web: Web, upstream: Upstream, reply: Reply, why: str) -> None:
    upstream.answer(reply)
    with pytest.raises(headrace.BadRequestError, match=rf"messages\[0\]\.content\[1\].*{why}") as caught:
        web.point(upstream, fetch_media=True)
    assert "secret" not in str(caught.value)


def test_private_addresses_are_never_reached(web: Web, upstream: Upstream) -> None:
    with pytest.raises(headrace.BadRequestError, match="not on the public internet"):
        web.point(upstream, fetch_media=True)
    assert upstream.seen == []


def test_a_deployment_may_want_everything_as_data(web: Web, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.runtime.http1.is_public", lambda address: True)
    upstream.answer(Reply(PNG, headers={"content-type": "image/png"}), Reply(CHAT))
    params = {"model": "openai/m", "api_base": upstream.url, "api_key": "sk-t", "fetch_media": True}
    router = headrace.Router(model_list=[{"model_name": "chat", "litellm_params": params}])
    part = {"type": "image_url", "image_url": {"url": f"{upstream.url}/a.png"}}
    web.call("completion", on=router, model="chat", messages=said(part))
    assert "fetch_media" not in upstream.seen[-1].body
    assert upstream.seen[-1].body["messages"][0]["content"][1]["image_url"]["url"] == PNG_URL
