from typing import Any

from headrace.compat.litellm.integrations import OpenTelemetry as OpenTelemetry

def __getattr__(name: str) -> Any: ...
