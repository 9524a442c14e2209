"""Requests signed for Oracle's cloud, checked by somebody who has the public key alone."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from tests.client.upstream import CHAT, Client, Reply, Seen, Upstream, standing

import headrace
from headrace.providers import oci
from headrace.wire import HttpRequest

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
WHO = {"oci_user": "ocid1.user.u", "oci_tenancy": "ocid1.tenancy.t", "oci_fingerprint": "aa:bb", "oci_key": PEM}


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "USER",
        "TENANCY",
        "FINGERPRINT",
        "KEY",
        "KEY_FILE",
        "COMPARTMENT_ID",
        "REGION",
        "GENAI_API_KEY",
        "API_KEY",
        "CLI_PROFILE",
    ):
        monkeypatch.delenv(f"OCI_{name}", raising=False)
    monkeypatch.setenv("OCI_CLI_CONFIG_FILE", str(tmp_path / "config"))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with standing() as made:
        yield made


@pytest.fixture(params=["async", "sync"])
def client(request: pytest.FixtureRequest, upstream: Upstream) -> Client:
    return Client(request.param, upstream)


def verified(seen: Seen, raw: bytes) -> str:
    """Whose key signed a request, as Oracle's gate would find out: whatever was signed is as it came, and the digest is the body's."""
    said = dict(re.findall(r'(\w+)="([^"]*)"', seen.headers["authorization"].removeprefix("Signature ")))
    names = said["headers"].split()
    assert (said["version"], said["algorithm"]) == ("1", "rsa-sha256")
    assert {"date", "(request-target)", "host", "content-length", "content-type", "x-content-sha256"} <= set(names)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(raw)
    assert seen.headers["x-content-sha256"] == base64.b64encode(digest.finalize()).decode()
    assert seen.headers["content-length"] == str(len(raw))
    lines = [f"{it}: {f'{seen.method.lower()} {seen.path}' if it == '(request-target)' else seen.headers[it]}" for it in names]
    KEY.public_key().verify(base64.b64decode(said["signature"]), "\n".join(lines).encode(), padding.PKCS1v15(), hashes.SHA256())
    return said["keyId"]


def chat(client: Client, **options: Any) -> Any:
    return client.call("completion", "oci/xai.grok-4", [{"role": "user", "content": "hi"}], api_key=None, **options)


def raw(seen: Seen) -> bytes:
    return json.dumps(seen.body, separators=(",", ":")).encode()


def test_a_call_is_signed_with_the_callers_key(client: Client, upstream: Upstream) -> None:
    answer = chat(client, **WHO, oci_compartment_id="ocid1.compartment.c", extra_query={"a": "b c"})
    [seen] = upstream.seen
    assert answer.choices[0].message.content == "hello"
    assert seen.path == "/v1/chat/completions?a=b+c"
    assert verified(seen, raw(seen)) == "ocid1.tenancy.t/ocid1.user.u/aa:bb"
    assert seen.headers["compartmentid"] == seen.headers["opc-compartment-id"] == "ocid1.compartment.c"
    assert not any("oci" in name for name in seen.body)
    with pytest.raises(InvalidSignature):
        verified(Seen("/v1/elsewhere", seen.headers, seen.body), raw(seen))


def test_a_stream_is_signed_as_well_and_so_is_each_try(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"error": {"message": "busy"}}, status=500), Reply(CHAT))
    chat(client, **WHO, num_retries=1)
    assert [verified(seen, raw(seen)) for seen in upstream.seen] == ["ocid1.tenancy.t/ocid1.user.u/aa:bb"] * 2


def test_the_configuration_file_says_who_and_where(
    client: Client, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key.pem").write_text(PEM)
    whole = f"user=ocid1.user.f\ntenancy=ocid1.tenancy.f\nfingerprint=cc:dd\nkey_file={tmp_path}/key.pem\nregion=eu-frankfurt-1\n"
    (tmp_path / "config").write_text(f"[DEFAULT]\n{whole}[OTHER]\nuser=ocid1.user.o\n")
    chat(client)
    assert verified(upstream.seen[0], raw(upstream.seen[0])) == "ocid1.tenancy.f/ocid1.user.f/cc:dd"
    monkeypatch.setenv("OCI_CLI_PROFILE", "OTHER")
    chat(client)
    assert verified(upstream.seen[1], raw(upstream.seen[1])) == "ocid1.tenancy.f/ocid1.user.o/cc:dd"
    from headrace.destinations import destination

    assert destination("oci/m", {}).base_url == "https://inference.generativeai.eu-frankfurt-1.oci.oraclecloud.com/openai/v1"
    assert destination("oci/m", {"oci_region": "us-phoenix-1"}).host.startswith("inference.generativeai.us-phoenix-1.")


def test_a_session_token_is_read_again_when_it_ends(tmp_path: Path) -> None:
    def token(end: float) -> str:
        return f"h.{base64.urlsafe_b64encode(json.dumps({'exp': end}).encode()).decode().rstrip('=')}.s"

    now = time.time()
    (tmp_path / "key.pem").write_text(PEM)
    (tmp_path / "token").write_text(token(now + 100) + "\n")
    credentials = oci.Oci({"oci_key_file": f"{tmp_path}/key.pem", "oci_security_token_file": f"{tmp_path}/token"}, lambda: now)
    credentials.load()
    assert credentials.left() == pytest.approx(100, abs=1)
    signed = credentials.apply(HttpRequest("GET", "https://h.example/a", ()))
    assert f'keyId="ST${token(now + 100)}"' in dict(signed.headers)["authorization"]
    assert 'headers="date (request-target) host"' in dict(signed.headers)["authorization"]
    (tmp_path / "token").write_text(token(now + 3600))
    credentials.load()
    assert credentials.left() == pytest.approx(3600, abs=1)


def test_oracles_own_library_may_sign(client: Client, upstream: Upstream) -> None:
    class Theirs:
        def do_request_sign(self, request: Any, *, enforce_content_headers: bool) -> None:
            assert (request.path_url, enforce_content_headers) == ("/v1/chat/completions", True)
            request.headers["Authorization"] = f"Signature of {request.method} {len(request.body)}"

    chat(client, oci_signer=Theirs(), oci_compartment_id="c")
    [seen] = upstream.seen
    assert seen.headers["authorization"] == f"Signature of POST {seen.headers['content-length']}"
    assert seen.headers["opc-compartment-id"] == "c"


def test_the_services_own_key_is_shown_as_it_is(client: Client, upstream: Upstream) -> None:
    client.call("completion", "oci/xai.grok-4", [{"role": "user", "content": "hi"}], api_key="sk-genai-1")
    assert upstream.seen[0].headers["authorization"] == "Bearer sk-genai-1"


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, headrace.AuthenticationError, "no OCI credentials were found"),
        ({"oci_user": "u", "oci_key": PEM}, headrace.ConfigurationError, "an API key also needs oci_tenancy, oci_fingerprint"),
        ({**WHO, "oci_key": "no key"}, headrace.ConfigurationError, "not an RSA key in PEM"),
        ({"oci_signer": 7}, headrace.ConfigurationError, "must be a signer from Oracle's library"),
    ],
)
def test_what_cannot_sign_says_what_is_missing_and_no_secret(
    client: Client, upstream: Upstream, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as raised:
        chat(client, **options)
    assert "no key" not in str(raised.value)
    assert "PRIVATE" not in str(raised.value)
    assert upstream.seen == []
