"""headrace under litellm's name. Each case in a process of its own: the name is taken for good."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> str:
    program = f"import headrace\nheadrace.install_as_litellm()\n{code}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "from litellm import Router, completion, acompletion, embedding, aembedding; assert Router is headrace.Router",
        "import litellm; assert litellm.completion is headrace.completion",
        "from litellm.exceptions import RateLimitError, Timeout, APIConnectionError; assert RateLimitError is headrace.RateLimitError",
        "from litellm.types.utils import ModelResponse; from litellm import ModelResponse as M; assert M is ModelResponse",
        "import litellm.types.utils, litellm.router, litellm.main; assert litellm.router.Router is headrace.Router",
        "import importlib.util; assert importlib.util.find_spec('litellm') is not None",
        "import litellm; litellm.drop_params = True; litellm.success_callback = []",
        "headrace.install_as_litellm(); import litellm",
        "import litellm; assert litellm.responses is headrace.responses and litellm.aresponses is headrace.aresponses",
        "from litellm.responses.main import aresponses, ResponsesAPIResponse; assert aresponses is headrace.aresponses",
        "from litellm.types.llms.openai import ResponsesAPIResponse as R; assert R is headrace.ResponsesAPIResponse",
        "import litellm; assert litellm.anthropic.messages.acreate is litellm.anthropic_messages is headrace.aanthropic_messages",
        "from litellm.google_genai import agenerate_content; assert agenerate_content is headrace.agenerate_content",
        "from inspect import iscoroutinefunction as c; import litellm; assert c(litellm.acompletion) and not c(litellm.completion)",
    ],
)
def test_programs_find_what_they_import(code: str) -> None:
    run(code)


def test_what_is_not_there_says_so() -> None:
    said = run("import litellm\ntry: litellm.ocr\nexcept AttributeError as error: print(error)")
    assert "litellm.ocr is not part of what headrace offers" in said


def test_installing_beside_the_real_one_is_refused() -> None:
    code = "import sys, types; sys.modules['litellm'] = types.ModuleType('litellm'); import headrace; headrace.install_as_litellm()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "litellm is imported already" in done.stderr
