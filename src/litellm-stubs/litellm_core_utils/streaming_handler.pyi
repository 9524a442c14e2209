from typing import Any

from litellm._names import *

def __getattr__(name: str) -> Any: ...
