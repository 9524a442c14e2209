from typing import Any

from headrace.speaking import aanthropic_messages as acreate
from headrace.speaking import anthropic_messages as create

def __getattr__(name: str) -> Any: ...
