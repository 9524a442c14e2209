"""Answers under litellm's names go through pickle, with all that is inside them."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import pickle
import headrace
headrace.install_as_litellm()
import litellm
details = {"cached_tokens": 1}
usage = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3, "prompt_tokens_details": details}
choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
answer = litellm.ModelResponse(choices=[choice], usage=usage)
assert type(answer.usage.prompt_tokens_details).__module__ == "litellm.types.utils"
assert pickle.loads(pickle.dumps(answer)) == answer
"""


def test_the_parts_of_an_answer_are_found_where_they_say_they_live() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
