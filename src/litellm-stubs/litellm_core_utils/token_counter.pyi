from typing import Any

from headrace import token_counter as token_counter

def __getattr__(name: str) -> Any: ...
