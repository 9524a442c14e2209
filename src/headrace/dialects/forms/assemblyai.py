"""Transcriptions by AssemblyAI: uploads the audio first, then polls for its transcript (assemblyai.com/docs/api-reference)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, Next, given, posted
from headrace.dialects.forms.tasks import broken, with_key
from headrace.errors import Kind
from headrace.types import Json
from headrace.wire import HttpRequest, HttpResponse

_OURS: Final = ("model", "file", "language", "response_format", "timestamp_granularities", "temperature", "prompt", "user")
_GATEWAY: Final = "https://llm-gateway.assemblyai.com/v1"
_LISTENS: Final = "https://api.assemblyai.com/v2"


def _there(target: Target) -> Target:
    """AssemblyAI's chat models and its speech models have different base URLs. A base URL set by the user is used for both."""
    return msgspec.structs.replace(target, base_url=_LISTENS) if target.base_url == _GATEWAY else target


class AssemblyAi:
    """The model goes into `speech_models`; AssemblyAI's own parameters pass through."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        there = _there(target)
        headers = {**{name.lower(): value for name, value in there.headers}, "content-type": "application/octet-stream"}
        return HttpRequest("POST", f"{there.base_url.rstrip('/')}/upload", tuple(headers.items()), upload=body["file"])

    def then(self, response: HttpResponse, step: str, body: Body, target: Target) -> Next | None:
        told, there = msgspec.json.decode(response.body), _there(target)
        if not step:
            language = {"language_code": body["language"]} if body.get("language") else {}
            said = {"audio_url": told["upload_url"], "speech_models": [target.model], **language, **given(body, *_OURS)}
            return Next("made", posted(there, "/transcript", said))
        match told["status"]:
            case "completed":
                return None
            case "error":
                raise broken(Kind.SERVER, f"the transcript has failed: {told.get('error') or 'no reason given'}", target)
        return Next("waiting", with_key(there, "GET", f"{there.base_url.rstrip('/')}/transcript/{quote(told['id'], safe='')}"), 1.0)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        words = [_word(word) for word in answer.get("words") or ()]
        said = {"task": "transcribe", "language": answer.get("language_code"), "duration": answer.get("audio_duration"), "words": words}
        return {**answer, "text": answer["text"] or "", **{name: value for name, value in said.items() if value}}


def _word(told: Mapping[str, Any]) -> dict[str, Json]:
    return {**told, "word": told["text"], "start": told["start"] / 1000, "end": told["end"] / 1000}


FORMS: Final[Mapping[tuple[str, str], Form]] = {("transcriptions", "assemblyai"): AssemblyAi()}
