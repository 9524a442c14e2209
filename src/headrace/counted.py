"""Token counts of prompts: the provider's own where it has an endpoint for it, else headrace's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from headrace.calls import Operation
from headrace.objects import JsonObject


class TokenCountResponse(JsonObject):
    """A token count and its source."""

    total_tokens: int = 0
    request_model: str = ""
    """As the caller named it."""
    model_used: str = ""
    tokenizer_type: str = ""
    """`<provider>_api` if the provider counted, `local_tokenizer` if headrace did, exactly or by estimate."""
    original_response: Any = None


COUNT: Final = Operation("count_tokens", "messages", TokenCountResponse, None)


def counted_here(name: str, model: str, messages: Sequence[Any], options: Mapping[str, Any]) -> TokenCountResponse:
    """A count by headrace's own tokenizer. `name`: the model as the caller named it."""
    from headrace.models.counting import token_counter  # late: few programs count tokens

    total = token_counter(model, messages=messages, tools=options.get("tools"))
    return TokenCountResponse(total_tokens=total, request_model=name, model_used=model, tokenizer_type="local_tokenizer")
