"""Runs one flow in a dependent's environment: `python flow.py PATH`. Flows get `BASE`, the simulator's URL, and `ok`,
which reports a success."""

import os
import runpy
import sys

import headrace

headrace.install_as_litellm()


def ok(what: str) -> None:
    print(f"ok {what}", flush=True)


runpy.run_path(sys.argv[1], init_globals={"BASE": os.environ["OPENAI_API_BASE"], "ok": ok}, run_name="__main__")
