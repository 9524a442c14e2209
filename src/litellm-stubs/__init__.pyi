from typing import Any

from litellm._names import *

REPEATED_STREAMING_CHUNK_LIMIT: Any
_async_failure_callback: Any
_async_input_callback: Any
_async_success_callback: Any
_current_cost: Any
aclient_session: Any
add_function_to_prompt: Any
allowed_fails: Any
anthropic_key: Any
api_base: Any
api_key: Any
api_version: Any
azure_key: Any
budget_duration: Any
cache: Any
caching: Any
caching_with_models: Any
callbacks: Any
client_session: Any
cohere_key: Any
content_policy_fallbacks: Any
context_window_fallbacks: Any
custom_provider_map: Any
default_fallbacks: Any
disable_aiohttp_transport: Any
drop_params: Any
enable_json_schema_validation: Any
failure_callback: Any
fallbacks: Any
groq_key: Any
headers: Any
huggingface_key: Any
input_callback: Any
log_raw_request_response: Any
max_budget: Any
model_alias_map: Any
model_cost_map_url: Any
model_fallbacks: Any
modify_params: Any
num_retries: Any
openai_key: Any
openrouter_key: Any
organization: Any
project: Any
replicate_key: Any
request_timeout: Any
return_response_headers: Any
service_callback: Any
set_verbose: Any
ssl_verify: Any
success_callback: Any
suppress_debug_info: Any
telemetry: Any
turn_off_message_logging: Any
use_client: Any
use_litellm_proxy: Any
verbose: Any
vertex_location: Any
vertex_project: Any

def __getattr__(name: str) -> Any: ...
