"""An agent, and the model it calls."""

import os
import tempfile

os.chdir(tempfile.mkdtemp())  # agents keep a workspace in the current directory
from swarms import Agent
from swarms.utils.litellm_wrapper import LiteLLM

named = {"llm_base_url": BASE, "llm_api_key": "sim", "max_loops": 1, "autosave": False, "print_on": False}
assert Agent(agent_name="a", model_name="openai/gpt-sim", **named).run("Hello")
ok("agent")
assert LiteLLM(model_name="openai/gpt-sim", base_url=BASE, api_key="sim").run("Hello")
ok("call")
