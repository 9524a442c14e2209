from typing import Any

from headrace.compat.litellm.pictures import get_image_dimensions as get_image_dimensions
from headrace import token_counter as token_counter

def __getattr__(name: str) -> Any: ...
