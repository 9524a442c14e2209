from typing import Any

from headrace.streams import AsyncStream as ResponsesAPIStreamingIterator
from headrace.streams import Stream as SyncResponsesAPIStreamingIterator

def __getattr__(name: str) -> Any: ...
