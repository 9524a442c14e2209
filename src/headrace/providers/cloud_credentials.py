"""Credentials found and renewed by the clouds' own libraries: botocore, google-auth and azure-identity.

The libraries are imported with the first credentials, never before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, Final

import msgspec

from headrace.calls import shape
from headrace.errors import AuthenticationError, ConfigurationError
from headrace.providers.signing import EARLY, LATE, PAUSE
from headrace.wire import HttpRequest


def _library(name: str) -> Any:
    """A module of a cloud's library, which is an optional extra."""
    return import_module(name)


# ---- AWS ---------------------------------------------------------------------------------------------------------------------------


class Aws:
    """Credentials found and renewed by botocore; requests signed with SigV4.

    options: `aws_*` as in LiteLLM. Without any, botocore's own chain: environment, files, SSO, container and instance.
    """

    def __init__(self, options: Mapping[str, Any], region: str, service: str = "bedrock") -> None:
        for one, other in (("aws_access_key_id", "aws_secret_access_key"), ("aws_secret_access_key", "aws_access_key_id")):
            if one in options and other not in options:
                raise ConfigurationError(f"{one} was given without {other}: pass both or neither")
        self._options = options
        self._region = region
        self._service = service
        self._found: Any = None
        self._frozen: Any = None

    def load(self) -> None:
        if self._found is None:
            self._found = self._find()
        self._frozen = self._found.get_frozen_credentials()

    def forget(self) -> None:
        self._found = self._frozen = None

    def left(self) -> float:
        """One of 0.0, `LATE`, `EARLY` and inf: botocore only tells whether the credentials expire within a given time."""
        if self._frozen is None:
            return 0.0
        ends_within = getattr(self._found, "refresh_needed", None)
        if ends_within is None or not ends_within(EARLY):
            return float("inf")
        return 0.0 if ends_within(1) else LATE if ends_within(LATE) else EARLY

    def apply(self, request: HttpRequest) -> HttpRequest:
        storage = request.storage is not None
        signed = {name: value for name, value in request.headers if name in _SIGNED or (storage and name.startswith("x-amz-"))}
        asked = _library("botocore.awsrequest").AWSRequest(request.method, request.url, headers=signed, data=request.body)
        scheme = getattr(_library("botocore.auth"), "S3SigV4Auth" if storage else "SigV4Auth")
        auth = scheme(self._frozen, self._service, self._region)
        if storage:  # the request's body was hashed before and may be too large for memory
            auth.payload = lambda _: signed[CONTENT_HASH]
        auth.add_auth(asked)
        added = tuple((name.lower(), value) for name, value in asked.headers.items() if name.lower() not in _SIGNED)
        replaced = {name for name, _ in added}
        kept = tuple(pair for pair in request.headers if pair[0] not in replaced)
        return msgspec.structs.replace(request, headers=(*kept, *added))

    def _find(self) -> Any:
        options = self._options
        session = _library("botocore.session").Session(profile=options.get("aws_profile_name"))
        session.set_config_variable("region", self._region)
        if key := options.get("aws_access_key_id"):
            keys = _library("botocore.credentials").Credentials
            found: Any = keys(key, options["aws_secret_access_key"], options.get("aws_session_token"))
        elif "aws_web_identity_token" in options:
            found = None
        else:
            found = session.get_credentials()
        if "aws_role_name" in options:
            return self._assumed(session, found)
        if found is None:
            key, option = ("", "") if self._service == "s3" else ("AWS_BEARER_TOKEN_BEDROCK, or ", "api_key=, ")
            raise AuthenticationError(
                f"no AWS credentials were found: set {key}AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                f"or pass {option}aws_profile_name= or aws_role_name="
            )
        return found

    def _assumed(self, session: Any, found: Any) -> Any:
        """The role's credentials, which botocore renews before they expire."""
        own = _library("botocore.credentials")
        options = self._options
        extra = {"RoleSessionName": options.get("aws_session_name", "headrace")}
        if "aws_external_id" in options:
            extra["ExternalId"] = options["aws_external_id"]

        def client(service: str, **more: Any) -> Any:
            if endpoint := options.get("aws_sts_endpoint"):
                more["endpoint_url"] = endpoint
            return session.create_client(service, **more)

        role = options["aws_role_name"]
        if token := options.get("aws_web_identity_token"):
            fetcher = own.AssumeRoleWithWebIdentityCredentialFetcher(client, lambda: content_of(token), role, extra_args=extra)
        elif found is None:
            raise AuthenticationError(f"no AWS credentials were found to assume {role}: pass aws_access_key_id= or aws_profile_name=")
        else:
            fetcher = own.AssumeRoleCredentialFetcher(client, found, role, extra_args=extra)
        return own.DeferredRefreshableCredentials(method="assume-role", refresh_using=fetcher.fetch_credentials)


CONTENT_HASH: Final = "x-amz-content-sha256"

_SIGNED: Final = frozenset({"content-type"})
"""Headers of the request that the signature covers; others may be changed in transit."""


def content_of(given: str) -> str:
    """The value itself or, if it is a path, the file's content. Read each time, because the file may get a new token."""
    from pathlib import Path  # late: most credentials need no file

    path = Path(given)
    return path.read_text("utf-8").strip() if len(given) < 1024 and path.is_file() else given


# ---- tokens ------------------------------------------------------------------------------------------------------------------------


class Bearer:
    """A bearer token. fetch: returns the token and when it expires in epoch seconds, None for never."""

    def __init__(
        self,
        fetch: Callable[[], tuple[str, float | None]],
        *,
        forget: Callable[[], None] = lambda: None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._fetch = fetch
        self._forget = forget
        self._wall = wall
        self._header: tuple[str, str] | None = None
        self._end: float | None = None

    def load(self) -> None:
        token, self._end = self._fetch()
        self._header = ("authorization", f"Bearer {token}")

    def forget(self) -> None:
        self._header = None
        self._forget()

    def left(self) -> float:
        if self._header is None:
            return 0.0
        return float("inf") if self._end is None else max(0.0, self._end - self._wall())

    def apply(self, request: HttpRequest) -> HttpRequest:
        if self._header is None:
            raise AuthenticationError("no token has been loaded yet")
        return msgspec.structs.replace(request, headers=(*_without(request.headers, "authorization"), self._header))


def _without(headers: Iterable[tuple[str, str]], name: str) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in headers if pair[0] != name)


_GOOGLE_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"


def google(options: Mapping[str, Any], find: Callable[[str | None], Any] | None = None) -> Bearer:
    """Tokens from google-auth: for `vertex_credentials` (JSON, or a file's path), else from its own chain.

    find: returns credentials with `token`, `expiry` (naive, UTC) and `refresh(request)`; google-auth's by default.
    """
    kept: list[Any] = []
    given_here = options.get("vertex_credentials")

    def fetch() -> tuple[str, float | None]:
        if not kept:
            kept.append((find or _google_credentials)(given_here))
        credentials = kept[0]
        credentials.refresh(_google_request() if find is None else None)
        expiry = credentials.expiry
        return credentials.token, None if expiry is None else _epoch(expiry)

    return Bearer(fetch, forget=kept.clear)


def _epoch(moment: Any) -> float:
    from datetime import UTC  # late: only Google's times have no zone

    return float(moment.replace(tzinfo=UTC).timestamp())


def _google_request() -> Any:
    return _library("google.auth.transport.requests").Request()


_GOOGLE_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "service_account": ("google.oauth2.service_account", "from_service_account_info"),
    "authorized_user": ("google.oauth2.credentials", "from_authorized_user_info"),
    "external_account": ("google.auth.identity_pool", "from_info"),
}
"""Supported types of credentials, with the class that reads each. google-auth's reader for any type is deprecated (2.62)."""


def _google_credentials(given_here: str | None) -> Any:
    if given_here is None:
        return _library("google.auth").default(scopes=[_GOOGLE_SCOPE])[0]
    try:
        info = msgspec.json.decode(content_of(given_here))
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ConfigurationError("vertex_credentials must be a service account's JSON, or the path of a file with it") from None
    kind = info.get("type") if isinstance(info, dict) else None
    if not isinstance(kind, str) or kind not in _GOOGLE_KINDS:
        raise ConfigurationError(f"vertex_credentials must be of type {', '.join(_GOOGLE_KINDS)}; got {shape(kind)}")
    module, reader = _GOOGLE_KINDS[kind]
    return getattr(_library(module).Credentials, reader)(info, scopes=[_GOOGLE_SCOPE])


_ENTRA_SCOPE: Final = "https://cognitiveservices.azure.com/.default"


def entra(options: Mapping[str, Any], find: Callable[[Mapping[str, Any]], Any] | None = None) -> Bearer:
    """Tokens from Microsoft Entra.

    From `azure_ad_token`, `azure_ad_token_provider`, a client secret, or else azure-identity's own chain.

    find: returns a credential with `get_token(scope)`; azure-identity's by default.
    """
    scope = options.get("azure_scope", _ENTRA_SCOPE)
    if "azure_ad_token" in options:
        return Bearer(lambda: (options["azure_ad_token"], None))
    if "azure_ad_token_provider" in options:
        # The provider caches and renews its token itself; it is called once a minute, so that no call waits for it.
        return Bearer(lambda: (options["azure_ad_token_provider"](), time.time() + LATE + PAUSE))
    kept: list[Any] = []

    def fetch() -> tuple[str, float | None]:
        if not kept:
            kept.append((find or _entra_credential)(options))
        token = kept[0].get_token(scope)
        return token.token, float(token.expires_on)

    return Bearer(fetch, forget=kept.clear)


def _entra_credential(options: Mapping[str, Any]) -> Any:
    identity = _library("azure.identity")
    if "client_secret" in options:
        for name in ("tenant_id", "client_id"):
            if name not in options:
                raise ConfigurationError(f"client_secret was given without {name}: pass tenant_id, client_id and client_secret")
        return identity.ClientSecretCredential(options["tenant_id"], options["client_id"], options["client_secret"])
    return identity.DefaultAzureCredential()
