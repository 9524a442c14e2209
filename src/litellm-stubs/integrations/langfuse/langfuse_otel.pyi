from typing import Any

from headrace.compat.litellm.langfuse import LangfuseOtelLogger as LangfuseOtelLogger

def __getattr__(name: str) -> Any: ...
