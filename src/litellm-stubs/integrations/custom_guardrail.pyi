from typing import Any

from headrace.compat.litellm.listening import CustomGuardrail as CustomGuardrail
from headrace.compat.litellm.listening import log_guardrail_information as log_guardrail_information

def __getattr__(name: str) -> Any: ...
