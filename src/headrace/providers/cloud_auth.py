"""Calls signed with a cloud's own credentials: AWS by SigV4, Google and Azure by tokens.

Credentials are found once for each set of options, kept, and renewed ahead of their end in a thread of their own: a call waits only
where there are none that hold. The clouds' libraries are imported with the first credentials, never before.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from headrace.calls import shape
from headrace.dialects.failures import mask
from headrace.errors import AuthenticationError, ConfigurationError, Failure, HeadraceError, Kind, error_of
from headrace.fingerprint import fingerprint
from headrace.options import CloudOptions
from headrace.ports import Clock, Waiter
from headrace.providers import exchange, oci, sap
from headrace.providers.catalog import missing_key
from headrace.providers.rows import Provider, split_url
from headrace.wire import HttpRequest

EARLY: Final = 900.0
"""Seconds before their end from which credentials are renewed beside the calls; botocore's own figure."""

LATE: Final = 60.0
"""Seconds before their end from which a call waits for new ones."""

PATIENCE: Final = 60.0
"""Seconds a call waits for credentials."""

PAUSE: Final = 30.0
"""Seconds between two renewals beside the calls: some sources hand the same token out again until shortly before its end."""

Options = tuple[tuple[str, Any], ...]
"""`CloudOptions` that were given, sorted, all of them hashable."""


class Credentials(Protocol):
    """One cloud's credentials, as its own library finds and renews them."""

    def load(self) -> None:
        """Find or renew them. Blocks, and raises whatever its library raises."""
        ...

    def left(self) -> float:
        """Seconds they still hold: 0.0 when there are none, inf when they do not end. Never blocks."""
        ...

    def apply(self, request: HttpRequest) -> HttpRequest:
        """The request with the headers that show them. Never blocks."""
        ...

    def forget(self) -> None:
        """Find them anew with the next `load`: they were refused."""
        ...


class Signer:
    """Shows credentials with every request and renews them in time, for all calls and threads at once."""

    def __init__(
        self, provider: str, credentials: Credentials, *, identity: str | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        """identity: whose credentials they are, the same in every process that has them; without one nobody else has them."""
        self.identity = str(id(self)) if identity is None else identity
        self._provider = provider
        self._credentials = credentials
        self._now = now
        self._lock = threading.Lock()
        self._waiting: list[Waiter] = []
        self._busy = False
        self._failure: Failure | None = None
        self._renewed_at = -PAUSE

    def __repr__(self) -> str:
        return f"<Signer {self._provider}>"

    async def sign(self, request: HttpRequest, clock: Clock) -> HttpRequest:
        """Raises AuthenticationError when there are no credentials, Timeout when they do not come."""
        left = self._credentials.left()
        if left <= LATE:
            await self._wait(clock)
        elif left <= EARLY and self._now() - self._renewed_at >= PAUSE:
            self._renew()
        return self._credentials.apply(request)

    def refused(self) -> None:
        """The other side takes the credentials for no good. Files and environments change, so the next call looks again, at most every
        `PAUSE` seconds."""
        if self._now() - self._renewed_at >= PAUSE:
            self._credentials.forget()

    async def _wait(self, clock: Clock) -> None:
        waiter = clock.waiter()
        self._renew(waiter)
        came = await waiter.wait(PATIENCE)
        if self._credentials.left() > 0:
            return
        if not came:
            raise error_of(Failure(Kind.TIMEOUT, f"{self._provider}: no credentials came within {PATIENCE:.0f} s", sent=False))
        raise error_of(self._failure or Failure(Kind.AUTHENTICATION, f"{self._provider}: the credentials have expired", sent=False))

    def _renew(self, waiter: Waiter | None = None) -> None:
        with self._lock:
            if waiter is not None:
                self._waiting.append(waiter)
            if self._busy:
                return
            self._busy = True
        threading.Thread(target=self._load, name="headrace-credentials", daemon=True).start()

    def _load(self) -> None:
        failure = None
        try:
            self._credentials.load()
        except HeadraceError as error:
            failure = error.failure
        except Exception as error:  # whatever a cloud's library raises, a call must hear of it
            text = f"{self._provider}: no credentials: {type(error).__name__}: {mask(str(error))[:500]}"
            failure = Failure(Kind.AUTHENTICATION, text, provider=self._provider, sent=False)
        with self._lock:
            self._failure = failure
            self._busy = False
            self._renewed_at = self._now()
            waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            with suppress(RuntimeError):  # its event loop was closed while it waited
                waiter.wake()


# ---- which credentials -------------------------------------------------------------------------------------------------------------


class Given(NamedTuple):
    """What a call says about credentials and place."""

    options: Options
    environment: Mapping[str, str]
    """The environment as the options change it: what names an address."""
    own: bool
    """Whether the options name credentials, so that a key in the environment is not meant."""
    place: str = ""
    """What stands in the address instead of the model's name; empty for the name itself."""


_NAMES: Final = frozenset(CloudOptions.__annotations__)

_PREFIXES: Final[Mapping[str, tuple[str, ...]]] = {
    "aws": ("aws_",),
    "google": ("vertex_",),
    "entra": ("azure_", "tenant_id", "client_id", "client_secret"),
    "databricks": ("client_id", "client_secret"),
    "ibm": ("watsonx_",),
    "oci": ("oci_",),
    "sap": ("sap_",),
}

_PLACES: Final = frozenset({
    "aws_region_name", "aws_bedrock_runtime_endpoint", "aws_sts_endpoint", "azure_scope",
    "vertex_project", "vertex_location", "oci_region", "oci_compartment_id",
})  # fmt: skip
"""Options that say where, not who."""

_VARIABLES: Final[Mapping[str, str]] = {
    "aws_region_name": "AWS_REGION_NAME",
    "aws_bedrock_runtime_endpoint": "AWS_BEDROCK_RUNTIME_ENDPOINT",
    "vertex_project": "VERTEXAI_PROJECT",
    "vertex_location": "VERTEXAI_LOCATION",
    "oci_region": "OCI_REGION",
}
"""Options that stand for an environment variable an address is made of."""


_FOUND: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "entra": (("azure_ad_token", "AZURE_AD_TOKEN"),),
    "databricks": (("client_id", "DATABRICKS_CLIENT_ID"), ("client_secret", "DATABRICKS_CLIENT_SECRET")),
    "ibm": (("watsonx_token", "WATSONX_TOKEN"), ("watsonx_iam_url", "WATSONX_IAM_URL")),
    "google": (("vertex_credentials", "VERTEXAI_CREDENTIALS"), ("vertex_credentials", "VERTEX_CREDENTIALS")),
    "oci": (
        ("oci_user", "OCI_USER"),
        ("oci_tenancy", "OCI_TENANCY"),
        ("oci_fingerprint", "OCI_FINGERPRINT"),
        ("oci_key", "OCI_KEY"),
        ("oci_key_file", "OCI_KEY_FILE"),
        ("oci_compartment_id", "OCI_COMPARTMENT_ID"),
        ("oci_region", "OCI_REGION"),
    ),
}
"""Variables that stand for an option and are none of the cloud's own library's, in litellm's words."""


def given(provider: Provider, model: str, control: Mapping[str, Any], environment: Mapping[str, str]) -> Given:
    """The options among `control` for the cloud that `provider` signs for. Raises ConfigurationError naming a bad one."""
    scheme = provider.auth.sign
    named = {name: control[name] for name in _NAMES & control.keys() if name.startswith(_PREFIXES[scheme])}
    named = {name: _checked(name, value) for name, value in named.items() if value is not None}
    found = {name: environment[variable] for name, variable in _FOUND.get(scheme, ()) if environment.get(variable)}
    if scheme == "sap":
        found = sap.found(control.get("api_key"), environment)
        environment = {**environment, "AICORE_BASE_URL": found.get("base_url", "")}
    if scheme == "oci":
        found = {**oci.found({**found, **named}, environment), **found}
    place = "" if control.get("model_id") is None else _checked("model_id", control["model_id"])
    options = {**found, **named, **_region_named(scheme, (place, model), named)}
    said = {_VARIABLES[name]: value for name, value in options.items() if name in _VARIABLES}
    if scheme == "google" and not any(environment.get(name) for name in PROJECT_VARIABLES):
        said = {PROJECT_VARIABLES[0]: _project(options.get("vertex_credentials") or environment.get(_GOOGLE_FILE)), **said}
    environment = {**environment, **said} if said else environment
    return Given(tuple(sorted(options.items())), environment, bool(named.keys() - _PLACES), place)


def _region_named(scheme: str, ids: Sequence[str], named: Mapping[str, Any]) -> dict[str, str]:
    """The region that the first of `ids` says, where no option does."""
    if scheme != "aws" or "aws_region_name" in named:
        return {}
    region = next(filter(None, map(region_of, ids)), "")
    return {"aws_region_name": region} if region else {}


PROJECT_VARIABLES: Final = ("VERTEXAI_PROJECT", "VERTEX_PROJECT", "GOOGLE_CLOUD_PROJECT")
_GOOGLE_FILE: Final = "GOOGLE_APPLICATION_CREDENTIALS"


@lru_cache(maxsize=64)
def _project(credentials: str | None) -> str:
    """The project that a service account's credentials belong to; empty where they do not say."""
    if not credentials:
        return ""
    try:
        info = msgspec.json.decode(_content(credentials))
    except (msgspec.DecodeError, OSError, UnicodeDecodeError):
        return ""
    named = info.get("project_id") or info.get("quota_project_id") if isinstance(info, dict) else None
    return named if isinstance(named, str) else ""


def _checked(name: str, value: Any) -> Any:
    if name == "azure_ad_token_provider":
        if not callable(value):
            raise ConfigurationError(f"{name} must be a function that returns a token, got {shape(value)}")
        return value
    if name == "oci_signer":
        if not hasattr(value, "do_request_sign"):
            raise ConfigurationError(f"{name} must be a signer of Oracle's library, got {shape(value)}")
        return value
    if name == "vertex_credentials" and isinstance(value, Mapping):
        return msgspec.json.encode(value).decode()
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{name} must be a non-empty string, got {shape(value)}")
    return value


_REGION: Final = r"[a-z]{2,4}(?:-[a-z]+)+-\d+"
_IN_MODEL: Final = re.compile(rf"(?:converse/|invoke/)?(?:({_REGION})/|arn:aws[\w-]*:bedrock:({_REGION}):)")
_IN_HOST: Final = re.compile(rf"(?:^|\.)({_REGION})(?:\.|$)")


def region_of(model: str) -> str:
    """The region a model's name says, LiteLLM's `us-west-2/…` or an ARN; empty for none."""
    found = _IN_MODEL.match(model)
    return "" if found is None else found[1] or found[2]


def signer_for(provider: Provider, base_url: str, options: Options, environment: Mapping[str, str]) -> Signer:
    """The signer of all calls with these options. Raises ConfigurationError naming the missing package or option."""
    scheme = provider.auth.sign
    _checked_library(provider, options)
    if scheme in _NEEDED and not any(set(names) <= dict(options).keys() for names in _NEEDED[scheme]):
        raise AuthenticationError(missing_key(provider), provider.name)
    place = _region(provider, base_url, options, environment) if scheme == "aws" else _host(base_url) if scheme == "databricks" else ""
    return _signer(provider.name, scheme, place, provider.auth.service or "bedrock", options)


def exchanged(provider: Provider, options: Options, key: str | None) -> tuple[Options, str | None]:
    """Options and key; where a key is not shown but exchanged for tokens, it is an option, or several."""
    if provider.auth.sign == "sap":
        return options, None
    if not key or provider.auth.sign != "ibm":
        return options, key
    return tuple(pair for pair in (*options, ("api_key", key)) if pair[0] != "watsonx_token"), None


def _host(address: str) -> str:
    parts = split_url(address)
    return f"{parts.scheme}://{parts.netloc}"


def _checked_library(provider: Provider, options: Options) -> None:
    package, extra = _PACKAGES.get(provider.auth.sign, ("", ""))
    own_token = any(name in ("azure_ad_token", "azure_ad_token_provider", "oci_signer") for name, _ in options)
    if package and not own_token and not _installed(package):
        raise ConfigurationError(f"{provider.name} needs {package} to sign its calls: pip install headrace[{extra}], or pass api_key=")


_PACKAGES: Final[Mapping[str, tuple[str, str]]] = {
    "aws": ("botocore", "bedrock"),
    "google": ("google.auth", "vertex"),
    "entra": ("azure.identity", "azure"),
    "oci": ("cryptography", "oci"),
}
"""The library each scheme is done with, and the extra that brings it; the others need none."""

_NEEDED: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "databricks": (("client_id", "client_secret"),),
    "ibm": (("api_key",), ("watsonx_token",)),
}
"""Options of which one set has to be there: nothing else is looked for."""


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the package around it is missing too
        return False


def _library(name: str) -> Any:
    """A module of a cloud's library, which is an extra and need not be there."""
    return import_module(name)


def _region(provider: Provider, base_url: str, options: Options, environment: Mapping[str, str]) -> str:
    """The region a signature is made for: the address's, else the option's, else the environment's."""
    found = _IN_HOST.search(split_url(base_url).hostname or "")
    named = (environment.get(name, "").strip() for name in REGION_VARIABLES)
    region = (found and found[1]) or dict(options).get("aws_region_name") or next(filter(None, named), "")
    if not region:
        raise ConfigurationError(f"{provider.name} needs a region: pass aws_region_name=, or set AWS_REGION_NAME or AWS_REGION")
    return region


REGION_VARIABLES: Final = ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION")


@lru_cache(maxsize=256)
def _signer(provider: str, scheme: str, place: str, service: str, options: Options) -> Signer:
    said = dict(options)
    makers: Mapping[str, Callable[[], Credentials]] = {
        "aws": lambda: Aws(said, place, service),
        "google": lambda: google(said),
        "entra": lambda: entra(said),
        "databricks": lambda: Bearer(lambda: exchange.databricks(said, place)),
        "ibm": lambda: Bearer(lambda: exchange.ibm(said)),
        "sap": lambda: sap.Sap(said, time.time),
        "oci": lambda: oci.OciLibrary(said) if "oci_signer" in said else oci.Oci(said, time.time),
    }
    return Signer(provider, makers[scheme](), identity=_identity(provider, place, service, options))


def _identity(provider: str, place: str, service: str, options: Options) -> str | None:
    """None where a function of the caller's own brings the credentials: whose they are only it knows."""
    if not all(isinstance(value, str) for _, value in options):
        return None
    return fingerprint(provider, place, service, *[f"{name}={value}" for name, value in sorted(options)])


# ---- AWS ---------------------------------------------------------------------------------------------------------------------------


class Aws:
    """Credentials as botocore finds and renews them; requests signed by SigV4.

    options: `aws_*` as LiteLLM spells them. Without any: botocore's own chain of environment, files, SSO, container and instance.
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
        """In steps: botocore tells only whether they end within a span."""
        if self._frozen is None:
            return 0.0
        ends_within = getattr(self._found, "refresh_needed", None)
        if ends_within is None or not ends_within(EARLY):
            return float("inf")
        return 0.0 if ends_within(1) else LATE if ends_within(LATE) else EARLY

    def apply(self, request: HttpRequest) -> HttpRequest:
        signed = {name: value for name, value in request.headers if name in _SIGNED}
        asked = _library("botocore.awsrequest").AWSRequest(request.method, request.url, headers=signed, data=request.body)
        _library("botocore.auth").SigV4Auth(self._frozen, self._service, self._region).add_auth(asked)
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
            raise AuthenticationError(
                "no AWS credentials were found: set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "or pass api_key=, aws_profile_name= or aws_role_name="
            )
        return found

    def _assumed(self, session: Any, found: Any) -> Any:
        """The role's credentials, which botocore takes anew before they end."""
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
            fetcher = own.AssumeRoleWithWebIdentityCredentialFetcher(client, lambda: _content(token), role, extra_args=extra)
        elif found is None:
            raise AuthenticationError(f"no AWS credentials were found to take on {role} with: pass aws_access_key_id= or aws_profile_name=")
        else:
            fetcher = own.AssumeRoleCredentialFetcher(client, found, role, extra_args=extra)
        return own.DeferredRefreshableCredentials(method="assume-role", refresh_using=fetcher.fetch_credentials)


_SIGNED: Final = frozenset({"content-type"})
"""Headers of ours that the signature covers; whatever else a caller adds may be changed on the way."""


def _content(given: str) -> str:
    """What was given, or the file's content that it is the path of: a file may hold a new token tomorrow."""
    from pathlib import Path  # late: most credentials need no file of ours

    path = Path(given)
    return path.read_text("utf-8").strip() if len(given) < 1024 and path.is_file() else given


# ---- tokens ------------------------------------------------------------------------------------------------------------------------


class Bearer:
    """A token that ends: `fetch` gives it with the epoch second of its end, None for one that does not."""

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
            raise AuthenticationError("there is no token to show yet")
        return msgspec.structs.replace(request, headers=(*_without(request.headers, "authorization"), self._header))


def _without(headers: Iterable[tuple[str, str]], name: str) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in headers if pair[0] != name)


_GOOGLE_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"


def google(options: Mapping[str, Any], find: Callable[[str | None], Any] | None = None) -> Bearer:
    """Tokens of google-auth: `vertex_credentials` (JSON, or a file's path), else its own chain.

    find: gives credentials with `token`, `expiry` (naive, UTC) and `refresh(request)`; google-auth's own unless given.
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
    from datetime import UTC  # late: only Google says moments without their zone

    return float(moment.replace(tzinfo=UTC).timestamp())


def _google_request() -> Any:
    return _library("google.auth.transport.requests").Request()


_GOOGLE_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "service_account": ("google.oauth2.service_account", "from_service_account_info"),
    "authorized_user": ("google.oauth2.credentials", "from_authorized_user_info"),
    "external_account": ("google.auth.identity_pool", "from_info"),
}
"""What the JSON of credentials may be: its type, and who reads it. google-auth's own reader of any of them is deprecated (2.62)."""


def _google_credentials(given_here: str | None) -> Any:
    if given_here is None:
        return _library("google.auth").default(scopes=[_GOOGLE_SCOPE])[0]
    try:
        info = msgspec.json.decode(_content(given_here))
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ConfigurationError("vertex_credentials must be a service account's JSON or the path of a file that holds it") from None
    kind = info.get("type") if isinstance(info, dict) else None
    if not isinstance(kind, str) or kind not in _GOOGLE_KINDS:
        raise ConfigurationError(f"vertex_credentials must be of type {', '.join(_GOOGLE_KINDS)}; got {shape(kind)}")
    module, reader = _GOOGLE_KINDS[kind]
    return getattr(_library(module).Credentials, reader)(info, scopes=[_GOOGLE_SCOPE])


_ENTRA_SCOPE: Final = "https://cognitiveservices.azure.com/.default"


def entra(options: Mapping[str, Any], find: Callable[[Mapping[str, Any]], Any] | None = None) -> Bearer:
    """Tokens of Microsoft Entra: `azure_ad_token`, `azure_ad_token_provider`, a client's secret, else azure-identity's own chain.

    find: gives a credential with `get_token(scope)`; azure-identity's own unless given.
    """
    scope = options.get("azure_scope", _ENTRA_SCOPE)
    if "azure_ad_token" in options:
        return Bearer(lambda: (options["azure_ad_token"], None))
    if "azure_ad_token_provider" in options:
        # The provider keeps and renews its token itself; it is asked once a minute so that no call waits for it.
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
