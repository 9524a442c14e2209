"""Names of litellm's that are not here."""

from __future__ import annotations

import operator
from typing import Any, Final

import pytest

from headrace.compat.litellm import stand_in

MISSING: Final = {
    "videos are not supported": "video_generation avideo_generation videos.video_status videos.avideo_remix videos.video_content",
    "vector stores are not supported": "vector_store_file_list avector_store_file_delete vector_store_file_create",
    "fine-tuning is not supported": "create_fine_tuning_job alist_fine_tuning_jobs",
    "threads and assistants are not supported; use responses": "get_assistants acreate_assistants",
    "use the gateway's pass-through endpoints": "llm_passthrough_route allm_passthrough_route",
    "add providers with register_provider or CustomLLM": """llms.vertex_ai.gemini.transformation llms.vertex_ai.common_utils.VertexAIError
        llms.fireworks_ai.chat.transformation.FireworksAIConfig llms.anthropic.chat.transformation.AnthropicConfig
        llms.chatgpt.authenticator.Authenticator""",
    "use completion_cost": "litellm_core_utils.llm_cost_calc.tool_call_cost_tracking.StandardBuiltInToolCostTracking",
    "use cost_per_token": "cost_calculator.fireworks_ai_cost_per_token",
    "use embedding": "main.VertexMultimodalEmbedding",
    "use completion or responses": "completion_extras.responses_api_bridge.transformation_handler.transform_response",
}
"""Of the names that single packages take from litellm those that are not here, and what is said of them."""


@pytest.mark.parametrize(("use", "name"), [(use, name) for use, names in MISSING.items() for name in names.split()])
def test_a_name_that_is_not_there_says_what_to_use(use: str, name: str) -> None:
    litellm: Any = stand_in.module("litellm")
    with pytest.raises(AttributeError, match=use):
        operator.attrgetter(name)(litellm)
