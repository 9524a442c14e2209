from typing import Any

from headrace.compat.litellm.values import UserAPIKeyAuth as UserAPIKeyAuth

def __getattr__(name: str) -> Any: ...
