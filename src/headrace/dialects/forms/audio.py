"""Transcriptions and speech."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, given, posted
from headrace.errors import UnsupportedParamsError
from headrace.multipart import form_of
from headrace.types import Json
from headrace.wire import HttpRequest

_ALWAYS: Final = ("model", "file", "response_format", "timestamp_granularities", "temperature", "prompt", "user")
"""OpenAI's parameters that these providers do not have, or whose effect their responses always include."""


class Deepgram:
    """`/listen`: the audio is the body, all other parameters the query (developers.deepgram.com, as LiteLLM 1.106.2 has it)."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        query = {name: _word(value) for name, value in given(body, *_ALWAYS).items()}
        headers = (*((name, value) for name, value in target.headers if name != "content-type"), ("content-type", body["file"].type))
        url = f"{target.base_url}/listen?{urlencode({'model': target.model, **query}, doseq=True)}"
        return HttpRequest("POST", url, headers, upload=body["file"])

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        channel = answer["results"]["channels"][0]
        best = channel["alternatives"][0]
        words = [{**word, "word": word.get("punctuated_word") or word["word"]} for word in best.get("words") or []]
        paragraphs = (best.get("paragraphs") or {}).get("transcript")
        spoken = any("speaker" in word for word in words)  # the paragraphs then name the speakers
        said: dict[str, Json] = {
            "text": paragraphs if spoken and paragraphs else best["transcript"],
            "task": "transcribe",
            "language": channel.get("detected_language") or body.get("language"),
            "duration": (answer.get("metadata") or {}).get("duration"),
            "words": words or None,
        }
        return {**answer, **{name: value for name, value in said.items() if value is not None}}


def _word(value: Json) -> Json:
    return str(value).lower() if isinstance(value, bool) else value


class ElevenLabsListening:
    """`/v1/speech-to-text` (elevenlabs.io/docs/api-reference, as LiteLLM 1.106.2 has it)."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        said = given(body, "model", "language", "response_format", "timestamp_granularities", "prompt", "user")
        if body.get("language"):
            said.setdefault("language_code", body["language"])
        form = form_of({"model_id": target.model, **said})
        headers = (*((name, value) for name, value in target.headers if name != "content-type"), ("content-type", form.content_type))
        return HttpRequest("POST", f"{target.base_url}/v1/speech-to-text", headers, upload=form)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        words = [{**word, "word": word["text"]} for word in answer.get("words") or [] if word.get("type", "word") == "word"]
        kept = {name: value for name, value in answer.items() if name != "words"}
        said = {"task": "transcribe", "language": answer.get("language_code"), "words": words}
        return {**kept, "text": answer["text"], **{name: value for name, value in said.items() if value}}


class ElevenLabsSpeaking:
    """`/v1/text-to-speech/{voice}`: the voice is in the URL, the audio format in the query."""

    FORMATS: Final = {"mp3": "mp3_44100_128", "opus": "opus_48000_128", "pcm": "pcm_24000"}
    """OpenAI's audio formats by ElevenLabs' names; pcm at OpenAI's sample rate."""

    VOICES: Final = {
        "alloy": "21m00Tcm4TlvDq8ikWAM",
        "ash": "AZnzlk1XvdvUeBnXmlld",
        "coral": "9BWtsMINqrJLrRacOk9x",
        "onyx": "29vD33N1CtxCmqQRPOHJ",
        "sage": "CwhRBWXzGAHq8TQ4Fs17",
        "verse": "CYw3kZ02Hs0563khs1Fj",
    }
    """ElevenLabs voices that LiteLLM 1.106.2 uses for OpenAI's voice names; any other name is an ElevenLabs voice id."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        voice, wanted = body.get("voice"), body.get("response_format")
        if not isinstance(voice, str) or not voice:
            raise UnsupportedParamsError("elevenlabs needs a voice: its id, or one of OpenAI's names", target.model, target.provider)
        said = given(body, "model", "input", "voice", "response_format", "speed", "user", "instructions")
        if body.get("speed") is not None:
            said["voice_settings"] = {**(said.get("voice_settings") or {}), "speed": body["speed"]}
        query = "" if wanted is None else f"?{urlencode({'output_format': self.FORMATS.get(wanted, wanted)})}"
        path = f"/v1/text-to-speech/{quote(self.VOICES.get(voice, voice), safe='')}{query}"
        return posted(target, path, {"text": body["input"], "model_id": target.model, **said})

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        """Never called: the response is the audio itself."""
        return dict(answer)


FORMS: Final[Mapping[tuple[str, str], Form]] = {
    ("transcriptions", "deepgram"): Deepgram(),
    ("transcriptions", "elevenlabs"): ElevenLabsListening(),
    ("speech", "elevenlabs"): ElevenLabsSpeaking(),
}
