"""Text completions with Bedrock's InvokeModel, in the format of each model's maker.

Formats: docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html (read 2026-11-29). Recorded exchanges: Titan
(2ba9ce29ccd0abd8), Llama (63c36ac2c3633e52), Mistral (8d9cec992d40c860), Command (069dcf7d60fcfb8f), Jurassic
(36e48bbaaa79f8c0) and Claude (e1ffb783a7009c62). Newer models use Converse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, given, posted
from headrace.dialects.forms.pieces import Made, Pieces, Told
from headrace.dialects.forms.said import prompt_of, usage_of
from headrace.errors import BadRequestError, UnsupportedParamsError
from headrace.types import Json
from headrace.wire import HttpRequest, HttpResponse

_SAID: Final = ("model", "prompt", "stream", "stream_options")

_FINISHES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("finish", "complete", "stop", "stop_sequence", "stop_criteria_met", "endoftext", "end_turn"), "stop"),
    **dict.fromkeys(("length", "max_tokens"), "length"),
    **dict.fromkeys(("content_filtered", "error_toxic"), "content_filter"),
}
"""The meaning of the makers' finish reasons, in lower case. Any other counts as a stop; the original is kept in the choice."""

_METRICS: Final = "amazon-bedrock-invocationMetrics"
"""Bedrock's field in a stream's last event, whichever maker the model has."""

_OWN_WORDS: Final = {"finish_reason": "native_finish_reason"}
"""Renames a maker's field that has the name of one of OpenAI's."""

_INTERVENED: Final = "amazon-bedrock-guardrailAction"
"""Bedrock's field for a guardrail that intervened, in which case the model gives no finish reason."""


class Maker(Struct, frozen=True, eq=False):
    """One maker's request and response format for text completions."""

    models: str
    """A regular expression to search for in the model's name."""
    words: Mapping[str, str]
    """Maps OpenAI's parameters to the maker's. OpenAI's other parameters are rejected; parameters that are not OpenAI's pass through."""
    text: str
    reason: str
    prompt: str = "prompt"
    parameters: str = ""
    """The field that holds the parameters, unless they are at the top level."""
    listed: str = ""
    """The response's field with the list of texts, if there is one."""
    counts: tuple[str, str] = ("", "")
    """The fields with the input and output token counts."""
    streams: Mapping[str, Json] | None = {}
    """Additional fields to request a stream; None if the maker has no streams."""
    needs: Mapping[str, Json] = {}
    """Required fields, with defaults."""
    ends: Mapping[str, str] = {}
    """Maps OpenAI's finish reasons to the maker's. Callers are only served in the formats of makers that have them."""
    flat: bool = False
    """Whether stream events have their text at the top level instead of in the list."""
    last: str = ""
    """The field of a stream event that marks the last one, if there is one."""

    @property
    def serves(self) -> bool:
        """Whether callers can be served in the maker's format."""
        return bool(self.ends)

    def read(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A caller's body in OpenAI's format. The maker's parameters without an equivalent keep their names."""
        outer = {name: value for name, value in body.items() if name not in (self.prompt, self.parameters)}
        ours = {theirs: name for name, theirs in self.words.items()}
        said = {**outer, **(body.get(self.parameters) or {})}
        return {"prompt": body.get(self.prompt), **{ours.get(name, name): value for name, value in said.items()}}

    def write(self, text: str, finish: str | None, usage: tuple[int, int] | None, *, piece: bool = False) -> dict[str, Any]:
        """A response to a caller, or with `piece` a stream event. usage: input and output tokens."""
        made = {self.text: text, self.reason: None if finish is None else self.ends.get(finish, self.ends["stop"])}
        read, written = usage or (None, None)
        counted = dict(zip(self.counts, (read, written), strict=True)) if self.counts[0] else {}
        over: dict[str, Any] = {_METRICS: {"inputTokenCount": read, "outputTokenCount": written}} if piece and usage is not None else {}
        if piece and self.last:
            over[self.last] = finish is not None
        if self.listed and not (piece and self.flat):
            inner = {"tokenCount": written, **made} if counted else made  # Titan also counts each text
            return {self.listed: [inner], **({self.counts[0]: read} if counted else {}), **over}
        return {**made, **counted, **over}

    def told(self, answer: Mapping[str, Any]) -> Told:
        """The contents of a response or stream event. Raises KeyError if it has neither a text nor a finish reason."""
        beside = {name: value for name, value in answer.items() if name.startswith("amazon-bedrock") and name != _METRICS}
        if self.listed in answer:
            made = [self._made(_flat(item), position) for position, item in enumerate(answer[self.listed])]
            beside = {name: value for name, value in answer.items() if name not in (self.listed, *self.counts, _METRICS)}
        else:
            own = {name: value for name, value in answer.items() if name not in (*self.counts, _METRICS, *beside)}
            made = [self._made(own, 0)]
        if isinstance(id_ := beside.get("id"), int):
            beside["id"] = str(id_)  # AI21's id is a number, OpenAI's a string
        over = _METRICS in answer or answer.get(_INTERVENED) == "INTERVENED"
        return Told(tuple(made), self._usage(answer), beside, over)

    def _made(self, item: Mapping[str, Any], position: int) -> Made:
        word = item.get(self.reason)
        text = item[self.text] if self.text in item else "" if word else item[self.text]
        finish = _FINISHES.get(str(word).lower(), "stop") if word else None
        rest = {_OWN_WORDS.get(name, name): value for name, value in item.items() if name not in (self.text, "index")}
        return Made(text or "", finish, int(item.get("index") or position), rest)

    def _usage(self, answer: Mapping[str, Any]) -> dict[str, int] | None:
        metrics = answer.get(_METRICS) or {}
        read, written = (answer.get(name) for name in self.counts)
        texts = answer.get(self.listed) or ()
        if written is None and texts and all("tokenCount" in item for item in texts):
            written = sum(item["tokenCount"] for item in texts)
        return _counted(metrics.get("inputTokenCount", read), metrics.get("outputTokenCount", written))


def _flat(item: Mapping[str, Any]) -> dict[str, Any]:
    """AI21 nests texts one level deeper than other makers: returns the item without that level."""
    if not isinstance(item.get("data"), Mapping):
        return dict(item)
    return {**item["data"], **{name: value for name, value in item.items() if name != "data"}, "reason": item["finishReason"]["reason"]}


def _counted(read: Any, written: Any) -> dict[str, int] | None:
    counts = [int(count) if isinstance(count, int | float) else None for count in (read, written)]
    usage = usage_of(*counts)
    return usage and {**usage, "total_tokens": sum(usage.values())}


_TITAN: Final = {"max_tokens": "maxTokenCount", "temperature": "temperature", "top_p": "topP", "stop": "stopSequences"}
_MISTRAL: Final = {name: name for name in ("max_tokens", "temperature", "top_p", "stop")}
_ANTHROPIC: Final = {"max_tokens": "max_tokens_to_sample", "temperature": "temperature", "top_p": "top_p", "stop": "stop_sequences"}
_COHERE: Final = {
    "max_tokens": "max_tokens", "temperature": "temperature", "top_p": "p", "stop": "stop_sequences", "n": "num_generations",
    "logit_bias": "logit_bias",
}  # fmt: skip
_AI21: Final = {"max_tokens": "maxTokens", "temperature": "temperature", "top_p": "topP", "stop": "stopSequences", "n": "numResults"}

_PLAIN_ENDS: Final = {"stop": "stop", "length": "length"}

MAKERS: Final = (
    Maker(
        r"titan-(?:text|tg1)", _TITAN, "outputText", "completionReason", prompt="inputText", parameters="textGenerationConfig",
        listed="results", counts=("inputTextTokenCount", "totalOutputTextTokenCount"),
        ends={"stop": "FINISH", "length": "LENGTH", "content_filter": "CONTENT_FILTERED"}, flat=True,
    ),
    Maker(
        r"meta\.llama", {"max_tokens": "max_gen_len", "temperature": "temperature", "top_p": "top_p"}, "generation", "stop_reason",
        counts=("prompt_token_count", "generation_token_count"), ends=_PLAIN_ENDS,
    ),
    Maker(r"mistral\.", _MISTRAL, "text", "stop_reason", listed="outputs", ends=_PLAIN_ENDS),
    Maker(r"deepseek\.", _MISTRAL, "text", "stop_reason", listed="choices", ends=_PLAIN_ENDS),
    Maker(
        r"cohere\.command", _COHERE, "text", "finish_reason", listed="generations", streams={"stream": True},
        ends={"stop": "COMPLETE", "length": "MAX_TOKENS", "content_filter": "ERROR_TOXIC"}, flat=True, last="is_finished",
    ),
    Maker(r"ai21\.j2", _AI21, "text", "reason", listed="completions", streams=None),
    # The models' maximum output; they require the field.
    Maker(r"anthropic\.claude", _ANTHROPIC, "completion", "stop_reason", needs={"max_tokens_to_sample": 4096}),
)  # fmt: skip

_OPENAIS: Final = (
    "max_tokens", "temperature", "top_p", "stop", "n", "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs",
    "presence_penalty", "seed", "suffix", "user",
)  # fmt: skip


def maker_of(target: Target) -> Maker:
    """The model's maker. Raises BadRequestError for a model without a known text completion format."""
    for maker in MAKERS:
        if re.search(maker.models, target.model):
            return maker
    raise BadRequestError(f"{target.provider}: no text completion format is known for {target.model}", target.model, target.provider)


class Texts:
    """The maker's own parameters pass through: `top_k`, `k`, `return_likelihoods`."""

    packing: Final = "aws_whole"

    def write(self, body: Body, target: Target) -> HttpRequest:
        maker = maker_of(target)
        if body.get("stream") and maker.streams is None:
            raise UnsupportedParamsError(f"{target.model} does not support streaming: remove stream", target.model, target.provider)
        said = {**maker.needs, **self._parameters(maker, body, target)}
        text = self._prompt(maker, prompt_of(body, target)[1])
        own = {maker.parameters: said} if maker.parameters and said else said
        return posted(target, "", {maker.prompt: text, **own, **((maker.streams or {}) if body.get("stream") else {})})

    @staticmethod
    def _parameters(maker: Maker, body: Body, target: Target) -> dict[str, Json]:
        asked = {name: value for name, value in given(body, *_SAID).items() if not (name == "n" and value == 1)}
        unsaid = [name for name in asked if name in _OPENAIS and name not in maker.words]
        if unsaid and not target.drop_params:
            why = f"{target.model} does not support {', '.join(unsaid)}: remove it, or pass drop_params=True to drop it"
            raise UnsupportedParamsError(why, target.model, target.provider)
        if isinstance(asked.get("stop"), str):
            asked["stop"] = [asked["stop"]]
        nested = asked.pop(maker.parameters, {}) if maker.parameters else {}
        return {maker.words.get(name, name): value for name, value in asked.items() if name not in unsaid} | nested

    @staticmethod
    def _prompt(maker: Maker, text: str) -> str:
        """Claude requires a dialogue between Human and Assistant, so any other text is wrapped in one."""
        if maker.words is _ANTHROPIC and "\n\nHuman:" not in text:
            return f"\n\nHuman: {text}\n\nAssistant:"
        return text

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        maker = maker_of(Target("bedrock", body["model"]))
        return maker.told(answer).body(body["model"])

    def told(self, response: HttpResponse, body: Body) -> dict[str, Json]:
        """The response, with token counts from the headers if the body has none."""
        answer = self.read(msgspec.json.decode(response.body), body)
        counts = [response.headers.get(f"x-amzn-bedrock-{name}-token-count", "") for name in ("input", "output")]
        if "usage" not in answer and all(count.isdecimal() for count in counts):
            answer["usage"] = _counted(*map(int, counts))
        return answer

    def read_stream(self, body: Body, target: Target) -> Pieces:
        return Pieces(maker_of(target).told, body, target)


FORMS: Final[Mapping[tuple[str, str], Form]] = {("completions", "bedrock"): Texts()}
