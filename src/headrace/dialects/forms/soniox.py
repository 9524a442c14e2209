"""Transcriptions by Soniox: uploads the audio, polls for its transcription, and deletes both.

soniox.com/docs/stt/api-reference, as LiteLLM 1.106.2 has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, Next, given, posted
from headrace.dialects.forms.tasks import broken, with_key
from headrace.errors import Kind
from headrace.multipart import form_of
from headrace.types import Json
from headrace.wire import HttpRequest, HttpResponse

_OURS: Final = ("model", "file", "language", "response_format", "timestamp_granularities", "temperature", "prompt", "user")


class Soniox:
    """`language` is a hint; Soniox's own parameters pass through. `response_format` may be json, verbose_json, text, srt or vtt."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        form = form_of({"file": body["file"]})
        headers = {**{name.lower(): value for name, value in target.headers}, "content-type": form.content_type}
        return HttpRequest("POST", f"{target.base_url.rstrip('/')}/files", tuple(headers.items()), upload=form)

    def then(self, response: HttpResponse, step: str, body: Body, target: Target) -> Next | None:
        if step == "transcript":
            return None
        told = msgspec.json.decode(response.body)
        if not step:
            asked = posted(target, "/transcriptions", {"model": target.model, "file_id": told["id"], **self._asked(body)})
            return Next("made", asked, tidy=self._forgotten(target, file=told["id"]))
        tidy = self._forgotten(target, transcription=told["id"], file=told["file_id"])
        match told["status"]:
            case "completed":
                return Next("transcript", self._at(target, "GET", f"/transcriptions/{_id(told)}/transcript"), tidy=tidy)
            case "error":
                self_said = told.get("error_message") or told.get("error_type") or "no reason given"
                raise broken(Kind.SERVER, f"the transcription has failed: {self_said}", target)
        return Next("waiting", self._at(target, "GET", f"/transcriptions/{_id(told)}"), 1.0, tidy=tidy)

    @staticmethod
    def _asked(body: Body) -> dict[str, Json]:
        hints = [body["language"]] if body.get("language") else []
        hints += [hint for hint in body.get("language_hints") or () if hint not in hints]
        return {**given(body, *_OURS, "language_hints"), **({"language_hints": hints} if hints else {})}

    @staticmethod
    def _at(target: Target, method: str, path: str) -> HttpRequest:
        return with_key(target, method, f"{target.base_url.rstrip('/')}{path}")

    def _forgotten(self, target: Target, *, file: str, transcription: str = "") -> tuple[HttpRequest, ...]:
        kept = ((f"/transcriptions/{quote(transcription, safe='')}" if transcription else ""), f"/files/{quote(file, safe='')}")
        return tuple(self._at(target, "DELETE", path) for path in kept if path)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        tokens = answer.get("tokens") or []
        words = list(_words(tokens))
        languages = {token["language"] for token in tokens if token.get("language")}
        wanted = body.get("response_format")
        text = _cues(words, wanted) if wanted in ("srt", "vtt") else answer["text"]
        said = {
            "text": text,
            "task": "transcribe",
            "language": languages.pop() if len(languages) == 1 else body.get("language"),
            "duration": words[-1]["end"] if words else None,
            "words": words or None,
        }
        return {**answer, **{name: value for name, value in said.items() if value is not None}}


def _id(told: Mapping[str, Any]) -> str:
    return quote(told["id"], safe="")


def _words(tokens: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Tokens joined into words. A leading space or a new speaker starts a word. Translations are skipped because they have no times."""
    word: dict[str, Any] = {}
    for token in tokens:
        if token.get("translation_status") == "translation" or token.get("start_ms") is None:
            continue
        speaker = token.get("speaker")
        if word and (token["text"][:1].isspace() or word.get("speaker") != speaker):
            yield word
            word = {}
        if not word:
            word = {"word": "", "start": token["start_ms"] / 1000, **({} if speaker is None else {"speaker": speaker})}
        word["word"] = (word["word"] + token["text"]).lstrip()
        word["end"] = token["end_ms"] / 1000
    if word:
        yield word


_CUE: Final = 10
"""Words per subtitle."""


def _cues(words: Sequence[Mapping[str, Any]], kind: str) -> str:
    mark = "," if kind == "srt" else "."
    cues = []
    for number, start in enumerate(range(0, len(words), _CUE), 1):
        some = words[start : start + _CUE]
        span = f"{_clock(some[0]['start'], mark)} --> {_clock(some[-1]['end'], mark)}"
        head = f"{number}\n" if kind == "srt" else ""
        cues.append(f"{head}{span}\n{' '.join(word['word'] for word in some)}\n")
    return ("WEBVTT\n\n" if kind == "vtt" else "") + "\n".join(cues)


def _clock(seconds: float, mark: str) -> str:
    total, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{total // 3600:02}:{total // 60 % 60:02}:{total % 60:02}{mark}{thousandths:03}"


FORMS: Final[Mapping[tuple[str, str], Form]] = {("transcriptions", "soniox"): Soniox()}
