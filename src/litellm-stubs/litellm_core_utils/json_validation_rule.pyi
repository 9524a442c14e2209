from typing import Any

from headrace.compat.litellm.texts import validate_schema as validate_schema

def __getattr__(name: str) -> Any: ...
