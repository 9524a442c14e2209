"""Images and speech generated as tasks that are polled until done: Black Forest Labs and Runway."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, Next, given, posted
from headrace.dialects.forms.images import pixels, shown
from headrace.errors import BadRequestError, Failure, Kind, UnsupportedParamsError, error_of
from headrace.multipart import FormFile
from headrace.types import Json
from headrace.wire import HttpRequest, HttpResponse

_SAID_ELSEWHERE: Final = ("model", "n", "size", "quality", "response_format", "user")


def broken(kind: Kind, why: str, target: Target) -> Exception:
    """The error for a task without a result."""
    return error_of(Failure(kind, f"{target.provider}: {why}", provider=target.provider, model=target.model))


def with_key(target: Target, method: str, url: str) -> HttpRequest:
    """A request to a URL from a response. The key is only sent to the provider's own hosts; raises BadRequestError for any other."""
    own, there = urlsplit(target.base_url), urlsplit(url)
    house = ".".join((own.hostname or "").split(".")[-2:])
    host = there.hostname or ""
    if there.scheme != own.scheme or not (there.netloc == own.netloc or (_named(house) and host.endswith(f".{house}"))):
        raise BadRequestError("the URL to poll is not on the provider's host")
    return HttpRequest(method, url, tuple(pair for pair in target.headers if pair[0].lower() != "content-type"))


def _named(house: str) -> bool:
    return "." in house and not house.replace(".", "").isdigit()


def fetched(target: Target, url: str) -> HttpRequest:
    """A request for a generated file, sent without the key, and to no private address except the provider's own."""
    here = urlsplit(target.base_url).netloc == urlsplit(url).netloc
    return HttpRequest("GET", url, public=not here)


def _one(body: Body, target: Target) -> None:
    if body.get("n") not in (None, 1):
        raise UnsupportedParamsError(f"{target.provider} makes one image per call: remove n", target.model, target.provider)


# ---- Black Forest Labs ---------------------------------------------------------------------------------------------------------------


class BlackForestLabs:
    """`POST /v1/{model}`, then the response's `polling_url` (docs.bfl.ai, as LiteLLM 1.106.2 has it). Files are sent as base64."""

    BAD: Final = {
        "Request Moderated": Kind.CONTENT_POLICY,
        "Content Moderated": Kind.CONTENT_POLICY,
        "Error": Kind.SERVER,
        "Failed": Kind.SERVER,
        "Task not found": Kind.SERVER,
    }

    def write(self, body: Body, target: Target) -> HttpRequest:
        said = {"output_format": "png", **given(body, *_SAID_ELSEWHERE, "image")}
        if "ultra" in target.model and body.get("n") is not None:
            said.setdefault("num_images", body["n"])
        else:
            _one(body, target)
        if size := pixels(body):
            said |= {"width": size[0], "height": size[1]}
        if image := body.get("image"):
            said["input_image"] = _base64(image[0] if isinstance(image, list) else image)
        if isinstance(mask := said.get("mask"), FormFile):
            said["mask"] = _base64(mask)
        return posted(target, f"/{quote(target.model, safe='')}", said)

    def then(self, response: HttpResponse, step: str, body: Body, target: Target) -> Next | None:
        told = msgspec.json.decode(response.body)
        if not step:
            return self._asked(told["polling_url"], target)
        status = told["status"]
        if status == "Ready":
            return None
        if kind := self.BAD.get(status):
            raise broken(kind, f"{status}{_why(told.get('details'))}", target)
        return self._asked(step, target)

    @staticmethod
    def _asked(url: str, target: Target) -> Next:
        """The step's name is the URL, because later responses do not repeat it."""
        return Next(url, with_key(target, "GET", url), 0.5)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        result = answer["result"]
        images = [{"url": result["sample"]}] if isinstance(result, Mapping) else [shown(image) for image in result]
        return {"created": 0, "data": images, **{name: value for name, value in answer.items() if name != "result"}}


def _base64(file: Any) -> str:
    return base64.b64encode(b"".join(file.pieces())).decode()


def _why(details: Json) -> str:
    return f": {msgspec.json.encode(details).decode()[:300]}" if details else ""


# ---- Runway --------------------------------------------------------------------------------------------------------------------------


def _ended(response: HttpResponse, step: str, target: Target) -> Next | Mapping[str, Any]:
    """The finished task with its `output`, or the next poll (docs.dev.runwayml.com/api, as LiteLLM 1.106.2 has it)."""
    told: Mapping[str, Any] = msgspec.json.decode(response.body)
    status = told["status"] if step else "PENDING"
    if status == "SUCCEEDED":
        return told
    if status in ("FAILED", "CANCELLED"):
        code = str(told.get("failureCode") or "")
        kind = Kind.CONTENT_POLICY if code.startswith("SAFETY") else Kind.SERVER
        raise broken(kind, f"the task has {status.lower()}: {told.get('failure') or 'no reason given'} {code}".rstrip(), target)
    place = f"{target.base_url.rstrip('/')}/tasks/{quote(told['id'], safe='')}"
    return Next("task", with_key(target, "GET", place), 1.0, undo=(with_key(target, "DELETE", place),))


class RunwayImages:
    def write(self, body: Body, target: Target) -> HttpRequest:
        _one(body, target)
        size = pixels(body)
        ratio = f"{size[0]}:{size[1]}" if size else "1920:1080"
        said = {"model": target.model, "promptText": body["prompt"], "ratio": ratio}
        return posted(target, "/text_to_image", {**said, **given(body, *_SAID_ELSEWHERE, "prompt")})

    def then(self, response: HttpResponse, step: str, body: Body, target: Target) -> Next | None:
        ended = _ended(response, step, target)
        return ended if isinstance(ended, Next) else None

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        rest = {name: value for name, value in answer.items() if name != "output"}
        return {"created": 0, "data": [shown(image) for image in answer["output"]], **rest}


class RunwaySpeech:
    """OpenAI's voice names are mapped as in LiteLLM 1.106.2; any other name is Runway's own."""

    VOICES: Final = {
        "alloy": "Maya", "echo": "James", "fable": "Bernard", "onyx": "Vincent", "nova": "Serene", "shimmer": "Ella",
    }  # fmt: skip

    def write(self, body: Body, target: Target) -> HttpRequest:
        voice = body.get("voice") or "Maya"
        named = voice if isinstance(voice, Mapping) else {"type": "runway-preset", "presetId": self.VOICES.get(str(voice), str(voice))}
        said = {"model": target.model, "promptText": body["input"], "voice": named}
        return posted(target, "/text_to_speech", {**said, **given(body, *_SAID_ELSEWHERE, "input", "voice")})

    def then(self, response: HttpResponse, step: str, body: Body, target: Target) -> Next | None:
        if step == "file":
            return None
        ended = _ended(response, step, target)
        return ended if isinstance(ended, Next) else Next("file", fetched(target, ended["output"][0]))

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        """Never called: the response is the audio itself."""
        return dict(answer)


FORMS: Final[Mapping[tuple[str, str], Form]] = {
    ("images", "black_forest_labs"): BlackForestLabs(),
    ("image_edits", "black_forest_labs"): BlackForestLabs(),
    ("images", "runway"): RunwayImages(),
    ("speech", "runway"): RunwaySpeech(),
}
