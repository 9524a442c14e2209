"""How many tokens a prompt has, by its provider's own count where it has one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from headrace.calls import Operation
from headrace.objects import JsonObject


class TokenCountResponse(JsonObject):
    """A count, and whose it is."""

    total_tokens: int = 0
    request_model: str = ""
    """As the caller named it."""
    model_used: str = ""
    tokenizer_type: str = ""
    """`<provider>_api` where the provider counted, `local_tokenizer` where we did, exactly or by estimate."""
    original_response: Any = None


COUNT: Final = Operation("count_tokens", "messages", TokenCountResponse, None)


def counted_here(name: str, model: str, messages: Sequence[Any], options: Mapping[str, Any]) -> TokenCountResponse:
    """Our own count. name: the model as the caller named it."""
    from headrace.models.counting import token_counter  # late: few programs count

    total = token_counter(model, messages=messages, tools=options.get("tools"))
    return TokenCountResponse(total_tokens=total, request_model=name, model_used=model, tokenizer_type="local_tokenizer")
