from typing import Any

from headrace import agenerate_content as agenerate_content
from headrace import agenerate_content_stream as agenerate_content_stream
from headrace import generate_content as generate_content
from headrace import generate_content_stream as generate_content_stream

def __getattr__(name: str) -> Any: ...
