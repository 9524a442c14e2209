"""API keys that are exchanged for tokens: IBM Cloud's IAM, OAuth client credentials at Databricks, and SAP AI Core.

This takes a single form POST, so no library is needed. It uses the transport shared by all blocking calls.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from headrace.bridge import complete
from headrace.dialects.failures import read_error
from headrace.errors import AuthenticationError, Failure, Kind, error_of, failure_of
from headrace.wire import HttpRequest, HttpResponse, Timeouts, TransportError

Fetch = Callable[[HttpRequest], HttpResponse]

IAM: Final = "https://iam.cloud.ibm.com/identity/token"


def ibm(options: Mapping[str, Any], fetch: Fetch | None = None) -> tuple[str, float | None]:
    """An IBM Cloud token for `api_key`, or the given token (cloud.ibm.com/apidocs/iam-identity-token-api, read 2026-11)."""
    if token := options.get("watsonx_token"):
        return str(token), None
    form = {"grant_type": "urn:ibm:params:oauth:grant-type:apikey", "apikey": options["api_key"]}
    return _token("watsonx", options.get("watsonx_iam_url", IAM), form, (), fetch)


def databricks(options: Mapping[str, Any], address: str, fetch: Fetch | None = None) -> tuple[str, float | None]:
    """A service principal's token for the workspace at `address` (docs.databricks.com/dev-tools/auth/oauth-m2m, read 2026-11)."""
    pair = base64.b64encode(f"{options['client_id']}:{options['client_secret']}".encode()).decode()
    form = {"grant_type": "client_credentials", "scope": "all-apis"}
    return _token("databricks", f"{address}/oidc/v1/token", form, (("authorization", f"Basic {pair}"),), fetch)


def sap(options: Mapping[str, Any], fetch: Fetch | None = None) -> tuple[str, float | None]:
    """A SAP AI Core token for a service key's client (help.sap.com/docs/sap-ai-core, as LiteLLM 1.106.2 has it)."""
    form = {"grant_type": "client_credentials", "client_id": options["client_id"], "client_secret": options["client_secret"]}
    return _token("sap", with_end(options["auth_url"], "/oauth/token"), form, (), fetch)


def with_end(address: str, end: str) -> str:
    """`address` with `end` appended unless it is already there."""
    address = address.rstrip("/")
    return address if address.endswith(end) else address + end


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: float | None = None
    """Seconds."""


_decode: Final = msgspec.json.Decoder(_Granted).decode


def _token(
    provider: str, url: str, form: Mapping[str, str], headers: tuple[tuple[str, str], ...], fetch: Fetch | None
) -> tuple[str, float | None]:
    usual = (("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json"))
    began = time.time()
    response = (fetch or fetched)(HttpRequest("POST", url, (*usual, *headers), urlencode(form).encode()))
    if response.status >= 300:
        raise error_of(_refusal(read_error(response, provider=provider, model="")))
    try:
        granted = _decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise AuthenticationError(f"{provider}: the response of {url} has no token", provider) from None
    return granted.access_token, None if granted.expires_in is None else began + granted.expires_in


def _refusal(failure: Failure) -> Failure:
    """The failure as an authentication error: token services reject a bad key as a bad request (IBM) or unknown client (OAuth)."""
    kind = Kind.AUTHENTICATION if failure.kind in (Kind.BAD_REQUEST, Kind.PERMISSION, Kind.NOT_FOUND) else failure.kind
    return msgspec.structs.replace(failure, kind=kind, sent=False)


def fetched(request: HttpRequest) -> HttpResponse:
    """Sends a request with the transport shared by all blocking calls. Raises HeadraceError."""
    from headrace.runtime.worlds import RealWorlds  # late, and upward: tokens are fetched in a thread of their own

    try:
        return complete(RealWorlds().blocking().transport.fetch(request, Timeouts(connect=10.0, total=30.0)))
    except TransportError as error:
        host = request.url.split("/")[2]
        raise error_of(msgspec.structs.replace(failure_of(error, provider="", model="", host=host), sent=False)) from error
