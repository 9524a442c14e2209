"""Batch input files, with the gateway's model names in them."""

from __future__ import annotations

from typing import Any, BinaryIO

from headrace.batch_lines import exchange
from headrace.gateway.context import RequestContext


def with_models(file: tuple[str, BinaryIO, str], here: RequestContext, deployment: str) -> tuple[str, BinaryIO, str]:
    """The file with the provider's model name of the deployment in every line. Raises BadRequestError naming the line."""
    name, content, kind = file
    known = here.router.get_deployment(deployment)
    written: Any = here.form.open_file()
    group, own = ("", "") if known is None else (known.group, known.model.partition("/")[2] or known.model)
    exchange(content, group, own, written)
    return name, written, kind
