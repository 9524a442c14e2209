from typing import Any

from headrace.compat.litellm.clients import AsyncHTTPHandler as AsyncHTTPHandler
from headrace.compat.litellm.clients import HTTPHandler as HTTPHandler

def __getattr__(name: str) -> Any: ...
