from typing import Any

from headrace.compat.litellm.guards import add_guardrail_to_applied_guardrails_header as add_guardrail_to_applied_guardrails_header

def __getattr__(name: str) -> Any: ...
