"""The evaluation model called, with a schema; sync and async."""

import asyncio
import os

os.environ |= {"DEEPEVAL_TELEMETRY_OPT_OUT": "YES", "DEEPEVAL_UPDATE_WARNING_OPT_IN": "NO"}
from deepeval.models import LiteLLMModel
from pydantic import BaseModel


class Verdict(BaseModel):
    reason: str


model = LiteLLMModel(model="openai/gpt-sim", api_key="sim", base_url=BASE)
said, cost = model.generate("Hello")
assert said
ok("call")
verdict, cost = model.generate("Judge", schema=Verdict)
assert isinstance(verdict, Verdict)
ok("structured output")
assert asyncio.run(model.a_generate("Hello"))[0]
ok("async")
