"""Oracle Cloud's request signatures, with an API key, a session token, or a signer from Oracle's own library.

docs.oracle.com/iaas/Content/API/Concepts/signingrequests.htm (2026-11-28): HTTP signatures (draft-cavage), RSA with
SHA-256, over the date, request target and host, and the length, type and digest of the body if there is one.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from configparser import ConfigParser
from email.utils import formatdate
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.errors import AuthenticationError, ConfigurationError
from headrace.providers.rows import split_url
from headrace.wire import HttpRequest

ALWAYS: Final = ("date", "(request-target)", "host")
WITH_A_BODY: Final = ("content-length", "content-type", "x-content-sha256")

_TRANSPORTS: Final = ("host", "content-length")
"""Headers that are signed but sent by the transport, with the same values."""

OWN: Final = ("oci_user", "oci_tenancy", "oci_fingerprint")
_FIELDS: Final = {
    "user": "oci_user", "tenancy": "oci_tenancy", "fingerprint": "oci_fingerprint", "key_file": "oci_key_file",
    "pass_phrase": "oci_pass_phrase", "security_token_file": "oci_security_token_file", "region": "oci_region",
}  # fmt: skip
"""The names of Oracle's configuration fields, and the options for them."""


def found(named: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """The options from Oracle's configuration file: only the region if `named` has credentials."""
    path = environment.get("OCI_CLI_CONFIG_FILE") or environment.get("OCI_CONFIG_FILE") or "~/.oci/config"
    said = _configured(path, environment.get("OCI_CLI_PROFILE") or "DEFAULT")
    if any(name in named for name in (*OWN, "oci_key", "oci_key_file", "oci_signer")):
        return {name: value for name, value in said.items() if name == "oci_region"}
    return dict(said)


@lru_cache(maxsize=16)
def _configured(path: str, profile: str) -> Mapping[str, str]:
    file = Path(path).expanduser()
    if not file.is_file():
        return {}
    parser = ConfigParser(interpolation=None)
    parser.read_string(file.read_text("utf-8"))
    said = parser[profile] if parser.has_section(profile) or profile == parser.default_section else {}
    return {option: said[field] for field, option in _FIELDS.items() if said.get(field)}


class Oci:
    """`signing.Credentials` for an API key or a session token.

    From `oci_user`, `oci_tenancy` and `oci_fingerprint` with `oci_key` or `oci_key_file`, else from the configuration
    file.

    A session token's file is read again when the token expires.
    """

    def __init__(self, options: Mapping[str, Any], wall: Callable[[], float]) -> None:
        self._options = options
        self._wall = wall
        self._key: Any = None
        self._key_id = ""
        self._ends: float | None = None

    def load(self) -> None:
        options = self._options
        token = options.get("oci_security_token_file")
        missing = [name for name in OWN if name not in options]
        keyed = options.get("oci_key") or options.get("oci_key_file")
        if keyed and token and "oci_user" in missing:
            text = Path(token).expanduser().read_text("utf-8").strip()
            self._key_id, self._ends = f"ST${text}", _end_of(text)
        elif keyed and not missing:
            self._key_id, self._ends = "/".join(options[name] for name in ("oci_tenancy", "oci_user", "oci_fingerprint")), None
        elif keyed or len(missing) < len(OWN):
            wanted = ", ".join([*missing, *([] if keyed else ["oci_key or oci_key_file"])])
            raise ConfigurationError(f"oci: an API key also needs {wanted}")
        else:
            raise AuthenticationError(
                "no OCI credentials were found: set OCI_GENAI_API_KEY, or OCI_USER, OCI_TENANCY, OCI_FINGERPRINT and OCI_KEY_FILE, "
                "or write ~/.oci/config",
                "oci",
            )
        self._key = _private_key(options)

    def forget(self) -> None:
        self._key = None

    def left(self) -> float:
        if self._key is None:
            return 0.0
        return float("inf") if self._ends is None else max(0.0, self._ends - self._wall())

    def apply(self, request: HttpRequest) -> HttpRequest:
        headers = {name.lower(): value for name, value in request.headers}
        headers |= compartment(self._options)
        headers |= {"date": formatdate(self._wall(), usegmt=True), "host": split_url(request.url).netloc.rpartition("@")[2]}
        if request.method in ("POST", "PUT", "PATCH"):
            size, digest = _measured([request.body] if request.upload is None else request.upload.pieces())
            headers |= {"content-length": str(size), "x-content-sha256": digest}
            headers.setdefault("content-type", "application/json")
        names = (*ALWAYS, *WITH_A_BODY) if "x-content-sha256" in headers else ALWAYS
        signature = self._signed(signing_text(request.method, request.url, headers, names))
        headers["authorization"] = (
            f'Signature version="1",keyId="{self._key_id}",algorithm="rsa-sha256",headers="{" ".join(names)}",signature="{signature}"'
        )
        said = tuple((name, value) for name, value in headers.items() if name not in _TRANSPORTS)
        return msgspec.structs.replace(request, headers=said)

    def _signed(self, text: str) -> str:
        padding, hashes = _cryptography("hazmat.primitives.asymmetric.padding"), _cryptography("hazmat.primitives.hashes")
        return base64.b64encode(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()


class OciLibrary:
    """A signer from Oracle's own library (`oci_signer=`): instance principals, resource principals and others."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options

    def load(self) -> None:
        """Nothing to do: the signer renews its credentials itself."""

    def forget(self) -> None:
        """Nothing to do: the signer renews its credentials itself."""

    def left(self) -> float:
        return float("inf")

    def apply(self, request: HttpRequest) -> HttpRequest:
        parts = split_url(request.url)
        asked = _Prepared()
        asked.method, asked.url, asked.body = request.method, request.url, request.body
        asked.path_url = parts.path + (f"?{parts.query}" if parts.query else "")
        asked.headers = {**{name.lower(): value for name, value in request.headers}, **compartment(self._options)}
        self._options["oci_signer"].do_request_sign(asked, enforce_content_headers=request.method in ("POST", "PUT", "PATCH"))
        signed = {name.lower(): value for name, value in asked.headers.items() if name.lower() not in _TRANSPORTS}
        return msgspec.structs.replace(request, headers=tuple(signed.items()))


class _Prepared:
    """The part of a prepared request that the library's signers use."""

    method: str
    url: str
    path_url: str
    body: bytes
    headers: dict[str, str]


def compartment(options: Mapping[str, Any]) -> dict[str, str]:
    """The compartment header under both its names: chats read one, Responses the other."""
    found = options.get("oci_compartment_id")
    return {"compartmentid": found, "opc-compartment-id": found} if found else {}


def signing_text(method: str, url: str, headers: Mapping[str, str], names: Iterable[str]) -> str:
    """The text to sign: one line for each of the named headers."""
    parts = split_url(url)
    target = f"{method.lower()} {parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    return "\n".join(f"{name}: {target if name == '(request-target)' else headers[name]}" for name in names)


def _measured(pieces: Iterable[bytes]) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    for piece in pieces:
        size += len(piece)
        digest.update(piece)
    return size, base64.b64encode(digest.digest()).decode()


def _private_key(given: Mapping[str, Any]) -> Any:
    text = given.get("oci_key") or Path(given["oci_key_file"]).expanduser().read_text("utf-8")
    phrase = given.get("oci_pass_phrase")
    try:
        return _cryptography("hazmat.primitives.serialization").load_pem_private_key(
            str(text).replace("\\n", "\n").strip().encode(), phrase.encode() if phrase else None
        )
    except (ValueError, TypeError):
        raise ConfigurationError("oci: the key is not an RSA key in PEM, or its passphrase is wrong") from None


def _end_of(token: str) -> float | None:
    """When a session token expires, in epoch seconds by its own claims; None if it has none."""
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        return float(claims["exp"])
    except (ValueError, LookupError, TypeError):
        return None


def _cryptography(module: str) -> Any:
    """A module of the library, which is an optional extra."""
    return import_module(f"cryptography.{module}")
