"""A page read by a vision model."""

import asyncio
import base64
import os
import tempfile

import litellm

litellm.register_model({"openai/gpt-sim": {"litellm_provider": "openai", "mode": "chat", "supports_vision": True}})
from pyzerox.models.modellitellm import litellmmodel

model = litellmmodel(model="openai/gpt-sim", api_base=BASE)
ok("environment, vision, key")
png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
path = os.path.join(tempfile.mkdtemp(), "page.png")
with open(path, "wb") as file:
    file.write(base64.b64decode(png))
answer = asyncio.run(model.completion(image_path=path, maintain_format=False, prior_page=""))
assert answer.content and answer.input_tokens > 0
ok("a page")
