"""A row of the catalogue: what is known of one provider."""

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
"""Where each operation lives below a base URL, unless a row says otherwise."""


def split_url(url: str) -> SplitResult:
    """The parts of an address, all of them empty for what is none."""
    try:
        return urlsplit(url)
    except (ValueError, TypeError, AttributeError):
        return urlsplit("")


class Auth(msgspec.Struct, frozen=True, eq=False, forbid_unknown_fields=True):
    """How a key is shown, and the environment variables that may hold it, the first that is set winning."""

    env: tuple[str, ...] = ()
    header: str = ""
    """The header that takes the bare key; empty for `Authorization`."""
    scheme: str = "Bearer"
    """What stands before the key in `Authorization`."""
    optional: bool = False
    """Calls go out without a key as well: local servers, mostly."""
    sign: Literal["", "aws", "google", "entra", "databricks", "ibm", "oci", "sap"] = ""
    """Whose credentials sign a call that has no key (`providers.cloud_auth`); empty for nobody's."""
    service: str = ""
    """The service's name in AWS's signature."""
    cut: str = ""
    """What people write before a key to tell its kind, and no header says."""

    @property
    def kind(self) -> Literal["bearer", "header", "none"]:
        if self.header:
            return "header"
        return "bearer" if self.env or self.optional else "none"


class Quirk(msgspec.Struct, frozen=True, eq=False, forbid_unknown_fields=True):
    """What a provider takes under another name, or not at all."""

    source: str
    """Where that is documented, or the 400 that showed it."""
    models: str = ""
    """A regular expression matched from the start of the model's name; empty for every model."""
    operation: str = ""
    """`chat`, `completions` or `embeddings`; empty for all of them."""
    rename: dict[str, str] = {}
    rename_texts: dict[str, str] = {}
    """Renamed where the value is a text; objects keep their name."""
    drop: tuple[str, ...] = ()
    """Left out: the provider does by itself what they ask for."""
    refuse: tuple[str, ...] = ()
    """Refused by the provider: an UnsupportedParamsError here, or left out with `drop_params`."""
    default: dict[str, Any] = {}
    """Sent unless the caller gives his own."""
    messages: Literal["", "mistral"] = ""
    """Whose form the messages have (`dialects.mistral`); empty for OpenAI's."""


class Evidence(msgspec.Struct, frozen=True, eq=False, forbid_unknown_fields=True):
    """How a row is known."""

    source: str
    """A page, or an exchange of recorded traffic."""
    checked: str
    """The day, as 2026-11-23; empty for a row registered at run time."""
    confidence: Literal["recorded", "documented", "litellm", "models.dev", "unchecked"]
    """Seen in recorded traffic · read in the provider's documentation · as litellm 1.106.2 has it · as models.dev has it · from memory
    or at second hand."""


class Provider(msgspec.Struct, frozen=True, eq=False, forbid_unknown_fields=True, kw_only=True):
    """One row: whom to call, in which dialect, where, with which key and with which quirks. Holds no key."""

    name: str
    dialect: str = NAMES[0]
    embedder: str = ""
    """The dialect of embeddings, where it is another."""
    speaks: tuple[str, ...] = ()
    """Other dialects that it speaks at the same address: whoever calls in one of them is not translated."""
    base_url: str = ""
    """Empty where every customer has an address of his own."""
    base_url_template: str = ""
    """The same with environment variables in braces, `{ONE,OTHER=default}` for the first that is set."""
    other_base_urls: tuple[str, ...] = ()
    """Further addresses of the same service: other regions, older names."""
    base_url_envs: tuple[str, ...] = ()
    base_path: str = ""
    """Added to an address that has no path of its own."""
    auth: Auth = Auth()
    keyed_base_url: str = ""
    """The address of calls that show a key, where those that are signed have another."""
    replace_in_url: dict[str, str] = {}
    """What a filled template says and what it means: regions without a host of their own."""
    cut: str = ""
    """A regular expression for the end of an address that people copy whole, the operation's path included."""
    aliases: tuple[str, ...] = ()
    paths: dict[str, str] = {}
    """Where operations are, below the base URL, where that is not the dialect's own place; `{model}` stands for the model.
    `chat_stream` and its like are those of streams."""
    forms: dict[str, str] = {}
    """Operations in a form that is neither OpenAI's nor the dialect's (`dialects.forms`)."""
    offers: tuple[str, ...] = ("chat",)
    """Operations the provider is known to have, by their names in `PATHS`; it may have more."""
    unspoken: str = ""
    """Why headrace cannot call it, for names that are known and no more."""
    version: Version = Version()
    envelope: Envelope = PLAIN
    framing: Literal["", "aws_chunks", "aws_parts"] = ""
    """How streams are packed, where not as the dialect's own (`dialects.packing`)."""
    headers: dict[str, str] = {}
    """Sent with every call."""
    fields: dict[str, str] = {}
    """Fields of the body that an environment variable holds, the first of `ONE,OTHER` that is set, unless the caller gives his own."""
    variants: tuple[Variant, ...] = ()
    """Models and addresses that the row does not hold for, the first that matches."""
    bare_model: str = ""
    """What a model's name without a slash stands for, `{model}` being the name."""
    names: str = ""
    """A regular expression for models that belong to this provider without a prefix."""
    quirks: tuple[Quirk, ...] = ()
    profile: str = ""
    """How its limits are accounted, a name of `headrace.limits`; empty where nobody knows."""
    quota: str = ""
    """The family of its rate-limit headers; empty where it sends none."""
    max_inputs: int = 0
    """Texts that one embedding request may hold; 0 where nobody knows. A longer list is sent in several."""
    prefill: str = ""
    """The field that marks an assistant's message as one to be continued, where one has to."""
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
        """What can be called: nothing of a provider that is not spoken."""
        return () if self.unspoken else self.offers

    def own_path(self, operation: str, *, stream: bool = False) -> str:
        """The path of an operation as the row says it; empty where it is the dialect's own."""
        return (self.paths.get(f"{operation}_stream") if stream else None) or self.paths.get(operation, "")

    def path(self, operation: str, *, stream: bool = False) -> str:
        """The path of an operation below the base URL. Raises BadRequestError for an operation nobody knows."""
        path = self.own_path(operation, stream=stream) or PATHS.get(operation)
        if path is None:
            raise BadRequestError(f"{self.name} has no operation {operation!r}; known are {', '.join(PATHS)}")
        return path

    def address(self, base_url: str) -> str:
        """`base_url` without a trailing slash, completed where it names nothing but a host."""
        base_url = base_url.rstrip("/")
        base_url = re.sub(f"(?:{self.cut})$", "", base_url) if self.cut else base_url
        return base_url + self.base_path if self.base_path and not split_url(base_url).path else base_url

    def variant(self, model: str, address: str, version: str) -> tuple[Provider, str]:
        """The row that holds for a model at an address in a version of the API, and its own name for the model."""
        for variant in self.variants:
            if (name := variant.named(model, address, version)) is not None:
                return variant.row, name
        return self, model

    def __repr__(self) -> str:
        return f"<Provider {self.name} {self.dialect} {self.base_url or self.base_url_template or 'any address'}>"


class Variant(msgspec.Struct, frozen=True, eq=False):
    """Some models of a provider, some of its addresses or some versions, and the row that holds for them."""

    row: Provider
    models: str = ""
    """A regular expression matched from the start of the model's name; its group `model`, where it has one, is the name that goes out."""
    at: str = ""
    """A regular expression searched for in the address."""
    versions: str = ""
    """A regular expression for the whole version."""

    def named(self, model: str, address: str, version: str) -> str | None:
        """The provider's own name for the model; None where the variant does not hold."""
        found = re.match(self.models, model)
        if found is None or not re.search(self.at, address) or (self.versions and not re.fullmatch(self.versions, version)):
            return None
        return found.groupdict().get("model") or model
