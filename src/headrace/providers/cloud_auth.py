"""Calls signed with cloud credentials: selects them from the caller's options and the environment.

They are looked up once for each set of options, and cached.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

import msgspec

from headrace.calls import shape
from headrace.errors import AuthenticationError, ConfigurationError
from headrace.fingerprint import fingerprint
from headrace.options import CloudOptions
from headrace.providers import exchange, oci, sap
from headrace.providers.catalog import missing_key
from headrace.providers.cloud_credentials import Aws, Bearer, content_of, entra, google
from headrace.providers.rows import Provider, split_url
from headrace.providers.signing import Credentials, Signer

Options = tuple[tuple[str, Any], ...]
"""The given `CloudOptions`, sorted; all values are hashable."""


class Given(NamedTuple):
    """A call's cloud options."""

    options: Options
    environment: Mapping[str, str]
    """The environment, overridden by options that correspond to variables used in URLs."""
    own: bool
    """Whether the options name credentials, so that a key in the environment must not be used."""
    place: str = ""
    """Replaces the model's name in the URL; "" for the name itself."""


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
"""Options that select a location rather than credentials."""

_VARIABLES: Final[Mapping[str, str]] = {
    "aws_region_name": "AWS_REGION_NAME",
    "aws_bedrock_runtime_endpoint": "AWS_BEDROCK_RUNTIME_ENDPOINT",
    "vertex_project": "VERTEXAI_PROJECT",
    "vertex_location": "VERTEXAI_LOCATION",
    "oci_region": "OCI_REGION",
}
"""Options that override an environment variable used in base URLs."""


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
"""LiteLLM's environment variables for options, for which the cloud's own library has none."""


def given(provider: Provider, model: str, control: Mapping[str, Any], environment: Mapping[str, str]) -> Given:
    """The cloud options in `control` for the provider's signing scheme. Raises ConfigurationError that names an invalid one."""
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
    """The region named in the first of `ids` that has one, unless an option sets it."""
    if scheme != "aws" or "aws_region_name" in named:
        return {}
    region = next(filter(None, map(region_of, ids)), "")
    return {"aws_region_name": region} if region else {}


PROJECT_VARIABLES: Final = ("VERTEXAI_PROJECT", "VERTEX_PROJECT", "GOOGLE_CLOUD_PROJECT")
_GOOGLE_FILE: Final = "GOOGLE_APPLICATION_CREDENTIALS"


@lru_cache(maxsize=64)
def _project(credentials: str | None) -> str:
    """The project in a service account's credentials; "" if they name none."""
    if not credentials:
        return ""
    try:
        info = msgspec.json.decode(content_of(credentials))
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
            raise ConfigurationError(f"{name} must be a signer from Oracle's library, got {shape(value)}")
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
    """The region in a model's name, such as LiteLLM's `us-west-2/…` or an ARN; "" if there is none."""
    found = _IN_MODEL.match(model)
    return "" if found is None else found[1] or found[2]


def signer_for(provider: Provider, base_url: str, options: Options, environment: Mapping[str, str]) -> Signer:
    """The signer for all calls with these options. Raises ConfigurationError that names the missing package or option."""
    scheme = provider.auth.sign
    _checked_library(provider, options)
    if scheme in _NEEDED and not any(set(names) <= dict(options).keys() for names in _NEEDED[scheme]):
        raise AuthenticationError(missing_key(provider), provider.name)
    place = _region(provider, base_url, options, environment) if scheme == "aws" else _host(base_url) if scheme == "databricks" else ""
    return _signer(provider.name, scheme, place, provider.auth.service or "bedrock", options)


def storage_options(options: Options, control: Mapping[str, Any]) -> Options:
    """The options for a cloud's storage: the call's own, with a separate key pair for S3 if given."""
    pair = {name: _checked(name, control[name]) for name in _OF_S3 if control.get(name) is not None}
    if not pair:
        return options
    if len(pair) < len(_OF_S3):
        [one], [other] = pair, _OF_S3.keys() - pair.keys()
        raise ConfigurationError(f"{one} was given without {other}: pass both or neither")
    where = {name: value for name, value in options if name in _PLACES}
    return tuple(sorted({**where, **{_OF_S3[name]: value for name, value in pair.items()}}.items()))


_OF_S3: Final = {"s3_access_key_id": "aws_access_key_id", "s3_secret_access_key": "aws_secret_access_key"}


def storage_signer(provider: Provider, region: str, options: Options) -> Signer:
    """The signer for requests to the storage of the provider's cloud. Raises ConfigurationError that names the missing package."""
    _checked_library(provider, options)
    service = "s3" if provider.auth.sign == "aws" else provider.auth.service or "bedrock"
    return _signer(provider.name, provider.auth.sign, region, service, options)


def exchanged(provider: Provider, options: Options, key: str | None) -> tuple[Options, str | None]:
    """Options and key. A key that is exchanged for tokens becomes an option."""
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
"""The library for each signing scheme, and the extra that installs it; the other schemes need none."""

_NEEDED: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "databricks": (("client_id", "client_secret"),),
    "ibm": (("api_key",), ("watsonx_token",)),
}
"""Required options, as alternative sets: nothing else is searched."""


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # its parent package is missing too
        return False


def _region(provider: Provider, base_url: str, options: Options, environment: Mapping[str, str]) -> str:
    """The region to sign for: from the URL, else the option, else the environment."""
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
    """The credentials' identity; None if a function of the caller's supplies them, because only it knows whose they are."""
    if not all(isinstance(value, str) for _, value in options):
        return None
    return fingerprint(provider, place, service, *[f"{name}={value}" for name, value in sorted(options)])
