"""Opik's evaluation model over litellm."""

import os

os.environ |= {"OPIK_URL_OVERRIDE": "http://127.0.0.1:9/api", "OPIK_TRACK_DISABLE": "true", "OPIK_SENTRY_ENABLE": "False"}
from opik.evaluation.models import LiteLLMChatModel
from pydantic import BaseModel


class Score(BaseModel):
    score: float


model = LiteLLMChatModel(model_name="openai/gpt-sim", api_base=BASE, api_key="sim", track=False)
assert model.generate_string("Hello")
ok("call")
Score.model_validate_json(model.generate_string("Judge", response_format=Score))
ok("structured output")
