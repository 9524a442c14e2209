"""Image generation by Stability and fal, and upscaling by Topaz."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, given, posted
from headrace.errors import BadRequestError, Failure, Kind, UnsupportedParamsError, error_of
from headrace.multipart import form_of
from headrace.types import Json
from headrace.wire import HttpRequest, HttpResponse

RATIOS: Final = {
    "1:1": 1, "16:9": 16 / 9, "9:16": 9 / 16, "3:2": 3 / 2, "2:3": 2 / 3, "4:5": 4 / 5, "5:4": 5 / 4, "21:9": 21 / 9, "9:21": 9 / 21,
}  # fmt: skip
"""Aspect ratios supported by Stability (platform.stability.ai/docs/api-reference, as LiteLLM 1.106.2 has it)."""


def pixels(body: Body) -> tuple[int, int] | None:
    """Width and height in pixels; None for the default size. Raises BadRequestError for an invalid size."""
    size = body.get("size")
    if size in (None, "auto"):
        return None
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(size))
    if found is None or "0" in (found[1], found[2]):
        raise BadRequestError(f"size must be like '1024x1024', got {str(size)[:20]!r}")
    return int(found[1]), int(found[2])


def nearest(size: tuple[int, int], ratios: Mapping[str, float]) -> str:
    """The name of the aspect ratio closest to a size in pixels."""
    return min(ratios, key=lambda name: abs(ratios[name] - size[0] / size[1]))


class Stability:
    """`/v2beta/stable-image/generate/…`: takes a multipart form, returns one base64 image."""

    _ENDPOINTS: Final = (("ultra", "ultra"), ("core", "core"))

    def write(self, body: Body, target: Target) -> HttpRequest:
        if body.get("n") not in (None, 1):
            raise UnsupportedParamsError("stability makes one image per call: remove n", target.model, target.provider)
        endpoint = next((end for name, end in self._ENDPOINTS if name in target.model), "sd3")
        said = given(body, "model", "n", "size", "response_format", "quality", "user")
        if endpoint == "sd3":
            said["model"] = target.model
        if size := pixels(body):
            said.setdefault("aspect_ratio", nearest(size, RATIOS))
        form = form_of({"output_format": "png", **said})
        headers = [(name, value) for name, value in target.headers if name != "content-type"]
        headers += [("accept", "application/json"), ("content-type", form.content_type)]
        return HttpRequest("POST", f"{target.base_url}/v2beta/stable-image/generate/{endpoint}", tuple(headers), upload=form)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        if answer.get("finish_reason") == "CONTENT_FILTERED":
            raise error_of(Failure(Kind.CONTENT_POLICY, "stability: the image was filtered", provider="stability"))
        rest = {name: value for name, value in answer.items() if name != "image"}
        return {"created": 0, "data": [{"b64_json": answer["image"]}], **rest}


class Fal:
    """`fal.run/{model}`: the model's own parameters pass through; `n` and `size` are translated."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        said = given(body, "model", "n", "size", "response_format", "user")
        if body.get("n") is not None:
            said.setdefault("num_images", body["n"])
        if size := pixels(body):
            said.setdefault("image_size", {"width": size[0], "height": size[1]})
        return posted(target, f"/{target.model}", said)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        images = answer.get("images") or [answer["image"]]
        rest = {name: value for name, value in answer.items() if name not in ("images", "image")}
        return {"created": 0, "data": [shown(image) for image in images], **rest}


def shown(image: Any) -> dict[str, Json]:
    """The image's URL, or its base64 data if it is a data URL."""
    shown: dict[str, Json] = {"url": image} if isinstance(image, str) else dict(image)
    head, comma, data = shown["url"].partition(",")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        return {"b64_json": data, **{name: value for name, value in shown.items() if name != "url"}}
    return shown


class Topaz:
    """`/image/v1/enhance`: takes a multipart form, returns the upscaled image itself (as LiteLLM 1.106.2 has it)."""

    FORMATS: Final = ("jpeg", "jpg", "png", "tiff")

    def write(self, body: Body, target: Target) -> HttpRequest:
        if body.get("n") not in (None, 1):
            raise UnsupportedParamsError("topaz makes one image per call: remove n", target.model, target.provider)
        said = given(body, "n", "size", "response_format", "user")
        if size := pixels(body):
            said |= {"output_width": size[0], "output_height": size[1]}
        if body.get("response_format") in self.FORMATS:  # as LiteLLM has it
            said.setdefault("output_format", body["response_format"])
        form = form_of({**said, "model": target.model})
        headers = {name.lower(): value for name, value in target.headers}
        headers |= {"accept": f"image/{said.get('output_format', 'jpeg')}", "content-type": form.content_type}
        return HttpRequest("POST", f"{target.base_url.rstrip('/')}/image/v1/enhance", tuple(headers.items()), upload=form)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        """Never called: the response is the image itself."""
        return dict(answer)

    def told(self, response: HttpResponse, body: Body) -> dict[str, Json]:
        kind = response.headers.get("content-type", "")
        if not kind.startswith("image/"):
            raise BadRequestError(f"the response is {kind or 'of no type'}, not an image")
        return {"created": 0, "data": [{"b64_json": base64.b64encode(response.body).decode()}]}


FORMS: Final[Mapping[tuple[str, str], Form]] = {
    ("images", "stability"): Stability(),
    ("images", "fal"): Fal(),
    ("image_variations", "topaz"): Topaz(),
}
