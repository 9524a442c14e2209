"""Images and reranking on Bedrock (docs.aws.amazon.com/bedrock, model parameters and agents runtime API, as LiteLLM 1.106.2 has them)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, given, posted
from headrace.dialects.forms.images import RATIOS, nearest, pixels
from headrace.dialects.forms.rerank import Reranking
from headrace.errors import BadRequestError, Failure, Kind, UnsupportedParamsError, error_of
from headrace.types import Json
from headrace.wire import HttpRequest

_SAID_ELSEWHERE: Final = ("model", "prompt", "n", "size", "quality", "response_format", "user")


def _named(target: Target) -> str:
    """The model without the region prefix that LiteLLM allows."""
    return re.sub(r"^[a-z]{2,4}(?:-[a-z]+)+-\d/", "", target.model)


class Images:
    """InvokeModel for Amazon's models (Nova Canvas, Titan) and Stability's. Their own parameters pass through."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        said = self._amazons(body) if "amazon." in target.model else self._stabilitys(body, target)
        return posted(target, f"/model/{quote(target.place or _named(target), safe='')}/invoke", said)

    @staticmethod
    def _amazons(body: Body) -> dict[str, Json]:
        size = pixels(body)
        config = {
            "numberOfImages": body.get("n") or 1,
            **({"width": size[0], "height": size[1]} if size else {}),
            **({"quality": "premium" if body["quality"] in ("hd", "high", "premium") else "standard"} if body.get("quality") else {}),
        }
        whole = ("taskType", "textToImageParams", "imageGenerationConfig")
        config |= {**given(body, *_SAID_ELSEWHERE, *whole), **(body.get("imageGenerationConfig") or {})}
        text = {"text": body["prompt"], **(body.get("textToImageParams") or {})}
        return {"taskType": body.get("taskType", "TEXT_IMAGE"), "textToImageParams": text, "imageGenerationConfig": config}

    @staticmethod
    def _stabilitys(body: Body, target: Target) -> dict[str, Json]:
        if body.get("n") not in (None, 1):
            raise UnsupportedParamsError(f"{target.model} makes one image per call: remove n", target.model, target.provider)
        size = pixels(body)
        ratio = {"aspect_ratio": nearest(size, RATIOS)} if size else {}
        return {"prompt": body["prompt"], **ratio, **given(body, *_SAID_ELSEWHERE)}

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        images = answer.get("images") or []
        reasons = [reason for reason in answer.get("finish_reasons") or () if reason]
        if not images and (reasons or answer.get("error")):
            raise error_of(Failure(Kind.CONTENT_POLICY, f"bedrock: the image was filtered: {answer.get('error') or reasons[0]}"))
        rest = {name: value for name, value in answer.items() if name != "images"}
        return {"created": 0, "data": [{"b64_json": image} for image in answer["images"]], **rest}


_REGION: Final = re.compile(r"bedrock-runtime[\w-]*\.([a-z0-9-]+)\.")


class Ranking:
    """`/rerank` of the agents runtime. A model without an ARN is a foundation model in the call's region."""

    _read: Final = Reranking("", given)

    def write(self, body: Body, target: Target) -> HttpRequest:
        sources = [{"inlineDocumentSource": self._source(document), "type": "INLINE"} for document in body["documents"]]
        model = {"modelArn": self._arn(target), **given({"additionalModelRequestFields": body.get("additionalModelRequestFields")})}
        config = {"modelConfiguration": model, "numberOfResults": body.get("top_n") or len(sources)}
        said = {
            "queries": [{"textQuery": {"text": body["query"]}, "type": "TEXT"}],
            "rerankingConfiguration": {"bedrockRerankingConfiguration": config, "type": "BEDROCK_RERANKING_MODEL"},
            "sources": sources,
        }
        address = target.base_url.replace("bedrock-runtime", "bedrock-agent-runtime", 1)
        return posted(msgspec.structs.replace(target, base_url=address), "/rerank", said)

    @staticmethod
    def _source(document: Any) -> dict[str, Json]:
        if isinstance(document, Mapping):
            return {"jsonDocument": document, "type": "JSON"}
        return {"textDocument": {"text": str(document)}, "type": "TEXT"}

    @staticmethod
    def _arn(target: Target) -> str:
        model = target.place or _named(target)
        if model.startswith("arn:"):
            return model
        region = _REGION.search(target.base_url)
        if region is None:
            raise BadRequestError(f"{target.provider}: the base URL contains no region: give the model's ARN", target.model)
        return f"arn:aws:bedrock:{region[1]}::foundation-model/{model}"

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return self._read.read(answer, body)


FORMS: Final[Mapping[tuple[str, str], Form]] = {("images", "bedrock"): Images(), ("rerank", "bedrock"): Ranking()}
