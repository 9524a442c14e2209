"""Calls signed with a cloud's own credentials: which those are, by what a caller gives and the environment says.

They are found once for each set of options, and kept.
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
"""`CloudOptions` that were given, sorted, all of them hashable."""


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


def storage_options(options: Options, control: Mapping[str, Any]) -> Options:
    """The options that open a cloud's storage: the call's own, or the pair of keys that it has for S3 alone."""
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
    """The signer of requests to the storage of `provider`'s cloud. Raises ConfigurationError naming the missing package."""
    _checked_library(provider, options)
    service = "s3" if provider.auth.sign == "aws" else provider.auth.service or "bedrock"
    return _signer(provider.name, provider.auth.sign, region, service, options)


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
