"""Bedrock's InvokeModel in the formats of Nova, Llama, Mistral, Titan, Cohere and Chat Completions.

Newer vendors on Bedrock use the format of Chat Completions. The body's fields tell the format, and any provider can
serve it. docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html, read 2026-11.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from headrace.calls import CHAT, COMPLETIONS, EMBEDDINGS, shape
from headrace.dialects.bedrock_converse.eventstream import event
from headrace.dialects.forms.invoke import MAKERS, Maker
from headrace.errors import BadRequestError
from headrace.framing import EventStreamReader, SseReader
from headrace.gateway import cohere_chat, cohere_vectors
from headrace.gateway.context import ConvertedCall, Reply, RequestContext, RouterCall, wanted
from headrace.gateway.requests import IncomingRequest
from headrace.providers.catalog import resolve
from headrace.routing.groups import facts_of
from headrace.served import CONVERSE


def invoke(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], model: str, *, stream: bool) -> Reply:
    """Handler for InvokeModel in other formats than Claude's. Raises BadRequestError for an unknown one."""
    body = {name: value for name, value in body.items() if name not in ("stream", "model")}
    if isinstance(body.get("messages"), list):
        if _is_novas(body):
            return _nova(here, body, model, stream=stream)
        return wanted(CHAT, {**body, **_streaming(stream)}, model)
    if "message" in body:
        return _command(here, asked, {**body, "stream": stream}, model)
    if "texts" in body or "images" in body:
        return cohere_vectors.embed_plainly(here, asked, {**body, "model": model})
    if "singleEmbeddingParams" in body:
        return _nova_vectors(body, model)
    if "inputText" in body and _is_embedded(here, body, model):
        return _titan_vectors(here, body, model)
    return _text(here, body, model, stream=stream)


def question_of(body: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The prompt and its dialect, for counting tokens. Raises BadRequestError."""
    if isinstance(body.get("messages"), list):
        return ("bedrock_converse", _in_converse(body, topped=False)) if _is_novas(body) else ("openai_chat", body)
    if isinstance(body.get("message"), str):
        return "cohere", cohere_chat.in_v2(body)
    prompt = body.get("prompt", body.get("inputText"))
    if not isinstance(prompt, str):
        raise _nobodys("")
    return "openai_chat", {"messages": turns_of(prompt) or [{"role": "user", "content": prompt}]}


def _nobodys(model: str) -> BadRequestError:
    makers = "Claude (anthropic_version), Nova, Llama, Mistral, Titan, Cohere or Chat Completions"
    return BadRequestError(f"an InvokeModel body must have the format of {makers}: use Converse for this model", model)


def _streaming(stream: bool) -> dict[str, Any]:
    return {"stream": True, "stream_options": {"include_usage": True}} if stream else {}


def _deployment(here: RequestContext, model: str) -> Any:
    return here.router.get_deployment_by_model_group_name(here.meant(model))


def chunked(said: Mapping[str, Any]) -> bytes:
    """One event of a stream in a vendor's format."""
    return event("chunk", {"bytes": b64encode(msgspec.json.encode(said)).decode()})


# ---- Nova, almost in Converse's format
# ---------------------------------------------------------------------------------------------


def _is_novas(body: Mapping[str, Any]) -> bool:
    """Whether a body is Nova's: its content parts have no `type`, unlike those of Chat Completions."""
    if "schemaVersion" in body or "inferenceConfig" in body or "toolConfig" in body:
        return True
    contents = [turn.get("content") for turn in body["messages"] if isinstance(turn, dict)]
    return any(isinstance(part, dict) and "type" not in part for content in contents if isinstance(content, list) for part in content)


def _in_converse(body: Mapping[str, Any], *, topped: bool) -> dict[str, Any]:
    """Nova's body in Converse's format. topped: whether the provider is Bedrock, where `topK` has a place of its own."""
    said = {name: value for name, value in body.items() if name != "schemaVersion"}
    inference = dict(body.get("inferenceConfig") or {})
    if "max_new_tokens" in inference:
        inference["maxTokens"] = inference.pop("max_new_tokens")
    top = inference.pop("topK", inference.pop("top_k", None))
    if top is not None:
        said["additionalModelRequestFields"] = {"inferenceConfig": {"topK": top}} if topped else {"top_k": top}
    return {**said, **({"inferenceConfig": inference} if inference else {})}


def _nova(here: RequestContext, body: Mapping[str, Any], model: str, *, stream: bool) -> Reply:
    found = _deployment(here, model)
    topped = found is not None and resolve(found.model).provider.dialect == "bedrock_converse"
    call = wanted(CONVERSE, {**_in_converse(body, topped=topped), "stream": stream}, model)
    return ConvertedCall(call, told=_Unpacked) if stream else call


class _Unpacked:
    """Converts Converse's events, whose names are in the frame, to chunks with the name inside."""

    def __init__(self) -> None:
        self._events = EventStreamReader()

    def __call__(self, piece: bytes) -> bytes:
        return b"".join([chunked({frame.event or "": msgspec.Raw(frame.data)}) for frame in self._events.feed(piece)])


# ---- Command, in the format of Cohere's v1
# -----------------------------------------------------------------------------------------


def _command(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], model: str) -> Reply:
    reply = cohere_chat.chat(here, asked, {**body, "model": model})
    return ConvertedCall(reply, told=_CommandLines) if isinstance(reply, RouterCall) else reply


class _CommandLines:
    """Converts Cohere's stream to chunks of an AWS event stream."""

    def __init__(self) -> None:
        self._lines = cohere_chat.Lines()

    def __call__(self, piece: bytes) -> bytes:
        return b"".join(map(chunked, self._lines.of(piece)))


# ---- embeddings of Titan and Nova
# --------------------------------------------------------------------------------------------------


def _is_embedded(here: RequestContext, body: Mapping[str, Any], model: str) -> bool:
    """Whether embeddings are wanted: told by fields that only one of both has, else by the model's mode."""
    if "textGenerationConfig" in body:
        return False
    found = _deployment(here, model)
    known = None if found is None else {**facts_of(found), **found.model_info}.get("mode")
    return known in ("embedding", None) or any(name in body for name in ("dimensions", "normalize", "embeddingTypes"))


def _titan_vectors(here: RequestContext, body: Mapping[str, Any], model: str) -> ConvertedCall:
    if (types := body.get("embeddingTypes") or ["float"]) != ["float"]:
        raise BadRequestError(f"embeddingTypes must be ['float'], got {shape(types)}", model)
    if body.get("normalize") is False:
        raise BadRequestError(
            "normalize must not be false: vectors are returned as the provider makes them, mostly with length 1: leave it out", model
        )
    sizes = {"dimensions": body["dimensions"]} if body.get("dimensions") is not None else {}
    call = wanted(EMBEDDINGS, {"input": body["inputText"], **sizes}, model)

    def written(made: Any) -> dict[str, Any]:
        vector = made.data[0].embedding
        count = 0 if made.usage is None else made.usage.prompt_tokens
        return {"embedding": vector, "embeddingsByType": {"float": vector}, "inputTextTokenCount": count}

    return ConvertedCall(call, written)


def _nova_vectors(body: Mapping[str, Any], model: str) -> ConvertedCall:
    said = body["singleEmbeddingParams"]
    text = said.get("text") if isinstance(said, dict) else None
    if not isinstance(text, dict) or not isinstance(text.get("value"), str):
        raise BadRequestError("singleEmbeddingParams.text.value must be a string: only texts can be embedded", model)
    sizes = {"dimensions": said["embeddingDimension"]} if said.get("embeddingDimension") is not None else {}
    call = wanted(EMBEDDINGS, {"input": text["value"], **sizes}, model)
    return ConvertedCall(call, lambda made: {"embeddings": [{"embeddingType": "TEXT", "embedding": made.data[0].embedding}]})


# ---- text completion
# ---------------------------------------------------------------------------------------------------------------


def _text(here: RequestContext, body: Mapping[str, Any], model: str, *, stream: bool) -> Reply:
    """A prompt in a model's own template becomes a chat for other providers; any other prompt is a text completion."""
    maker = _maker(here, body, model)
    asked = {**maker.read(body), **_streaming(stream)}
    prompt = asked.pop("prompt")
    if not isinstance(prompt, str):
        raise BadRequestError(f"{maker.prompt} must be a string, got {shape(prompt)}", model)
    turns = None if _completes(here, model) else turns_of(prompt)
    call = wanted(COMPLETIONS, {"prompt": prompt, **asked}, model) if turns is None else wanted(CHAT, {"messages": turns, **asked}, model)
    if stream:
        return ConvertedCall(call, told=lambda: _Pieces(maker))
    return ConvertedCall(call, lambda made: maker.write(*_told(made.choices[0].model_dump()), _usage(made.usage)))


def _maker(here: RequestContext, body: Mapping[str, Any], model: str) -> Maker:
    """The vendor whose format the body has.

    Told by the model's name here and at its provider, else by a field that only one vendor has.
    """
    found = _deployment(here, model)
    names = (model, "" if found is None else found.model)
    able = [maker for maker in MAKERS if maker.prompt in body and maker.serves]
    for maker in able:
        if any(re.search(maker.models, name) for name in names):
            return maker
    for maker in able:
        if maker.parameters in body or any(word in body for ours, word in maker.words.items() if word != ours) or maker.prompt != "prompt":
            return maker
    usual = next((maker for maker in able if all(word == ours for ours, word in maker.words.items())), None)
    if usual is None:
        raise _nobodys(model)
    return usual


def _completes(here: RequestContext, model: str) -> bool:
    """Whether its provider takes a prompt in the model's own template."""
    found = _deployment(here, model)
    if found is None:
        return False
    to = resolve(found.model)
    return to.provider.variant(to.model, "", "")[0].forms.get("completions") == "bedrock"


def _told(choice: Mapping[str, Any]) -> tuple[str, str | None]:
    """The text of a choice, or of a chunk of one, and its finish reason."""
    message = choice.get("message") or choice.get("delta") or {}
    return choice.get("text") or message.get("content") or "", choice.get("finish_reason")


def _usage(found: Any) -> tuple[int, int] | None:
    return None if found is None else (found.prompt_tokens or 0, found.completion_tokens or 0)


class _Pieces:
    """Converts chunks of a completion or a chat to a vendor's format.

    The last chunk waits for the usage, which follows the finish reason.
    """

    def __init__(self, maker: Maker) -> None:
        self._maker = maker
        self._events = SseReader()
        self._finish: str | None = None

    def __call__(self, piece: bytes) -> bytes:
        return b"".join(map(self._chunk, self._events.feed(piece)))

    def _chunk(self, frame: Any) -> bytes:
        if frame.data[:6] == b"[DONE]":
            return b"" if self._finish is None else self._last(None)
        if frame.data[:1] != b"{":
            return b""
        said = msgspec.json.decode(frame.data)
        text, finish = _told(said["choices"][0]) if said.get("choices") else ("", None)
        self._finish = finish or self._finish
        told = chunked(self._maker.write(text, None, None, piece=True)) if text else b""
        used = said.get("usage")
        if used and self._finish is not None:
            told += self._last((used.get("prompt_tokens") or 0, used.get("completion_tokens") or 0))
        return told

    def _last(self, usage: tuple[int, int] | None) -> bytes:
        finish, self._finish = self._finish, None
        return chunked(self._maker.write("", finish, usage, piece=True))


# ---- prompt templates
# --------------------------------------------------------------------------------------------------------------

_LLAMA3: Final = re.compile(r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\s*(.*?)\s*(?:<\|eot_id\|>|<\|eom_id\|>|$)", re.S)
_LLAMA4: Final = re.compile(r"<\|header_start\|>(\w+)<\|header_end\|>\s*(.*?)\s*(?:<\|eot\|>|$)", re.S)
_INST: Final = re.compile(r"\[INST\]\s*(.*?)\s*\[/INST\]\s*(.*?)\s*(?:</s>|(?=<s>|\[INST\])|$)", re.S)
_SYS: Final = re.compile(r"<<SYS>>\s*(.*?)\s*<</SYS>>\s*", re.S)
_HUMAN: Final = re.compile(r"\n\n(Human|Assistant):\s*(.*?)\s*(?=\n\n(?:Human|Assistant):|$)", re.S)
_DEEPSEEK: Final = re.compile(r"<｜(User|Assistant)｜>\s*(?:<think>\s*)?(.*?)\s*(?=<｜|$)", re.S)
_ROLES: Final[Mapping[str, str]] = {"Human": "user", "User": "user", "Assistant": "assistant", "ipython": "user", "tool": "user"}

Turns = list[dict[str, Any]]


def turns_of(prompt: str) -> Turns | None:
    """The turns of a prompt in the template of Llama, Mistral, DeepSeek or older Claude models; None if it is in none of them."""
    turns = next(filter(None, (read(prompt) for read in _TEMPLATES)), [])
    while turns and not turns[-1]["content"]:
        turns.pop()  # the place of the response
    return turns or None


def _headed(pattern: re.Pattern[str]) -> Callable[[str], Turns]:
    return lambda prompt: [{"role": _ROLES.get(role, role), "content": text} for role, text in pattern.findall(prompt)]


def _instructed(prompt: str) -> Turns:
    turns: Turns = []
    for question, answer in _INST.findall(prompt):
        if system := _SYS.match(question):
            turns.append({"role": "system", "content": system[1]})
            question = question[system.end() :]
        turns += [{"role": "user", "content": question}, *([{"role": "assistant", "content": answer}] if answer else [])]
    return turns


_TEMPLATES: Final[tuple[Callable[[str], Turns], ...]] = (
    _headed(_LLAMA3),
    _headed(_LLAMA4),
    _instructed,
    _headed(_HUMAN),
    _headed(_DEEPSEEK),
)
