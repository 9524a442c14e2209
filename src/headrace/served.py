"""Response objects and operations of the dialects other than Chat Completions."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.calls import Call, Operation, response_format
from headrace.errors import NotFoundError
from headrace.objects import JsonObject
from headrace.seals import opens, seal_of


class ResponseUsage(JsonObject):
    """Token counts as in OpenAI's Responses: `input_tokens` includes cached and `output_tokens` reasoning tokens."""

    _parts = (
        ("input_tokens_details", JsonObject.wrap, False),
        ("output_tokens_details", JsonObject.wrap, False),
    )

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: Any = None
    output_tokens_details: Any = None


class ResponseItem(JsonObject):
    """One output item: a message with its `content`, reasoning with its `summary`, a tool call, or the result of a built-in tool."""

    _parts = (
        ("content", JsonObject.wrap, True),
        ("summary", JsonObject.wrap, True),
        ("action", JsonObject.wrap, False),
    )

    type: str = ""
    id: str | None = None
    status: str | None = None


class ResponsesAPIResponse(JsonObject):
    """A response of OpenAI's Responses API."""

    _parts = (
        ("output", ResponseItem.wrap, True),
        ("usage", ResponseUsage.wrap, False),
        ("error", JsonObject.wrap, False),
        ("incomplete_details", JsonObject.wrap, False),
    )

    id: str = ""
    object: str = "response"
    created_at: float = 0
    model: str | None = None
    status: str | None = None
    output: list[ResponseItem]
    usage: ResponseUsage | None = None
    error: Any = None
    incomplete_details: Any = None
    instructions: Any = None
    metadata: Any = None
    previous_response_id: str | None = None

    @property
    def output_text(self) -> str:
        """The text of all its messages."""
        messages = [item for item in self.output if item.type == "message"]
        return "".join(part.text for item in messages for part in item.get("content") or () if part.get("type") == "output_text")


class ResponsesAPIStreamingResponse(JsonObject):
    """One event of a streamed response of OpenAI's Responses API. `type` tells which; some events have `response` or `item`."""

    _parts = (
        ("response", ResponsesAPIResponse.wrap, False),
        ("item", ResponseItem.wrap, False),
        ("part", JsonObject.wrap, False),
        ("annotation", JsonObject.wrap, False),
    )

    type: str = ""
    sequence_number: int | None = None


class DeleteResponseResult(JsonObject):
    id: str = ""
    object: str = "response"
    deleted: bool = False


class ResponseItemList(JsonObject):
    """The input items of a response, or the first page of them: `has_more` tells whether others follow."""

    _parts = (("data", ResponseItem.wrap, True),)

    data: list[ResponseItem]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


class AnthropicMessage(JsonObject):
    """A response of Anthropic's Messages API, or one event of its stream."""

    _parts = (
        ("content", JsonObject.wrap, True),
        ("usage", JsonObject.wrap, False),
        ("message", JsonObject.wrap, False),
        ("content_block", JsonObject.wrap, False),
        ("delta", JsonObject.wrap, False),
    )

    # Fields of a response; which ones an event has depends on its type. Absent fields are missing, not None.
    id: str
    role: str
    model: str
    content: list[Any]
    stop_reason: str | None
    usage: Any
    message: Any
    index: int
    content_block: Any
    delta: Any
    type: str = ""


class Content(JsonObject):
    """A candidate's content, in `parts`."""

    _parts = (("parts", JsonObject.wrap, True),)


class Candidate(JsonObject):
    _parts = (("content", Content.wrap, False),)


class GenerateContentResponse(JsonObject):
    """A response of Gemini's generateContent, or one chunk of its stream."""

    _parts = (
        ("candidates", Candidate.wrap, True),
        ("usageMetadata", JsonObject.wrap, False),
    )

    candidates: list[Candidate]

    @property
    def text(self) -> str:
        """The first candidate's text, without its thoughts."""
        first = self.candidates[0].get("content") if self.candidates else None
        parts = first.get("parts") or () if first is not None else ()
        return "".join(part.get("text") or "" for part in parts if not part.get("thought"))


RESPONSES: Final = Operation(
    "responses",
    "input",
    ResponsesAPIResponse,
    ResponsesAPIStreamingResponse,
    dialect="openai_responses",
    stored=True,
    instead=frozenset({"prompt", "previous_response_id", "conversation"}),
)
MESSAGES: Final = Operation("messages", "messages", AnthropicMessage, AnthropicMessage, dialect="anthropic_messages")
CONTENT: Final = Operation("generate_content", "contents", GenerateContentResponse, GenerateContentResponse, dialect="gemini")

OLLAMA_CHAT: Final = Operation("ollama_chat", "messages", JsonObject, JsonObject, dialect="ollama")
CONVERSE: Final = Operation("converse", "messages", JsonObject, JsonObject, dialect="bedrock_converse")
COHERE_CHAT: Final = Operation("cohere_chat", "messages", JsonObject, JsonObject, dialect="cohere")

RESPONSE: Final = Operation("response", "", ResponsesAPIResponse, None, method="GET", named=False, stored=True)
RESPONSE_DELETE: Final = Operation("response", "", DeleteResponseResult, None, method="DELETE", named=False, stored=True)
RESPONSE_CANCEL: Final = Operation("response_cancel", "", ResponsesAPIResponse, None, named=False, stored=True)
RESPONSE_ITEMS: Final = Operation("response_items", "", ResponseItemList, None, method="GET", named=False, stored=True)

RESPONSE_COMPACT: Final = Operation("response_compact", "input", ResponsesAPIResponse, None, stored=True)


# ---- ids: which deployment stores a response ---------------------------------------------------------------------------------------

_PREFIX: Final = "resp_"
_OURS: Final = "headrace"


def marked_id(deployment: str, id: str, seal: str = "") -> str:
    """A response id that encodes its deployment, so that any process can look it up later, given the same seal."""
    mark = seal_of(seal, deployment, id)
    ours = f"{_OURS}.{mark}" if mark else _OURS
    return _PREFIX + urlsafe_b64encode(f"{ours};{deployment};{id}".encode()).decode().rstrip("=")


def read_id(id: str, seal: str = "") -> tuple[str, str] | None:
    """The deployment and the provider's own id; None for an id of the provider's own, or one issued under another seal."""
    try:
        text = urlsafe_b64decode(id.removeprefix(_PREFIX) + "=" * (-len(id.removeprefix(_PREFIX)) % 4)).decode()
    except (NotBase64, ValueError):
        return None
    signed, _, rest = text.partition(";")
    ours, _, mark = signed.partition(".")
    deployment, _, own = rest.rpartition(";")
    return (deployment, own) if ours == _OURS and deployment and own and opens(seal, mark, deployment, own) else None


def marked(body: dict[str, Any], deployment: str, seal: str = "") -> dict[str, Any]:
    """A response, or an event that contains one, with ids that encode its deployment."""
    whole = body.get("response")
    if isinstance(whole, dict):
        return {**body, "response": marked(whole, deployment, seal)}
    if "type" in body and "output" not in body:
        return body  # an event without a response
    said = {name: own for name in ("id", "previous_response_id") if isinstance(own := body.get(name), str) and own}
    return {**body, **{name: marked_id(deployment, own, seal) for name, own in said.items()}}


def unmarked(call: Call) -> Call:
    """The call with the provider's own response id, bound to the deployment that the id encodes.

    Raises NotFoundError if the call has a seal and the id was not issued under it.
    """
    seal = call.control.get("seal") or ""
    for holder in (call.place, call.body):
        name = "id" if holder is call.place else "previous_response_id"
        said = holder.get(name)
        found = read_id(said, seal) if isinstance(said, str) else None
        if found is None and said and seal:
            raise NotFoundError(f"response {said!r} does not exist for this key")
        if found is not None:
            changed = {**holder, name: found[1]}
            return msgspec.structs.replace(call, deployment=found[0], **({"place": changed} if name == "id" else {"body": changed}))
    return call


# ---- options as the dialects' own clients spell them -------------------------------------------------------------------------------


def response_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with `text_format`, a pydantic class, converted to `text.format`."""
    given = dict(options)
    wanted = given.pop("text_format", None)
    if wanted is None:
        return given
    form = response_format(wanted)
    flat = {"type": form["type"], **form["json_schema"]} if isinstance(form, Mapping) and "json_schema" in form else form
    return {**given, "text": {**(given.get("text") or {}), "format": flat}}


def content_options(contents: Any, config: Mapping[str, Any] | None, options: Mapping[str, Any], *, stream: bool) -> tuple[Any, bool, Any]:
    """Contents as a list, the stream flag, and body fields from the `config` of Google's client.

    Fields of `config` that do not belong at the top level go into `generationConfig`.
    """
    if isinstance(contents, str):
        contents = [{"role": "user", "parts": [{"text": contents}]}]
    elif isinstance(contents, Mapping):
        contents = [contents]
    said = {_camel(name): value for name, value in (config or {}).items() if value is not None}
    top = {name: value for name, value in said.items() if name in _TOP}
    instruction = top.get("systemInstruction")
    if isinstance(instruction, str):
        top["systemInstruction"] = {"parts": [{"text": instruction}]}
    rest = {name: value for name, value in said.items() if name not in _TOP}
    given = {(_camel(name) if _camel(name) in _TOP else name): value for name, value in options.items()}
    return contents, stream, {**top, **({"generationConfig": rest} if rest else {}), **given}


_TOP: Final = frozenset({
    "systemInstruction", "tools", "toolConfig", "safetySettings", "cachedContent", "labels", "generationConfig",
})  # fmt: skip


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
