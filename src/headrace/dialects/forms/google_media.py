"""Images and speech by Gemini and Vertex AI: Imagen, and Gemini models with image or audio output."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, given, posted
from headrace.dialects.forms.images import nearest, pixels
from headrace.errors import BadRequestError, Failure, Kind, UnsupportedParamsError, error_of
from headrace.multipart import FormFile
from headrace.types import Json
from headrace.wire import HttpRequest

_RATIOS: Final = {"1:1": 1, "3:4": 3 / 4, "4:3": 4 / 3, "9:16": 9 / 16, "16:9": 16 / 9}
"""Aspect ratios supported by both (ai.google.dev/gemini-api/docs/imagen and …/image-generation, as LiteLLM 1.106.2 has it)."""

_SAID_ELSEWHERE: Final = ("model", "prompt", "n", "size", "quality", "response_format", "user")


class Images(Struct, frozen=True):
    """`imagen-…` with `:predict`, other models with `:generateContent`. Their own parameters pass through under Google's names."""

    place: str
    """The path before the model's name, below the base URL."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        ratio = _ratio(body)
        model = f"{self.place}{quote(target.model, safe='@')}"
        if target.model.startswith("imagen"):
            if body.get("image"):
                raise UnsupportedParamsError(
                    f"{target.model} generates images but cannot edit them: use gemini-2.5-flash-image", target.model
                )
            said = {"sampleCount": body.get("n") or 1, **ratio, **given(body, *_SAID_ELSEWHERE)}
            return posted(target, f"{model}:predict", {"instances": [{"prompt": body["prompt"]}], "parameters": said})
        if body.get("n") not in (None, 1):
            raise UnsupportedParamsError(f"{target.model} makes one image per call: remove n", target.model, target.provider)
        if body.get("mask"):
            raise UnsupportedParamsError(
                f"{target.model} does not support a mask: describe the change in the prompt", target.model, target.provider
            )
        rest = given(body, *_SAID_ELSEWHERE, "image", "tools", "imageConfig")
        drawn = {**ratio, **(body.get("imageConfig") or {})}
        config = {"responseModalities": ["TEXT", "IMAGE"], **({"imageConfig": drawn} if drawn else {}), **rest}
        said = {"contents": [{"role": "user", "parts": [{"text": body["prompt"]}, *_pictures(body)]}], "generationConfig": config}
        return posted(target, f"{model}:generateContent", {**said, **({"tools": body["tools"]} if body.get("tools") else {})})

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        images = list(_predicted(answer)) if "predictions" in answer else [_drawn(part) for part in _parts(answer) if "inlineData" in part]
        if not images:
            raise _filtered(answer)
        rest = {name: value for name, value in answer.items() if name not in ("predictions", "candidates")}
        return {"created": 0, "data": images, **rest, **_usage(answer)}


def _pictures(body: Body) -> Iterator[dict[str, Json]]:
    """The images to edit as inline parts, for which Gemini's limit is 20 MB."""
    given_ones = body.get("image") or []
    for file in given_ones if isinstance(given_ones, list) else [given_ones]:
        yield {"inlineData": {"mimeType": _kind(file), "data": base64.b64encode(b"".join(file.pieces())).decode()}}


def _kind(file: FormFile) -> str:
    """The image's media type; PNG if unknown."""
    return file.type if file.type.startswith("image/") else "image/png"


def _ratio(body: Body) -> dict[str, Json]:
    size = pixels(body)
    return {} if size is None else {"aspectRatio": nearest(size, _RATIOS)}


def _predicted(answer: Mapping[str, Any]) -> Iterator[dict[str, Json]]:
    for prediction in answer["predictions"]:
        if "bytesBase64Encoded" in prediction:
            more = {name: value for name, value in prediction.items() if name != "bytesBase64Encoded"}
            yield {"b64_json": prediction["bytesBase64Encoded"], **more}


def _drawn(part: Mapping[str, Any]) -> dict[str, Json]:
    more = {name: value for name, value in part.items() if name != "inlineData"}
    return {"b64_json": part["inlineData"]["data"], "mimeType": part["inlineData"].get("mimeType"), **more}


def _parts(answer: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for candidate in answer.get("candidates") or ():
        yield from (candidate.get("content") or {}).get("parts") or ()


_FILTERS: Final = ("SAFETY", "IMAGE_SAFETY", "PROHIBITED_CONTENT", "IMAGE_PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION")


def _filtered(answer: Mapping[str, Any]) -> Exception:
    """The error for a response without images: content policy if the prompt or image was filtered, otherwise an invalid response."""
    reasons = [(answer.get("promptFeedback") or {}).get("blockReason")]
    reasons += [prediction.get("raiFilteredReason") for prediction in answer.get("predictions") or ()]
    reasons += [it.get("finishReason") for it in answer.get("candidates") or () if it.get("finishReason") in _FILTERS]
    why = next(filter(None, reasons), None) or ("no image was generated" if answer.get("predictions") == [] else None)
    if why is None:
        return BadRequestError("it contains neither an image nor audio")
    return error_of(Failure(Kind.CONTENT_POLICY, f"the output was filtered: {why}"))


def _usage(answer: Mapping[str, Any]) -> dict[str, Json]:
    told = answer.get("usageMetadata")
    if not isinstance(told, Mapping):
        return {}
    made = told.get("candidatesTokenCount", 0) + told.get("thoughtsTokenCount", 0)
    said = {"input_tokens": told.get("promptTokenCount", 0), "output_tokens": made}
    return {"usage": {**said, "total_tokens": told.get("totalTokenCount", sum(said.values()))}}


class Speech(Struct, frozen=True):
    """`:generateContent` with audio output: raw samples, wrapped in a WAV file unless `response_format` is pcm.

    `voice` is one of Google's, such as Kore, or a complete `speechConfig`
    (ai.google.dev/gemini-api/docs/speech-generation).
    """

    place: str

    def write(self, body: Body, target: Target) -> HttpRequest:
        wanted, voice = body.get("response_format"), body.get("voice")
        if wanted not in (None, "wav", "pcm", "pcm16"):
            raise UnsupportedParamsError(f"{target.provider} produces wav or pcm, not {str(wanted)[:10]}", target.model, target.provider)
        if not voice:
            raise UnsupportedParamsError(f"{target.provider} needs one of its own voices, such as Kore", target.model, target.provider)
        named = voice if isinstance(voice, Mapping) else {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice}}}
        said = f"{body['instructions']}: {body['input']}" if body.get("instructions") else body["input"]
        rest = given(body, "model", "input", "voice", "response_format", "instructions", "user")
        config = {"responseModalities": ["AUDIO"], "speechConfig": named, **rest}
        asked = {"contents": [{"role": "user", "parts": [{"text": said}]}], "generationConfig": config}
        return posted(target, f"{self.place}{quote(target.model, safe='@')}:generateContent", asked)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        """Never called: the response is the audio itself."""
        return dict(answer)

    def content(self, told: bytes, body: Body, target: Target) -> bytes:
        answer = msgspec.json.decode(told)
        heard = [part["inlineData"] for part in _parts(answer) if "inlineData" in part]
        if not heard:
            raise _filtered(answer)
        sound = b"".join(base64.b64decode(piece["data"]) for piece in heard)
        return sound if body.get("response_format") in ("pcm", "pcm16") else _wav(sound, _rate(heard[0].get("mimeType", "")))


def _rate(kind: str) -> int:
    """Samples per second, from a media type such as `audio/L16;codec=pcm;rate=24000`."""
    found = [field.partition("=")[2] for field in kind.split(";") if field.strip().startswith("rate=")]
    return int(found[0]) if found else 24_000


def _wav(sound: bytes, rate: int) -> bytes:
    """A WAV file with one channel of 16-bit samples."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16)
    data = b"data" + struct.pack("<I", len(sound)) + sound
    return b"RIFF" + struct.pack("<I", 4 + len(form) + len(data)) + b"WAVE" + form + data


FORMS: Final[Mapping[tuple[str, str], Form]] = {
    ("images", "gemini"): Images("/models/"),
    ("images", "vertex"): Images("/publishers/google/models/"),
    ("image_edits", "gemini"): Images("/models/"),
    ("image_edits", "vertex"): Images("/publishers/google/models/"),
    ("speech", "gemini"): Speech("/models/"),
    ("speech", "vertex"): Speech("/publishers/google/models/"),
}
