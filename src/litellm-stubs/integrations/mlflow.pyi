from typing import Any

from headrace.compat.litellm.integrations import MlflowLogger as MlflowLogger

def __getattr__(name: str) -> Any: ...
