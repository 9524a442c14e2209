from typing import Any

from headrace.compat.litellm.tools import anthropic_messages_pt as anthropic_messages_pt

def __getattr__(name: str) -> Any: ...
