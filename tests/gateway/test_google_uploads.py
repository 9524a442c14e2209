"""Google's files, uploaded in chunks by the official client, with a strict provider that requires its key except with chunks."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from google import genai
from google.genai import errors, types
from tests.gateway.conftest import KEY, provider, serving
from tests.gateway.persistence import Gateway, kept

from headrace import Router
from headrace.gateway.config import Settings
from headrace.gateway.persistence import Where
from headrace.gateway.uploads import Place
from headrace.simulator.config import SimulatorConfig
from headrace.simulator.server import Running, running

UPSTREAM = "upstream-key"
LARGE = bytes(range(256)) * 40_000
"""Two pieces of the official client's, and the first of them on the disk here."""


@pytest.fixture(scope="module")
def google() -> Iterator[Running]:
    gem = provider("gem", port=0, api_keys=(UPSTREAM,), models=("gemini-sim",))
    with running(SimulatorConfig(port=0, providers=(gem,))) as base:
        yield base


def router_over(google: Running) -> Router:
    params = {"model": "gemini/gemini-sim", "api_key": UPSTREAM, "base_url": google.url("gem").replace("/v1", "/v1beta")}
    return Router([{"model_name": "g", "litellm_params": params}], num_retries=0)


@pytest.fixture
def base(google: Running) -> Iterator[str]:
    with serving(router_over(google), Settings(key=KEY)) as address:
        yield address


@pytest.fixture
def place(google: Running, tmp_path: Path) -> Iterator[Gateway]:
    with kept(router_over(google), Where(f"sqlite:///{tmp_path / 'headrace.db'}", tmp_path)) as (base, state):
        yield Gateway(base, state)


def client(base: str, key: str = KEY, **options: Any) -> genai.Client:
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base, **options))


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_a_file_comes_in_pieces_and_is_found_again(base: str, tmp_path: Path, version: str) -> None:
    (tmp_path / "large.bin").write_bytes(LARGE)
    with client(base, api_version=version) as google:
        made = google.files.upload(file=tmp_path / "large.bin", config={"mime_type": "application/x-own", "display_name": "large"})
        assert (made.size_bytes, made.mime_type, made.display_name, made.state) == (len(LARGE), "application/x-own", "large", "ACTIVE")
        assert google.files.get(name=made.name).name == made.name
        assert made.name in [one.name for one in google.files.list()]
        assert google.files.download(file=made.name) == LARGE
        google.files.delete(name=made.name)
        with pytest.raises(errors.ClientError, match="404"):
            google.files.get(name=made.name)


def test_the_file_of_a_key_is_that_keys_although_its_pieces_show_none(place: Gateway) -> None:
    key, other = place.key(), place.key()
    with client(place.base, key) as mine, client(place.base, other) as theirs:
        made = mine.files.upload(file=io.BytesIO(LARGE), config={"mime_type": "text/plain"})
        assert [one.name for one in mine.files.list()] == [made.name]
        assert list(theirs.files.list()) == []
        with pytest.raises(errors.ClientError, match="does not exist for this key"):
            theirs.files.get(name=made.name)
        part = types.Part(file_data=types.FileData(file_uri=made.uri, mime_type="text/plain"))
        with pytest.raises(errors.ClientError, match="does not exist for this key"):
            theirs.models.generate_content(model="g", contents=[part])


def test_what_the_newest_client_asks_below_v1_was_not_found(place: Gateway) -> None:
    """Where OpenAI has files and batches of its own."""
    with client(place.base, place.key()) as mine:
        assert list(mine.files.list()) == []
        assert list(mine.batches.list()) == []
        with pytest.raises(errors.ClientError, match="does not exist for this key"):
            mine.caches.get(name="cachedContents/none")


def asked(url: str, command: str, body: bytes = b"", **headers: str) -> tuple[int, Any, bytes]:
    said = {"X-Goog-Upload-Command": command, **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, said, method="POST"), timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def begun(base: str, key: str, size: int, **headers: str) -> str:
    said = {"X_Goog_Upload_Protocol": "resumable", "X_Goog_Upload_Header_Content_Length": str(size), "x_goog_api_key": key}
    status, told, _ = asked(f"{base}/upload/v1beta/files", "start", b"{}", **said, **headers)
    assert (status, told["x-goog-upload-status"]) == (200, "active")
    url: str = told["x-goog-upload-url"]
    return url


def test_an_upload_goes_on_from_where_it_broke_off(base: str) -> None:
    url, half = begun(base, KEY, 600_000), b"x" * 262_144
    assert asked(url, "upload", half, X_Goog_Upload_Offset="0")[0] == 200
    status, told, _ = asked(url, "query")
    assert (status, told["x-goog-upload-status"], told["x-goog-upload-size-received"]) == (200, "active", "262144")
    status, _, said = asked(url, "upload, finalize", half, X_Goog_Upload_Offset="0")
    assert status == 400
    assert "262144" in json.loads(said)["error"]["message"]
    status, told, said = asked(url, "upload, finalize", b"y" * (600_000 - len(half)), X_Goog_Upload_Offset="262144")
    assert (status, told["x-goog-upload-status"]) == (200, "final")
    assert json.loads(said)["file"]["sizeBytes"] == "600000"


def test_the_address_of_an_upload_is_ours_and_tells_no_key(base: str) -> None:
    url = begun(base, KEY, 1)
    assert url.startswith(f"{base}/upload/v1beta/files?upload_id=")
    assert UPSTREAM not in url
    behind = begun(base, KEY, 1, X_Forwarded_Proto="https", X_Forwarded_Host="gateway.example")
    assert behind.startswith("https://gateway.example/upload/v1beta/files?")


def test_an_address_that_was_not_given_out_opens_nothing(base: str) -> None:
    url = begun(base, KEY, 1)
    at, _, id = url.partition("upload_id=")
    for other in (f"{at}upload_id=made-up", f"{at}upload_id={id[:-40]}{id[-40:].swapcase()}"):
        assert asked(other, "upload, finalize", b"x", X_Goog_Upload_Offset="0")[0] in (401, 404)
        assert asked(other, "upload, finalize", b"x", X_Goog_Upload_Offset="0", x_goog_api_key=KEY)[0] == 404


def test_a_seal_of_somebody_elses_opens_nothing(place: Gateway) -> None:
    """Whoever reads an address can write another, of the master key's or of a path of his choice; but not its seal."""
    key, url = place.key(), begun(place.base, KEY, 1)
    [deployment] = [one["model_info"]["id"] for one in place.ask("/model/info")["data"]]
    query = parse_qs(urlsplit(url).query)["upload_id"][0]
    given = msgspec.json.decode(urlsafe_b64decode(query + "=" * (-len(query) % 4)), type=Place)
    assert given.deployment == deployment
    for forged in (
        msgspec.structs.replace(given, mark="").sealed("sk-another"),
        msgspec.structs.replace(given, path="/v1beta/models").sealed("-"),
    ):
        other = f"{place.base}/upload/v1beta/files?upload_id={forged}"
        assert asked(other, "query")[0] == 401
        assert asked(other, "query", x_goog_api_key=key)[0] == 404
    assert asked(url, "query")[0] == 200


def test_who_must_show_himself_again_is_who_began(place: Gateway) -> None:
    """Callers with a token of an identity provider have no key that an address could name."""
    key = place.key(team_id="t-own")
    url = begun(place.base, KEY, 1)
    query = parse_qs(urlsplit(url).query)["upload_id"][0]
    given = msgspec.json.decode(urlsafe_b64decode(query + "=" * (-len(query) % 4)), type=Place)
    for owner, status in (("team:t-another", 404), ("team:t-own", 200)):
        own = msgspec.structs.replace(given, key="", owner=owner, mark="").sealed(KEY)
        assert asked(f"{place.base}/upload/v1beta/files?upload_id={own}", "query", x_goog_api_key=key)[0] == status


def test_the_pieces_of_a_key_that_was_blocked_are_refused(place: Gateway) -> None:
    key = place.key()
    url = begun(place.base, key, 300_000)
    assert asked(url, "upload", b"x" * 262_144, X_Goog_Upload_Offset="0")[0] == 200
    place.ask("/key/block", {"key": key})
    status, _, said = asked(url, "upload, finalize", b"x" * 37_856, X_Goog_Upload_Offset="262144")
    assert (status, b"blocked" in said) == (401, True)


@pytest.mark.parametrize("bound", [{"networks": (ip_network("10.0.0.0/8"),)}, {"routes": ("/v1/chat/completions",)}])
def test_an_address_opens_nothing_from_where_nobody_may_call_and_where_nothing_is_sent(google: Running, bound: Any) -> None:
    router = router_over(google)
    place = Place(router.get_model_ids()[0], "/upload/v1beta/files?upload_id=upload-1", "*", "user:")
    with serving(router, Settings(key=KEY, **bound)) as base:
        url = f"{base}/upload/v1beta/files?upload_id={place.sealed(KEY)}"
        assert asked(url, "query")[0] == 403


def test_without_a_master_key_this_machine_uploads(google: Running) -> None:
    with serving(router_over(google), Settings()) as base, client(base, "any") as google_client:
        assert google_client.files.upload(file=io.BytesIO(b"x"), config={"mime_type": "text/plain"}).size_bytes == 1
