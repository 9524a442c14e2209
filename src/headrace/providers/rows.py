"""A row of the catalogue, which describes one provider."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import SplitResult, urlsplit

import msgspec

from headrace.dialects import NAMES
from headrace.errors import BadRequestError
from headrace.providers.hybrids import PLAIN, Envelope, Version

PATHS: Final[Mapping[str, str]] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "moderations": "/moderations",
    "rerank": "/rerank",
    "ocr": "/ocr",
    "images": "/images/generations",
    "image_edits": "/images/edits",
    "image_variations": "/images/variations",
    "speech": "/audio/speech",
    "transcriptions": "/audio/transcriptions",
    "translations": "/audio/translations",
    "files": "/files",
    "file": "/files/{id}",
    "file_content": "/files/{id}/content",
    "batches": "/batches",
    "batch": "/batches/{id}",
    "batch_cancel": "/batches/{id}/cancel",
    "models": "/models",
    "responses": "/responses",
    "response": "/responses/{id}",
    "response_cancel": "/responses/{id}/cancel",
    "response_items": "/responses/{id}/input_items",
    "response_compact": "/responses/compact",
}
"""The path of each operation below a base URL, unless a row gives another."""


def split_url(url: str) -> SplitResult:
    """The parts of a URL, all empty if it is invalid."""
    try:
        return urlsplit(url)
    except (ValueError, TypeError, AttributeError):
        return urlsplit("")


class Auth(msgspec.Struct, frozen=True, eq=False, forbid_unknown_fields=True):
    """How a key is sent, and the environment variables that may hold it; the first one set is used."""

    env: tuple[str, ...] = ()
    header: str = ""
    """The header for the bare key; "" for `Authorization`."""
    scheme: str = "Bearer"
    """The scheme before the key in `Authorization`."""
    optional: bool = False
    """Whether calls are allowed without a key: mostly for local servers."""
    sign: Literal["", "aws", "google", "entra", "databricks", "ibm", "oci", "sap"] = ""
    """The cloud credentials that sign calls without a key (`providers.cloud_auth`); "" for none."""
    service: str = ""
    """The service's name in AWS's signature."""
    cut: str = ""
    """A prefix that users may write before a key and that is not sent."""

    @property
    def kind(self) -> Literal["bearer", "header", "none"]:
        if self.header:
            return "header"
        return "bearer" if self.env or self.optional else "none"


class Quirk(msgspec.Struct, frozen=True, eq=False, forbid_unknown_fields=True):
    """Parameters that a provider has under another name, or rejects."""

    source: str
    """The documentation, or the 400 response that showed it."""
    models: str = ""
    """A regular expression matched from the start of the model's name; "" for every model."""
    operation: str = ""
    """`chat`, `completions` or `embeddings`; "" for all of them."""
    rename: dict[str, str] = {}
    rename_texts: dict[str, str] = {}
    """Renamed if the value is a string; objects keep their name."""
    drop: tuple[str, ...] = ()
    """Dropped, because the provider does what they ask for anyway."""
    refuse: tuple[str, ...] = ()
    """Rejected by the provider: raises UnsupportedParamsError, or dropped with `drop_params`."""
    default: dict[str, Any] = {}
    """Sent unless the caller sets it."""
    messages: Literal["", "mistral"] = ""
    """The provider whose message format is used (`dialects.mistral`); "" for OpenAI's."""


class Evidence(msgspec.Struct, frozen=True, eq=False, forbid_unknown_fields=True):
    """The source of a row's facts."""

    source: str
    """A page, or a recorded exchange."""
    checked: str
    """The date, as 2026-11-23; "" for a row registered at run time."""
    confidence: Literal["recorded", "documented", "litellm", "models.dev", "unchecked"]
    """How the facts are known.

    Seen in recorded traffic · read in the provider's documentation · as LiteLLM 1.106.2 has it · as models.dev has it ·
    from memory or at second hand.
    """


class Provider(msgspec.Struct, frozen=True, eq=False, forbid_unknown_fields=True, kw_only=True):
    """One row: a provider's dialect, base URL, authentication and quirks. Holds no key."""

    name: str
    dialect: str = NAMES[0]
    embedder: str = ""
    """The dialect for embeddings, if it is another."""
    speaks: tuple[str, ...] = ()
    """Other dialects available at the same base URL: callers of these are not translated."""
    base_url: str = ""
    """"" if every customer has their own."""
    base_url_template: str = ""
    """A base URL with environment variables in braces: `{ONE,OTHER=default}` for the first that is set."""
    other_base_urls: tuple[str, ...] = ()
    """Further base URLs of the same service: other regions, older names."""
    base_url_envs: tuple[str, ...] = ()
    base_path: str = ""
    """Appended to a base URL that has no path."""
    auth: Auth = Auth()
    keyed_base_url: str = ""
    """The base URL for calls with a key, if signed calls use another."""
    replace_in_url: dict[str, str] = {}
    """Replacements in a filled template: for regions without a host of their own."""
    cut: str = ""
    """A regular expression for a suffix to remove from a base URL that was copied with the operation's path."""
    aliases: tuple[str, ...] = ()
    paths: dict[str, str] = {}
    """Paths of operations below the base URL that differ from the dialect's; `{model}` is the model's name.

    `chat_stream` and similar keys are for streams.
    """
    forms: dict[str, str] = {}
    """Operations in a format that is neither OpenAI's nor the dialect's (`dialects.forms`)."""
    offers: tuple[str, ...] = ("chat",)
    """Operations the provider is known to have, by their names in `PATHS`; it may have more."""
    unspoken: str = ""
    """Why headrace cannot call the provider, for names that are merely recognized."""
    version: Version = Version()
    envelope: Envelope = PLAIN
    framing: Literal["", "aws_chunks", "aws_parts"] = ""
    """How streams are packed, if not as the dialect's own (`dialects.packing`)."""
    headers: dict[str, str] = {}
    """Sent with every call."""
    fields: dict[str, str] = {}
    """Body fields filled from an environment variable, the first of `ONE,OTHER` that is set, unless the caller sets them."""
    variants: tuple[Variant, ...] = ()
    """Overrides for certain models, URLs or versions; the first match applies."""
    bare_model: str = ""
    """The full name for a model's name without a slash; `{model}` is replaced by it."""
    names: str = ""
    """A regular expression for model names that belong to this provider without a prefix."""
    quirks: tuple[Quirk, ...] = ()
    profile: str = ""
    """The accounting profile for rate limits, a name of `headrace.limits`; "" if unknown."""
    quota: str = ""
    """The family of its rate-limit headers; "" if it sends none."""
    max_inputs: int = 0
    """Maximum number of texts in one embedding request; 0 if unknown. Longer lists are split."""
    prefill: str = ""
    """The field that marks an assistant message as one to be continued, if required."""
    evidence: Evidence

    @property
    def key_envs(self) -> tuple[str, ...]:
        return self.auth.env

    @property
    def needs_key(self) -> bool:
        return self.auth.kind != "none" and not self.auth.optional

    @property
    def source(self) -> str:
        return self.evidence.source

    @property
    def checked(self) -> str:
        return self.evidence.checked

    @property
    def confidence(self) -> str:
        return self.evidence.confidence

    def dialect_of(self, operation: str) -> str:
        return self.embedder if operation == "embeddings" and self.embedder else self.dialect

    @property
    def offered(self) -> tuple[str, ...]:
        """Operations that can be called; none if the provider is `unspoken`."""
        return () if self.unspoken else self.offers

    def own_path(self, operation: str, *, stream: bool = False) -> str:
        """The row's path for an operation; "" if the dialect's own applies."""
        return (self.paths.get(f"{operation}_stream") if stream else None) or self.paths.get(operation, "")

    def path(self, operation: str, *, stream: bool = False) -> str:
        """The path of an operation below the base URL. Raises BadRequestError for an unknown operation."""
        path = self.own_path(operation, stream=stream) or PATHS.get(operation)
        if path is None:
            raise BadRequestError(f"{self.name} has no operation {operation!r}; known: {', '.join(PATHS)}")
        return path

    def address(self, base_url: str) -> str:
        """`base_url` without a trailing slash or the `cut` suffix, and with `base_path` if it names only a host."""
        base_url = base_url.rstrip("/")
        base_url = re.sub(f"(?:{self.cut})$", "", base_url) if self.cut else base_url
        return base_url + self.base_path if self.base_path and not split_url(base_url).path else base_url

    def variant(self, model: str, address: str, version: str) -> tuple[Provider, str]:
        """The row for a model, URL and API version, and the provider's own name for the model."""
        for variant in self.variants:
            if (name := variant.named(model, address, version)) is not None:
                return variant.row, name
        return self, model

    def __repr__(self) -> str:
        return f"<Provider {self.name} {self.dialect} {self.base_url or self.base_url_template or 'any address'}>"


class Variant(msgspec.Struct, frozen=True, eq=False):
    """Some of a provider's models, URLs or versions, and the row that applies to them."""

    row: Provider
    models: str = ""
    """A regular expression matched from the start of the model's name. If it has a group `model`, that is the name that is sent."""
    at: str = ""
    """A regular expression searched for in the URL."""
    versions: str = ""
    """A regular expression for the whole version."""

    def named(self, model: str, address: str, version: str) -> str | None:
        """The provider's own name for the model; None if the variant does not apply."""
        found = re.match(self.models, model)
        if found is None or not re.search(self.at, address) or (self.versions and not re.fullmatch(self.versions, version)):
            return None
        return found.groupdict().get("model") or model
