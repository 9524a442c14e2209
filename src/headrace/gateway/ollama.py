"""Ollama's own paths, for programs that speak to nothing else: its chat, its vectors, and the models it is asked for.

github.com/ollama/ollama/blob/main/docs/api.md, read 2026-11.
"""

from __future__ import annotations

from typing import Any, Final

from headrace import __version__
from headrace.calls import EMBEDDINGS
from headrace.errors import BadRequestError
from headrace.gateway.asking import Finished, Here, Listed, Reply, wanted
from headrace.gateway.requests import Asked
from headrace.models.info import supports
from headrace.served import OLLAMA_CHAT

_TAG: Final = ":latest"
"""What its programs add to a name without a tag."""


def chat(here: Here, asked: Asked, body: dict[str, Any]) -> Reply:
    """Ollama streams unless it is told not to."""
    return wanted(OLLAMA_CHAT, {"stream": True, **_named(here, body)})


def embed(here: Here, asked: Asked, body: dict[str, Any]) -> Reply:
    """How long a model stays loaded, and whether a text may be cut, other providers cannot be told."""
    for name in ("keep_alive", "truncate"):
        body.pop(name, None)
    call = wanted(EMBEDDINGS, _named(here, body))

    def finished(made: Any) -> dict[str, Any]:
        counted = {} if made.usage is None else {"prompt_eval_count": made.usage.prompt_tokens}
        return {"model": call.model, "embeddings": [one.embedding for one in made.data], **counted}

    return Finished(call, finished)


def tags(here: Here, asked: Asked, body: dict[str, Any]) -> Reply:
    return Listed({"models": [_told(name) for name in here.names()]})


def show(here: Here, asked: Asked, body: dict[str, Any]) -> Reply:
    said = {**body, "model": body.get("model") or body.get("name")}
    model = _named(here, said)["model"]
    if not isinstance(model, str) or not model:
        raise BadRequestError("model must be the name of a model, such as those that /api/tags lists")
    meant = here.meant(model)
    deployment = here.router.get_deployment_by_model_group_name(meant)
    own = meant if deployment is None else deployment.model
    able = [word for word, what in _ABLE.items() if supports(what, own)]
    return Listed({**_told(model), "model_info": {}, "capabilities": ["completion", *able]})


_ABLE: Final = {"tools": "function_calling", "vision": "vision", "thinking": "reasoning"}


def version(here: Here, asked: Asked, body: dict[str, Any]) -> Reply:
    return Listed({"version": __version__})


def _named(here: Here, body: dict[str, Any]) -> dict[str, Any]:
    """A body that names its model as the gateway does."""
    model = body.get("model")
    if isinstance(model, str) and model.endswith(_TAG) and not here.router.serves(model):
        return {**body, "model": model.removesuffix(_TAG)}
    return body


def _told(name: str) -> dict[str, Any]:
    details = {"parent_model": "", "format": "", "family": "", "families": [], "parameter_size": "", "quantization_level": ""}
    return {"name": name, "model": name, "modified_at": "1970-01-01T00:00:00Z", "size": 0, "digest": "", "details": details}
