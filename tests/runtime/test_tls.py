"""HTTPS: certificates believed, refused and shown."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.runtime.wires import OK, OURS, Driver, post, serving

from headrace.errors import ConfigurationError
from headrace.wire import Fault, TransportError

both = pytest.mark.parametrize("driver", OURS, ids=repr)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def secured(tls: ssl.SSLContext) -> Iterator[Any]:
    with serving(["read", OK, "read", OK], tls=tls) as server:
        yield server


def url(server: Any, host: str = "localhost") -> str:
    return f"https://{host}:{server.port}/v1"


@both
def test_a_custom_authority_is_believed(driver: Driver, secured: Any, ca_file: Path) -> None:
    assert driver.fetch(post(url(secured)), verify=str(ca_file)).body == b"ok"


@both
def test_a_context_of_ones_own_is_used(driver: Driver, secured: Any, ca_file: Path) -> None:
    assert driver.fetch(post(url(secured)), verify=ssl.create_default_context(cafile=str(ca_file))).body == b"ok"


@both
def test_an_unknown_authority_is_refused(driver: Driver, secured: Any) -> None:
    with pytest.raises(TransportError) as caught:
        driver.fetch(post(url(secured)))
    assert (caught.value.fault, caught.value.sent) == (Fault.TLS, False)


@both
def test_a_certificate_for_another_host_is_refused(driver: Driver, secured: Any, ca_file: Path) -> None:
    with pytest.raises(TransportError) as caught:
        driver.fetch(post(url(secured, "127.0.0.1")), verify=str(ca_file))
    assert caught.value.fault is Fault.TLS


@both
def test_verification_can_be_switched_off(driver: Driver, secured: Any) -> None:
    assert driver.fetch(post(url(secured, "127.0.0.1")), verify=False).body == b"ok"


@both
def test_a_client_certificate_is_shown(driver: Driver, authority: trustme.CA, ca_file: Path, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    mine = authority.issue_cert("me@example.com")
    pem = tmp_path / "me.pem"
    mine.private_key_and_cert_chain_pem.write_to_path(str(pem))
    with serving(["read", OK], tls=context) as server:
        assert driver.fetch(post(url(server)), verify=str(ca_file), cert=str(pem)).body == b"ok"
    with serving(["read", OK], tls=context) as server, pytest.raises(TransportError):
        driver.fetch(post(url(server)), verify=str(ca_file))


@both
def test_the_environment_names_an_authority(driver: Driver, secured: Any, ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    # other settings than any test's, since a context is made once per settings
    assert driver.fetch(post(url(secured)), idle_expiry=31.0 + len(driver.name)).body == b"ok"


@both
def test_plain_http_on_a_tls_port_is_a_tls_failure(driver: Driver) -> None:
    with serving([b"HTTP/1.1 400 Bad Request\r\n\r\n", "close"]) as server, pytest.raises(TransportError) as caught:
        driver.fetch(post(url(server)))
    assert caught.value.fault is Fault.TLS


@both
@pytest.mark.parametrize("settings", [{"verify": "/nowhere/ca.pem"}, {"cert": "/nowhere/me.pem"}])
def test_certificates_that_cannot_be_read_are_named(driver: Driver, secured: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="verify or cert cannot be used"):
        driver.fetch(post(url(secured)), **settings)
