"""Autologging, which writes a trace of every call."""

import os
import tempfile

os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "false"
import litellm
import mlflow

mlflow.set_tracking_uri(f"sqlite:///{tempfile.mkdtemp()}/m.db")
mlflow.litellm.autolog()
asked = dict(model="openai/gpt-sim", api_base=BASE, api_key="sim", messages=[{"role": "user", "content": "Hello"}])
assert litellm.completion(**asked).choices[0].message.content
ok("call under autolog")
assert mlflow.search_traces(return_type="list"), "no trace"
ok("trace")
