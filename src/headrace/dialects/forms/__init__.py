"""Operations in provider-specific formats ("forms"): reranking, images, speech, fill-in-the-middle, files, batches.

A form is simpler than a dialect: it only calls providers, and its callers always use OpenAI's format (Cohere's for
reranking). A provider's row names its form for each operation.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec
from msgspec import Struct

from headrace.dialects import load
from headrace.dialects.base import Dialect, Target
from headrace.dialects.failures import read_error_inside
from headrace.dialects.fields import sent
from headrace.errors import APIResponseValidationError, BadRequestError, ConfigurationError, Failure, HeadraceError, Kind, error_of
from headrace.slices import Steps
from headrace.types import Json
from headrace.wire import HttpRequest, HttpResponse

T = TypeVar("T")
Body = Mapping[str, Any]
"""The caller's parameters, including the model; files are `headrace.multipart.FormFile`."""


class Form(Protocol):
    """One operation in a provider's format.

    A form with options that are not parameters, such as the bucket for a batch's results, lists them in `takes`: each
    with the environment variables that may replace it, as `ONE,OTHER`, of which the first one set is used.
    """

    def write(self, body: Body, target: Target) -> HttpRequest:
        """The request. Raises BadRequestError for parameters it cannot express."""
        ...

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        """The response in OpenAI's format. Raises BadRequestError, KeyError or TypeError for an invalid one."""
        ...


class Next(Struct, frozen=True, eq=False):
    """The next request of a call that takes several.

    A form's `then(response, step, body, target)` returns it, or None for the final response.

    `then` may raise the error that a task ended in, and BadRequestError, KeyError or TypeError for an unreadable
    response.
    """

    step: str
    """The form's name for this step; the first request is ""."""
    request: HttpRequest
    after: float = 0.0
    """Seconds to wait before the request. Consecutive waits get longer."""
    undo: tuple[HttpRequest, ...] = ()
    """Requests that cancel the task if the caller stops waiting."""
    tidy: tuple[HttpRequest, ...] = ()
    """Requests to send at the end, whatever the outcome, to remove what was stored for this call."""
    again: HttpRequest | None = None
    """The request to send if this one fails, where that is safe. GET requests may be repeated anyway."""
    more: tuple[int, ...] = ()
    """Response statuses to accept besides successful ones."""
    keeps: bool = False
    """Whether the response is one part of several: the final response is then a JSON list of all parts."""


FORMS: Final[Mapping[str, Mapping[str, str]]] = {
    "rerank": {
        **dict.fromkeys(("cohere", "voyage", "fireworks", "tei", "nvidia", "deepinfra", "dashscope"), "rerank"),
        "bedrock": "bedrock_media",
    },
    "images": {
        **dict.fromkeys(("stability", "fal"), "images"),
        **dict.fromkeys(("black_forest_labs", "runway"), "tasks"),
        **dict.fromkeys(("gemini", "vertex"), "google_media"),
        "replicate": "replicate",
        "bedrock": "bedrock_media",
    },
    "image_edits": {"black_forest_labs": "tasks", "gemini": "google_media", "vertex": "google_media"},
    "image_variations": {"topaz": "images"},
    "transcriptions": {"deepgram": "audio", "elevenlabs": "audio", "soniox": "soniox", "assemblyai": "assemblyai"},
    "speech": {
        "elevenlabs": "audio",
        "polly": "voices",
        "azure_speech": "voices",
        "runway": "tasks",
        **dict.fromkeys(("gemini", "vertex"), "google_media"),
    },
    "chat": {"replicate": "replicate", "nlp_cloud": "texts", "petals": "texts", "triton": "texts", "sap": "sap"},
    "completions": {
        "mistral": "fim",
        "replicate": "replicate",
        "bedrock": "invoke",
        **dict.fromkeys(("nlp_cloud", "petals", "triton", "watsonx"), "texts"),
    },
    "embeddings": {"triton": "texts", "sap": "sap"},
    "models": dict.fromkeys(("anthropic", "gemini"), "models"),
    "files": {
        "anthropic": "kept_anthropic",
        "gemini": "kept_gemini",
        "xai": "kept_xai",
        "vertex": "kept_gcs",
        "bedrock": "kept_s3",
    },
    "batches": {
        "anthropic": "kept_anthropic",
        "gemini": "kept_gemini",
        "mistral": "kept_mistral",
        "xai": "kept_xai",
        "vertex": "kept_clouds",
        "bedrock": "kept_clouds",
    },
}
"""For each operation, the forms and the module each is in."""


BUCKETS: Final[Mapping[str, Mapping[str, str]]] = {
    "bedrock": {"s3_bucket_name": "AWS_S3_BUCKET_NAME"},
    "vertex": {"gcs_bucket_name": "GCS_BATCH_BUCKET_NAME,GCS_BUCKET_NAME", "bucket_name": ""},
}
"""Forms that keep files in a bucket: the options that name it, with the environment variables that may replace each."""

WITH_THE_ORDER: Final = ("anthropic",)
"""Batch forms whose calls are sent inside the batch request: these providers do not return uploaded files."""


def form_of(operation: str, name: str, part: str = "") -> Form:
    """The form for an operation, or for a part of one. Raises ConfigurationError for an unknown form."""
    module = FORMS.get(operation, {}).get(name)
    if module is None:
        known = ", ".join(FORMS.get(operation, {})) or "none"
        raise ConfigurationError(f"there is no form {name!r} of {operation}; known: {known}")
    forms: Mapping[tuple[str, str], Form] = importlib.import_module(f"headrace.dialects.forms.{module}").FORMS  # late: few are used
    return forms[part or operation, name]


_UNREADABLE: Final = (
    msgspec.DecodeError, RecursionError, BadRequestError, AttributeError, LookupError, TypeError, ValueError, OverflowError,
)  # fmt: skip
"""What readers raise for an invalid response."""


class Formed(Struct, frozen=True, eq=False):
    """One request in a provider's format, kept to read its response. Used like a Translation."""

    form: Form
    target: Target
    body: Body
    operation: str
    written: HttpRequest | None = None
    """The request, if it was already written step by step."""
    content_read: bytes | None = None
    """The response's bytes, if they were already read step by step."""

    @property
    def dialect(self) -> Dialect:
        """The dialect that reads errors, and the streams of forms that have any: both are in OpenAI's format."""
        return load("openai_chat")

    @property
    def packing(self) -> str:
        """The stream's packing (`dialects.packing`), if it differs from the provider's chats."""
        return getattr(self.form, "packing", "")

    def write(self) -> HttpRequest:
        return self.form.write(self.body, self.target) if self.written is None else self.written

    def writing(self) -> Steps[HttpRequest] | None:
        """`write` in steps, for forms with much to write, such as a file of calls; None for other forms."""
        writing: Callable[..., Steps[HttpRequest]] | None = getattr(self.form, "writing", None)
        return None if writing is None else writing(self.body, self.target)

    def read(self, response: HttpResponse) -> dict[str, Json]:
        """The response's body.

        Raises the provider's error if one came with status 200, and APIResponseValidationError for an invalid response.
        """
        body = self._read(response)
        return {**body, "created": self.target.moment} if body.get("created") == 0 else body

    def _read(self, response: HttpResponse) -> dict[str, Json]:
        if told := getattr(self.form, "told", None):  # the response is not JSON
            return self.sound(response, lambda: told(response, self.body))
        if stored := getattr(self.form, "stored", None):  # the response does not identify its object
            return self.sound(response, lambda: stored(response, self.write(), self.body))
        answer: Json = None
        try:
            answer = msgspec.json.decode(response.body)
            return self.form.read(answer, self.body)
        except _UNREADABLE as error:
            if isinstance(error, BadRequestError) and type(error) is not BadRequestError:
                raise  # an error that came with a success status
            if isinstance(answer, Mapping) and answer.get("error"):
                raise error_of(read_error_inside(answer, provider=self.target.provider, model=self.target.model)) from None
            raise self._unreadable(response, error) from None

    def content(self, response: HttpResponse) -> bytes:
        """The response's bytes, for operations that return bytes; converted if the form does so."""
        made = getattr(self.form, "content", None)
        if self.content_read is not None:
            return self.content_read
        return response.body if made is None else self.sound(response, lambda: made(response.body, self.body, self.target))

    def reading(self, response: HttpResponse) -> Steps[bytes] | None:
        """`content` in steps, for forms with much to read; None for other forms."""
        reading: Callable[..., Steps[bytes]] | None = getattr(self.form, "reading", None)
        return None if reading is None else self._soundly(response, reading(response.body, self.body, self.target))

    def _soundly(self, response: HttpResponse, steps: Steps[bytes]) -> Steps[bytes]:
        try:
            return (yield from steps)
        except _UNREADABLE as error:
            raise self._unsound(response, error) from None

    @property
    def follows(self) -> bool:
        """Whether further requests may be needed after the first response."""
        return self.begins or hasattr(self.form, "then")

    @property
    def begins(self) -> bool:
        """Whether the request begins a multi-step upload (`forms.uploads`), which is not limited in time."""
        return self.written is not None and hasattr(self.written.upload, "then")

    def then(self, response: HttpResponse, step: str) -> Next | None:
        """The request that follows the response to `step`; None if that is the final one. Raises HeadraceError."""
        if self.begins:
            begun: Callable[..., Next | None] = self.written.upload.then  # type: ignore[union-attr]
            return self.sound(response, lambda: begun(response, step))
        then: Callable[..., Next | None] = self.form.then  # type: ignore[attr-defined]
        return self.sound(response, lambda: then(response, step, self.body, self.target))

    @property
    def opens(self) -> bool:
        """Whether the stream comes from another URL than the call's."""
        return hasattr(self.form, "opening")

    def opening(self, response: HttpResponse) -> tuple[HttpRequest, tuple[HttpRequest, ...]]:
        """The request for the stream, and those that cancel the task. Raises HeadraceError."""
        opening: Callable[..., tuple[HttpRequest, tuple[HttpRequest, ...]]] = self.form.opening  # type: ignore[attr-defined]
        return self.sound(response, lambda: opening(response, self.body, self.target))

    def sound(self, response: HttpResponse, read: Callable[[], T]) -> T:
        """The result of `read`. Raises APIResponseValidationError for an invalid response."""
        try:
            return read()
        except _UNREADABLE as error:
            raise self._unsound(response, error) from None

    def _unsound(self, response: HttpResponse, error: Exception) -> HeadraceError:
        """The caller's exception for an error in a form. Other HeadraceErrors are unchanged."""
        if isinstance(error, HeadraceError) and type(error) is not BadRequestError:
            return error
        return self._unreadable(response, error)

    def used(self, body: Mapping[str, Json]) -> Any:
        """The response's usage, in OpenAI's format."""
        return body.get("usage")

    def check_stream(self) -> None:
        """Raises BadRequestError for a form without streaming."""
        if not hasattr(self.form, "read_stream"):
            raise BadRequestError(
                f"{self.operation} cannot be streamed with this provider: remove stream", self.target.model, self.target.provider
            )

    def check_pieces(self) -> None:
        """Raises BadRequestError for a form that can only convert whole files."""
        if not in_pieces(self.form):
            raise BadRequestError("this provider's files cannot be streamed: remove stream", self.target.model, self.target.provider)

    def read_stream(self) -> Any:
        return self.form.read_stream(self.body, self.target)  # type: ignore[attr-defined]

    def _unreadable(self, response: HttpResponse, error: Exception) -> APIResponseValidationError:
        size = len(response.body)
        message = (
            f"{self.target.provider}: the response (status {response.status}, {size} bytes) is not valid for {self.operation}: "
            f"{type(error).__name__} {error}"
        )
        return APIResponseValidationError.of(
            Failure(Kind.BAD_RESPONSE, message, provider=self.target.provider, model=self.target.model, headers=response.headers)
        )


def in_pieces(form: Form) -> bool:
    """Whether file contents can be streamed: unchanged, or converted on the way."""
    return hasattr(form, "making") or not (hasattr(form, "content") or hasattr(form, "then"))


def posted(target: Target, path: str, body: Json) -> HttpRequest:
    """A request with `body` as JSON to a path below the base URL."""
    return HttpRequest("POST", f"{target.base_url.rstrip('/')}{path}", target.headers, sent(body))


def given(body: Body, *names: str) -> dict[str, Json]:
    """The body without the named parameters and without None values."""
    return {name: value for name, value in body.items() if name not in names and value is not None}
