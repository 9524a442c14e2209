from typing import Any

from headrace import ResponsesAPIResponse as ResponsesAPIResponse
from headrace import acancel_responses as acancel_responses
from headrace import acompact_responses as acompact_responses
from headrace import adelete_responses as adelete_responses
from headrace import aget_responses as aget_responses
from headrace import alist_input_items as alist_input_items
from headrace import aresponses as aresponses
from headrace import cancel_responses as cancel_responses
from headrace import compact_responses as compact_responses
from headrace import delete_responses as delete_responses
from headrace import get_responses as get_responses
from headrace import list_input_items as list_input_items
from headrace import responses as responses

def __getattr__(name: str) -> Any: ...
