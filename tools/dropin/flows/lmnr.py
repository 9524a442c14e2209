"""Laminar, which instruments litellm if it is installed, and its older callback."""

import litellm
from lmnr import Instruments, Laminar, LaminarLiteLLMCallback
from lmnr.opentelemetry_lib.utils.package_check import is_package_installed

assert is_package_installed("litellm")
Laminar.initialize(project_api_key="x" * 64, base_url="http://127.0.0.1", http_port=9, grpc_port=9, instruments={Instruments.LITELLM})
litellm.callbacks = [LaminarLiteLLMCallback()]
asked = dict(model="openai/gpt-sim", api_base=BASE, api_key="sim", messages=[{"role": "user", "content": "Hello"}])
assert litellm.completion(**asked).choices[0].message.content
ok("call")
assert list(litellm.completion(**asked, stream=True))
ok("stream")
