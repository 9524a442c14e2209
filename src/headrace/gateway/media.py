"""Operations besides chat and embeddings: images, audio, moderation, rerank."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from headrace.api import Router
from headrace.calls import MODERATIONS, RERANK, Operation, shape
from headrace.errors import BadRequestError, Kind
from headrace.gateway.context import ConvertedCall, Plain, Reply, RequestContext, RouterCall, wanted
from headrace.gateway.forms import flag
from headrace.gateway.requests import IncomingRequest, refusal

Handler = Callable[..., Reply]

_AS_TEXT: Final = {"text": "text/plain; charset=utf-8", "srt": "application/x-subrip; charset=utf-8", "vtt": "text/vtt; charset=utf-8"}


def filed(operation: Operation) -> Callable[..., RouterCall]:
    """Handler for a call whose body is a multipart form."""

    def make(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], model: str = "") -> RouterCall:
        flag(body, "stream")
        for name in operation.files:
            _must_be_files(body.get(name), name)
        return wanted(operation, body, model)

    return make


def _must_be_files(given: Any, name: str) -> None:
    for file in given if isinstance(given, list) else [given]:
        if file is not None and not isinstance(file, tuple):
            raise BadRequestError(f"{name} must be a file part of the form: give it a filename")


def heard(operation: Operation) -> Handler:
    """Handler for a transcription, returned as JSON or as plain text."""
    make = filed(operation)

    def asked_for(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], model: str = "") -> Reply:
        kind = _AS_TEXT.get(str(body.get("response_format")))
        call = make(here, asked, body, model)
        return call if kind is None or call.stream else ConvertedCall(call, partial(_said, kind=kind))

    return asked_for


def _said(made: Any, *, kind: str) -> Plain:
    return Plain(made.text.encode(), kind)


def moderate(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], model: str = "") -> Reply:
    """Handler for moderation. OpenAI's clients may omit the model; then the first moderation model is used."""
    if not model and not body.get("model"):
        body["model"] = next((name for name in here.names() if _moderates(here.router, name)), None)
        if body["model"] is None:
            raise refusal(404, Kind.NOT_FOUND, "model is required: no model of this gateway is known for moderation", "model")
    return wanted(MODERATIONS, body, model)


def _moderates(router: Router, name: str) -> bool:
    found = router.get_deployment_by_model_group_name(name)
    return found is not None and "moderation" in found.model


def rank(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], model: str = "") -> Reply:
    """Handler for rerank."""
    documents = body.get("documents")
    if not isinstance(documents, list) or not documents:
        raise BadRequestError(f"documents must be a list of at least one document, got {shape(documents)}")
    return wanted(RERANK, body, model)
