"""Text completion models with a server format of their own: NLP Cloud, Petals, Triton, watsonx."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, given, posted
from headrace.dialects.forms.pieces import Made, Pieces, Told
from headrace.dialects.forms.said import answer_of, prompt_of, turns_of, usage_of
from headrace.errors import BadRequestError
from headrace.types import Json
from headrace.wire import HttpRequest

_ASKED: Final = ("model", "messages", "prompt", "stream")


class NlpCloud:
    """`/gpu/{model}/chatbot` with the history, or `/generation` (docs.nlpcloud.com; `chatbot` and `generation` in its clients)."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        place = f"/{quote(target.model, safe='/')}"
        rest = given(body, *_ASKED)
        if "messages" not in body:
            return posted(target, f"{place}/generation", {"text": prompt_of(body, target)[1], **rest})
        system, turns = turns_of(body, target)
        *before, (role, last) = turns
        if role != "user" or [it for it, _ in before] != ["user", "assistant"] * (len(before) // 2):
            raise BadRequestError(
                f"messages: {target.provider} requires alternating user and assistant messages, ending with a user", target.model
            )
        history = [{"input": before[at][1], "response": before[at + 1][1]} for at in range(0, len(before), 2)]
        return posted(target, f"{place}/chatbot", {"input": last, "context": system or None, "history": history, **rest})

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        usage = usage_of(answer.get("nb_input_tokens"), answer.get("nb_generated_tokens"))
        rest = {name: value for name, value in answer.items() if name not in ("response", "history", "generated_text")}
        return answer_of(body, answer["response" if "messages" in body else "generated_text"], usage=usage, **rest)


class Petals:
    """`/generate` takes a form (github.com/petals-infra/chat.petals.dev, as LiteLLM 1.106.2 has it)."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        system, prompt = prompt_of(body, target)
        said = {"model": target.model, "inputs": f"{system}\n\n{prompt}" if system else prompt, **given(body, *_ASKED)}
        headers = {**{name.lower(): value for name, value in target.headers}, "content-type": "application/x-www-form-urlencoded"}
        return HttpRequest("POST", f"{target.base_url.rstrip('/')}/generate", tuple(headers.items()), urlencode(said).encode())

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        if answer.get("ok") is False:
            raise BadRequestError("the response reports a failure")
        rest = {name: value for name, value in answer.items() if name != "outputs"}
        return answer_of(body, answer["outputs"], **rest)


class Triton:
    """`/v2/models/{model}/generate` (Triton's generate extension). All parameters pass through.

    As in LiteLLM, the base URL may also end in `/generate` or `/infer`.
    """

    def write(self, body: Body, target: Target) -> HttpRequest:
        system, prompt = prompt_of(body, target)
        text, rest = (f"{system}\n\n{prompt}" if system else prompt), given(body, *_ASKED)
        rest.setdefault("max_tokens", 2000)  # LiteLLM's default: without one the server generates very little
        if target.base_url.endswith("/infer"):
            asked = [_tensor("text_input", [text]), *(_tensor(name, [value]) for name, value in rest.items())]
            return posted(target, "", {"inputs": asked})
        place = "" if target.base_url.endswith("/generate") else f"{_models(target)}/generate"
        return posted(target, place, {"text_input": text, "parameters": rest, "stream": False})

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        if "text_output" in answer:
            rest = {name: value for name, value in answer.items() if name != "text_output"}
            return answer_of(body, answer["text_output"], **rest)
        return answer_of(body, "".join(answer["outputs"][0]["data"]))


class Watsonx:
    """`/ml/v1/text/generation` and `generation_stream`: the text is `input`, model parameters go into `parameters`.

    Stop reasons are those of `TextGenResult` (ibm.github.io/watsonx-ai-node-sdk, read 2026-11-29).
    """

    _BESIDE: Final = ("model", "model_id", "project_id", "space_id", "moderations")
    _REASONS: Final[Mapping[str, str | None]] = {
        "not_finished": None,
        **dict.fromkeys(("max_tokens", "token_limit", "time_limit"), "length"),
        **dict.fromkeys(("eos_token", "stop_sequence"), "stop"),
    }

    def write(self, body: Body, target: Target) -> HttpRequest:
        beside = {name: body[name] for name in self._BESIDE if body.get(name) is not None}
        parameters = given(body, *_ASKED, *self._BESIDE)
        said = {"input": prompt_of(body, target)[1], **({"parameters": parameters} if parameters else {})}
        return posted(target, "/ml/v1/text/generation", {**beside, **said})

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        told = self._told(answer)
        return {**told.body(str(body.get("model", ""))), "results": answer["results"]}

    def read_stream(self, body: Body, target: Target) -> Pieces:
        return Pieces(self._told, body, target)

    def _told(self, answer: Any) -> Told:
        """The contents of a response or event. Raises BadRequestError if the model failed."""
        made = answer["results"][0]
        if (reason := made.get("stop_reason")) in ("error", "cancelled"):
            raise BadRequestError(f"the model stopped with {reason}")
        usage = usage_of(made.get("input_token_count"), made.get("generated_token_count"))
        counted = {**usage, "total_tokens": sum(usage.values())} if usage else None
        rest = {name: value for name, value in answer.items() if name != "results"}
        return Told((Made(made["generated_text"], self._REASONS.get(reason, "stop")),), counted, rest)


class TritonVectors:
    """`/v2/models/{model}/infer` with the texts as `input_text`, as LiteLLM 1.106.2 has it. Returns one tensor of vectors."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        if not all(isinstance(text, str) for text in texts):
            raise BadRequestError(f"input: {target.provider} embeds strings only", target.model, target.provider)
        place = "" if target.base_url.endswith("/infer") else f"{_models(target)}/infer"
        return posted(target, place, {"inputs": [_tensor("input_text", texts)], **given(body, "model", "input", "encoding_format")})

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        vectors = [vector for output in answer["outputs"] for vector in _rows(output)]
        data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
        return {"object": "list", "data": data, "model": answer.get("model_name") or body["model"]}


def _rows(output: Mapping[str, Any]) -> list[list[float]]:
    rows, width = output["shape"]
    data = output["data"]
    if len(data) != rows * width:
        raise BadRequestError("a tensor's size does not match its shape")
    return [data[row * width : (row + 1) * width] for row in range(rows)]


def _models(target: Target) -> str:
    version = "" if target.base_url.rstrip("/").endswith("/v2") else "/v2"
    return f"{version}/models/{quote(target.model, safe='')}"


def _tensor(name: str, values: list[Any]) -> dict[str, Json]:
    first = values[0]
    kind = "BOOL" if isinstance(first, bool) else "INT32" if isinstance(first, int) else "FP32" if isinstance(first, float) else "BYTES"
    said = values if kind != "BYTES" else [it if isinstance(it, str) else msgspec.json.encode(it).decode() for it in values]
    return {"name": name, "shape": [len(values)], "datatype": kind, "data": said}


FORMS: Final[Mapping[tuple[str, str], Form]] = {
    ("chat", "nlp_cloud"): NlpCloud(),
    ("completions", "nlp_cloud"): NlpCloud(),
    ("chat", "petals"): Petals(),
    ("completions", "petals"): Petals(),
    ("chat", "triton"): Triton(),
    ("completions", "triton"): Triton(),
    ("embeddings", "triton"): TritonVectors(),
    ("completions", "watsonx"): Watsonx(),
}
