"""Endpoints beside those that a dialect holds: called as their users call them, over a transport that gives the recorded reply."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from conformance.checks import differences
from conformance.corpus import Exchange
from headrace import direct
from headrace.calls import IMAGES, MODERATIONS, OCR, SPEECH, TRANSLATIONS, Operation
from headrace.endpoints import MODELS
from headrace.kept import BATCH, FILE, FILE_DELETE, FILES
from headrace.ports import Ports
from headrace.providers.catalog import catalog
from headrace.runtime.clocks import BlockingClock
from headrace.wire import Headers, HttpRequest, HttpResponse


class Replay:
    """A transport that knows one reply, and keeps what was asked."""

    def __init__(self, exchange: Exchange) -> None:
        self.asked: HttpRequest | None = None
        self.reply = HttpResponse(exchange.status, Headers.of(exchange.headers), recorded(exchange))

    async def fetch(self, request: HttpRequest, timeouts: Any, *, max_body: int = 0) -> HttpResponse:
        self.asked = request
        return self.reply

    async def open(self, request: HttpRequest, timeouts: Any) -> Any:
        raise AssertionError("nothing here is streamed")

    def blocking(self) -> Ports:
        return Ports(self, BlockingClock(), lambda: 0.5)

    suspending = blocking

    def random(self) -> float:
        return 0.5


def recorded(exchange: Exchange) -> bytes:
    if exchange.response_b64:
        return base64.b64decode(exchange.response_b64)
    return json.dumps(exchange.response_json).encode()


class Place(NamedTuple):
    """Where an endpoint was recorded, and the operation that is called there."""

    method: str
    path: str
    """Its end; `{id}` is what stands behind the last slash."""
    operation: Operation
    prompt: str = ""
    """The field of the recorded body that is the call's own argument."""


PLACES = (
    Place("GET", "/models", MODELS),
    Place("POST", "/files", FILES),
    Place("GET", "/files/{id}", FILE),
    Place("DELETE", "/files/{id}", FILE_DELETE),
    Place("GET", "/batches/{id}", BATCH),
    Place("GET", "/batch/jobs/{id}", BATCH),
    Place("POST", "/moderations", MODERATIONS, "input"),
    Place("POST", "/ocr", OCR, "document"),
    Place("POST", "/images/generations", IMAGES, "prompt"),
    Place("POST", "/audio/speech", SPEECH, "input"),
    Place("POST", "/audio/translations", TRANSLATIONS),
)

UPLOAD = ("upload.bin", b"recorded without its form")


def place_of(exchange: Exchange) -> tuple[Place, dict[str, str]] | None:
    path = exchange.path or ""
    for place in PLACES:
        at, _, id_ = path.rpartition("/")
        kept = place.path.endswith("{id}")
        if exchange.method == place.method and f"{at}/{'{id}' if kept else id_}".endswith(place.path):
            return place, {"id": id_} if kept else {}
    return None


def called(exchange: Exchange) -> list[str]:
    """The call goes where it was recorded to go, with the recorded body, and what it gives back is the recorded answer."""
    found = place_of(exchange)
    assert found is not None
    place, named = found
    body = dict(exchange.request_json or {})
    prompt = body.pop(place.prompt, None) if place.prompt else UPLOAD if place.operation.files else None
    model = f"{exchange.provider}/{body.pop('model', 'whisper-1' if place.operation.named else '-')}"
    replay = Replay(exchange)
    answer = direct.blocking(replay, place.operation, model, prompt, False, {**body, "api_key": "sk-test"}, named)
    assert replay.asked is not None
    wrong = [] if replay.asked.method == exchange.method else [f"asked by {replay.asked.method}"]
    wrong += [] if urlsplit(replay.asked.url).path == exchange.path else [f"asked at {replay.asked.url}"]
    if place.prompt:
        wrong += differences(exchange.request_json, json.loads(replay.asked.body))
    if place.operation.reads == "bytes":
        return wrong + ([] if answer.content == recorded(exchange) else ["the bytes differ"])
    if place.operation is MODELS:
        return wrong + listed(exchange.response_json, answer.model_dump())
    if place.operation.of in shipped_forms(exchange.provider):
        return wrong + kept(exchange.response_json, answer.model_dump())
    return wrong + list(differences(exchange.response_json, answer.model_dump()))


def listed(told: Any, answer: Any) -> list[str]:
    """Every model by its name, with all that was told of it."""
    them = told.get("data") or told.get("models")
    names = [str(one.get("id") or one["name"]).removeprefix("models/") for one in them]
    wrong = [] if [one["id"] for one in answer["data"]] == names else ["other models are listed"]
    lost = [
        problem for one, made in zip(them, answer["data"], strict=True) for problem in differences(one, made) if "the copy" not in problem
    ]
    return wrong + lost


ELSEWHERE = {("deepseek", "models"): "asked at its address without a version, which takes it as well"}
"""Recordings that no call of headrace's makes, and why."""

RESTATED = ("metadata", "request_counts", "status", "errors", "purpose", "object", "created_at", "expires_at", "completed_at")
"""Fields of a batch or file whose words are OpenAI's, where the provider has others under the same name."""


def shipped_forms(provider: str) -> Mapping[str, str]:
    row = catalog().get(provider)
    return {} if row is None else row.forms


def kept(told: Any, answer: Any) -> list[str]:
    """What a provider keeps in a form of its own: all that it said is there, beside OpenAI's words."""
    said = {name: value for name, value in told.items() if name not in RESTATED}
    return list(differences(said, {name: answer.get(name) for name in said}))


def concerned(exchanges: Iterable[Exchange]) -> Iterator[Exchange]:
    """Those whose provider has that endpoint in OpenAI's form."""
    for exchange in exchanges:
        known = (
            exchange.status < 300
            and (exchange.endpoint in ENDPOINTS or (exchange.path or "").endswith("/ocr"))
            and (exchange.provider, exchange.endpoint) not in ELSEWHERE
        )
        if known and place_of(exchange) is not None:
            yield exchange


ENDPOINTS = frozenset({"models", "files", "batches", "moderations", "images", "audio"})
