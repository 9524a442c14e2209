from typing import Any

from headrace.compat.litellm.integrations import PrometheusLogger as PrometheusLogger

def __getattr__(name: str) -> Any: ...
