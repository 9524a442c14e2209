"""Speech by cloud services: Amazon Polly and Azure Speech. The response is the audio itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, given, posted
from headrace.errors import BadRequestError, UnsupportedParamsError
from headrace.types import Json
from headrace.wire import HttpRequest

_WORDS: Final = ("model", "input", "voice", "response_format", "speed", "instructions", "user")


def _voice(body: Body, target: Target, example: str) -> str:
    voice = body.get("voice")
    if not isinstance(voice, str) or not voice:
        raise UnsupportedParamsError(f"{target.provider} needs one of its own voices, such as {example}", target.model, target.provider)
    return voice


def _format(body: Body, target: Target, known: Mapping[str, str]) -> str:
    """OpenAI's audio format by the provider's name; the provider's own names pass through."""
    wanted = body.get("response_format")
    if wanted in ("flac", "aac", "wav") and wanted not in known:
        raise UnsupportedParamsError(
            f"{target.provider} does not support {wanted}: response_format may be {', '.join(known)}", target.model, target.provider
        )  # fmt: skip
    return known["mp3"] if wanted is None else known.get(str(wanted), str(wanted))


def _spoken(body: Body) -> str:
    text = body.get("input")
    if not isinstance(text, str):
        raise BadRequestError("input must be a string")
    return text


class Polly:
    """`/v1/speech`: the model is Polly's engine (botocore's model of Polly, 2016-06-10). Polly's own parameters pass through."""

    FORMATS: Final = {"mp3": "mp3", "opus": "ogg_opus", "pcm": "pcm"}

    def write(self, body: Body, target: Target) -> HttpRequest:
        said = {
            "Engine": target.model,
            "OutputFormat": _format(body, target, self.FORMATS),
            "Text": _spoken(body),
            "VoiceId": _voice(body, target, "Joanna"),
        }
        return posted(target, "/speech", {**said, **given(body, *_WORDS)})

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        """Never called: the response is the audio itself."""
        return dict(answer)


class AzureSpeech:
    """`/cognitiveservices/v1` takes SSML, which is built from text, voice and speed."""

    FORMATS: Final = {
        "mp3": "audio-24khz-48kbitrate-mono-mp3",
        "opus": "ogg-24khz-16bit-mono-opus",
        "wav": "riff-24khz-16bit-mono-pcm",
        "pcm": "raw-24khz-16bit-mono-pcm",
    }

    def write(self, body: Body, target: Target) -> HttpRequest:
        voice = _voice(body, target, "en-US-AvaNeural")
        headers = {name.lower(): value for name, value in target.headers}
        headers |= {"content-type": "application/ssml+xml", "x-microsoft-outputformat": _format(body, target, self.FORMATS)}
        ssml = self._ssml(_spoken(body), voice, body.get("speed"))
        return HttpRequest("POST", f"{target.base_url.rstrip('/')}/cognitiveservices/v1", tuple(headers.items()), ssml.encode())

    @staticmethod
    def _ssml(text: str, voice: str, speed: Json) -> str:
        """The SSML. A voice's name begins with its language; OpenAI's speed is a factor, SSML's rate a change in percent."""
        language = "-".join(voice.split("-")[:2])
        said = escape(text)
        if speed is not None:
            if isinstance(speed, bool) or not isinstance(speed, int | float):
                raise BadRequestError("speed must be a number")
            said = f'<prosody rate="{(speed - 1) * 100:+.2f}%">{said}</prosody>'
        space = 'version="1.0" xmlns="http://www.w3.org/2001/10/synthesis"'
        return f"<speak {space} xml:lang={quoteattr(language)}><voice name={quoteattr(voice)}>{said}</voice></speak>"

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        """Never called: the response is the audio itself."""
        return dict(answer)


FORMS: Final[Mapping[tuple[str, str], Form]] = {("speech", "polly"): Polly(), ("speech", "azure_speech"): AzureSpeech()}
