from typing import Any

from headrace import completion_cost as completion_cost
from headrace import cost_per_token as cost_per_token
from headrace.compat.litellm.questions import get_response_cost_from_hidden_params as get_response_cost_from_hidden_params

def __getattr__(name: str) -> Any: ...
