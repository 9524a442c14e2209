"""Weave's traces of calls, which are discarded."""

import asyncio
import os

os.environ |= {"WANDB_MODE": "offline", "WEAVE_DISABLED": "false", "WANDB_API_KEY": "x" * 40}
import litellm
from weave.integrations.litellm.litellm import get_litellm_patcher

patcher = get_litellm_patcher()
assert patcher.attempt_patch()
asked = dict(model="openai/gpt-sim", api_base=BASE, api_key="sim", messages=[{"role": "user", "content": "Hello"}])
assert litellm.completion(**asked).choices[0].message.content
ok("call")
assert list(litellm.completion(**asked, stream=True))
ok("stream")
assert asyncio.run(litellm.acompletion(**asked)).choices[0].message.content
ok("async")
patcher.undo_patch()
