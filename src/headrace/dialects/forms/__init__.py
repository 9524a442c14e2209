"""Operations besides chat, in the forms that some providers have of their own: reranking, images, speech, fill-in-the-middle.

A form is simpler than a dialect: one request, one answer, and callers speak OpenAI's words (for reranking Cohere's) whatever comes.
A provider's row names its forms by operation.
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
"""A caller's parameters, the model among them; files are `headrace.multipart.FormFile`."""


class Form(Protocol):
    """A form that reads options that are no parameters, such as where a batch's answers go, has them in `takes`, each with the variables
    of the environment that stand for it, the first of `ONE,OTHER` that is set."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        """Raises BadRequestError for what cannot be said."""
        ...

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        """The answer in OpenAI's words. Raises BadRequestError, KeyError or TypeError for one that is none."""
        ...


class Next(Struct, frozen=True, eq=False):
    """What is asked next, where an answer is none yet: a form's `then(response, step, body, target)` says so, and None for an answer.

    It may raise what became of a task, and raises BadRequestError, KeyError or TypeError for what it cannot read.
    """

    step: str
    """What the form calls it; the call itself is ""."""
    request: HttpRequest
    after: float = 0.0
    """Seconds from now; the next pause after a pause is longer."""
    undo: tuple[HttpRequest, ...] = ()
    """What takes the task back, should nobody wait for it any more."""
    tidy: tuple[HttpRequest, ...] = ()
    """What is asked at the end, whatever that is: what was kept for this call is not needed any more."""
    again: HttpRequest | None = None
    """What is asked in its place once it went wrong, where that can do no harm. Whatever is only asked for may be asked for again."""
    more: tuple[int, ...] = ()
    """Statuses of answers besides the good ones."""
    keeps: bool = False
    """Whether the answer so far is a part of the whole: then all parts together, in a JSON list, are the last answer."""


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
"""By operation, the forms there are, and the module that has them."""


BUCKETS: Final[Mapping[str, Mapping[str, str]]] = {
    "bedrock": {"s3_bucket_name": "AWS_S3_BUCKET_NAME"},
    "vertex": {"gcs_bucket_name": "GCS_BATCH_BUCKET_NAME,GCS_BUCKET_NAME", "bucket_name": ""},
}
"""Forms that keep files in a bucket: the options that name it, each with the variables that stand for it."""

WITH_THE_ORDER: Final = ("anthropic",)
"""Forms of batches whose calls go with the order: files that were uploaded these providers give nobody back."""


def form_of(operation: str, name: str, part: str = "") -> Form:
    """The form of an operation, or of a part of it. Raises ConfigurationError for one that does not exist."""
    module = FORMS.get(operation, {}).get(name)
    if module is None:
        known = ", ".join(FORMS.get(operation, {})) or "none"
        raise ConfigurationError(f"there is no form {name!r} of {operation}; known: {known}")
    forms: Mapping[tuple[str, str], Form] = importlib.import_module(f"headrace.dialects.forms.{module}").FORMS  # late: few are called
    return forms[part or operation, name]


_UNREADABLE: Final = (
    msgspec.DecodeError, RecursionError, BadRequestError, AttributeError, LookupError, TypeError, ValueError, OverflowError,
)  # fmt: skip
"""What readers raise for an answer that is none."""


class Formed(Struct, frozen=True, eq=False):
    """One request in a provider's form, kept to read its answer by. It stands where a Translation does."""

    form: Form
    target: Target
    body: Body
    operation: str
    written: HttpRequest | None = None
    """The request, where it was written already, step by step."""
    content_read: bytes | None = None
    """The answer's bytes, likewise."""

    @property
    def dialect(self) -> Dialect:
        """Reads refusals, and the streams of forms that have them: they are OpenAI's."""
        return load("openai_chat")

    @property
    def packing(self) -> str:
        """How a stream is packed, where not as its provider's chats are (`dialects.packing`)."""
        return getattr(self.form, "packing", "")

    def write(self) -> HttpRequest:
        return self.form.write(self.body, self.target) if self.written is None else self.written

    def writing(self) -> Steps[HttpRequest] | None:
        """`write` in steps, of a form that may have much to write: a file of calls."""
        writing: Callable[..., Steps[HttpRequest]] | None = getattr(self.form, "writing", None)
        return None if writing is None else writing(self.body, self.target)

    def read(self, response: HttpResponse) -> dict[str, Json]:
        """The answer's body. Raises APIResponseValidationError for one that cannot be read, and what an error under status 200 says."""
        body = self._read(response)
        return {**body, "created": self.target.moment} if body.get("created") == 0 else body

    def _read(self, response: HttpResponse) -> dict[str, Json]:
        if told := getattr(self.form, "told", None):  # an answer that is no JSON
            return self.sound(response, lambda: told(response, self.body))
        if stored := getattr(self.form, "stored", None):  # an answer that does not say what it is about
            return self.sound(response, lambda: stored(response, self.write(), self.body))
        answer: Json = None
        try:
            answer = msgspec.json.decode(response.body)
            return self.form.read(answer, self.body)
        except _UNREADABLE as error:
            if isinstance(error, BadRequestError) and type(error) is not BadRequestError:
                raise  # what a good status hid
            if isinstance(answer, Mapping) and answer.get("error"):
                raise error_of(read_error_inside(answer, provider=self.target.provider, model=self.target.model)) from None
            raise self._unreadable(response, error) from None

    def content(self, response: HttpResponse) -> bytes:
        """The answer where that is bytes: as they came, unless the form makes others of them."""
        made = getattr(self.form, "content", None)
        if self.content_read is not None:
            return self.content_read
        return response.body if made is None else self.sound(response, lambda: made(response.body, self.body, self.target))

    def reading(self, response: HttpResponse) -> Steps[bytes] | None:
        """`content` in steps, of a form that may have much to read."""
        reading: Callable[..., Steps[bytes]] | None = getattr(self.form, "reading", None)
        return None if reading is None else self._soundly(response, reading(response.body, self.body, self.target))

    def _soundly(self, response: HttpResponse, steps: Steps[bytes]) -> Steps[bytes]:
        try:
            return (yield from steps)
        except _UNREADABLE as error:
            raise self._unsound(response, error) from None

    @property
    def follows(self) -> bool:
        """Whether the first answer may not be the last."""
        return self.begins or hasattr(self.form, "then")

    @property
    def begins(self) -> bool:
        """Whether the request only begins an upload (`forms.uploads`), which takes as long as it takes."""
        return self.written is not None and hasattr(self.written.upload, "then")

    def then(self, response: HttpResponse, step: str) -> Next | None:
        """What is asked after the answer to `step`; None when that is the answer. Raises HeadraceError."""
        if self.begins:
            begun: Callable[..., Next | None] = self.written.upload.then  # type: ignore[union-attr]
            return self.sound(response, lambda: begun(response, step))
        then: Callable[..., Next | None] = self.form.then  # type: ignore[attr-defined]
        return self.sound(response, lambda: then(response, step, self.body, self.target))

    @property
    def opens(self) -> bool:
        """Whether a stream is somewhere else than the answer to the call."""
        return hasattr(self.form, "opening")

    def opening(self, response: HttpResponse) -> tuple[HttpRequest, tuple[HttpRequest, ...]]:
        """Where the stream is, and what takes the task back. Raises HeadraceError."""
        opening: Callable[..., tuple[HttpRequest, tuple[HttpRequest, ...]]] = self.form.opening  # type: ignore[attr-defined]
        return self.sound(response, lambda: opening(response, self.body, self.target))

    def sound(self, response: HttpResponse, read: Callable[[], T]) -> T:
        """What `read` makes of an answer. Raises APIResponseValidationError where it is none."""
        try:
            return read()
        except _UNREADABLE as error:
            raise self._unsound(response, error) from None

    def _unsound(self, response: HttpResponse, error: Exception) -> HeadraceError:
        """What a form's own error means to its caller: headrace's other errors stay as they are."""
        if isinstance(error, HeadraceError) and type(error) is not BadRequestError:
            return error
        return self._unreadable(response, error)

    def used(self, body: Mapping[str, Json]) -> Any:
        """What the answer says it used, in OpenAI's form."""
        return body.get("usage")

    def check_stream(self) -> None:
        """Raises BadRequestError for a form that has no streams."""
        if not hasattr(self.form, "read_stream"):
            raise BadRequestError(f"{self.operation} cannot be streamed there: leave stream out", self.target.model, self.target.provider)

    def check_pieces(self) -> None:
        """Raises BadRequestError for a form that needs a file whole to make another of it."""
        if not in_pieces(self.form):
            raise BadRequestError("files cannot be read piece by piece there: leave stream out", self.target.model, self.target.provider)

    def read_stream(self) -> Any:
        return self.form.read_stream(self.body, self.target)  # type: ignore[attr-defined]

    def _unreadable(self, response: HttpResponse, error: Exception) -> APIResponseValidationError:
        size = len(response.body)
        message = (
            f"{self.target.provider}: the reply (status {response.status}, {size} bytes) is no answer for {self.operation}: "
            f"{type(error).__name__} {error}"
        )
        return APIResponseValidationError.of(
            Failure(Kind.BAD_RESPONSE, message, provider=self.target.provider, model=self.target.model, headers=response.headers)
        )


def in_pieces(form: Form) -> bool:
    """Whether files can be read piece by piece there: as they are, or in what the form makes of them on the way."""
    return hasattr(form, "making") or not (hasattr(form, "content") or hasattr(form, "then"))


def posted(target: Target, path: str, body: Json) -> HttpRequest:
    """`body` as JSON to a path below the address."""
    return HttpRequest("POST", f"{target.base_url.rstrip('/')}{path}", target.headers, sent(body))


def given(body: Body, *names: str) -> dict[str, Json]:
    """The body without what is named and without nothing."""
    return {name: value for name, value in body.items() if name not in names and value is not None}
