from typing import Any

from headrace.compat.litellm.questions import get_model_cost_map as get_model_cost_map

def __getattr__(name: str) -> Any: ...
