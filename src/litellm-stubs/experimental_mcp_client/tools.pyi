from typing import Any

from headrace.compat.litellm.tools import call_openai_tool as call_openai_tool
from headrace.compat.litellm.tools import load_mcp_tools as load_mcp_tools
from headrace.compat.litellm.tools import transform_mcp_tool_to_openai_tool as transform_mcp_tool_to_openai_tool
from headrace.compat.litellm.tools import transform_openai_tool_call_request_to_mcp_tool_call_request as transform_openai_tool_call_request_to_mcp_tool_call_request

def __getattr__(name: str) -> Any: ...
