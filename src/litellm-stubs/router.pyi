from typing import Any

from headrace import Router as Router

def __getattr__(name: str) -> Any: ...
