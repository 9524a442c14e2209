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
        "import litellm; assert litellm.ocr is headrace.ocr and litellm.aocr is headrace.aocr",
        "from litellm.experimental_mcp_client.tools import transform_mcp_tool_to_openai_tool, load_mcp_tools",
        "from litellm.litellm_core_utils.prompt_templates.factory import anthropic_messages_pt",
        "from litellm.proxy.common_utils.callback_utils import add_guardrail_to_applied_guardrails_header",
        "from inspect import iscoroutinefunction as c; import litellm; assert c(litellm.acompletion) and not c(litellm.completion)",
    ],
)
def test_programs_find_what_they_import(code: str) -> None:
    run(code)


def test_what_is_not_there_says_so() -> None:
    said = run("import litellm\ntry: litellm.video_list\nexcept AttributeError as error: print(error)")
    assert said == "headrace does not offer litellm.video_list: videos are not supported; use the provider's own SDK"


@pytest.mark.parametrize(
    ("path", "use"),
    [
        ("litellm.llms.anthropic.chat.transformation", "register_provider"),
        ("litellm.completion_extras.responses_api_bridge.transformation_handler", "use completion or responses"),
        ("litellm.integrations.langfuse.langfuse", "LangfuseOtelLogger"),
        ("litellm.videos", "videos are not supported"),
        ("litellm.proxy.proxy_server", "headrace serve"),
    ],
)
def test_a_module_that_is_not_there_says_what_to_use(path: str, use: str) -> None:
    said = run(f"try: import {path}\nexcept ModuleNotFoundError as error: print(error.name, error)")
    assert said.startswith("litellm.")
    assert use in said


def test_installing_beside_the_real_one_is_refused() -> None:
    code = "import sys, types; sys.modules['litellm'] = types.ModuleType('litellm'); import headrace; headrace.install_as_litellm()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "litellm is imported already" in done.stderr


@pytest.mark.parametrize(
    "code",
    [
        (
            "import litellm\nfor name in 'types.utils exceptions cost_calculator utils main router caching _logging'.split():\n"
            "    at = litellm\n    for part in name.split('.'): at = getattr(at, part)"
        ),
        (
            "import litellm, litellm.utils, litellm.main, litellm.types.utils as t\n"
            "assert t.ModelResponse is litellm.ModelResponse is litellm.utils.ModelResponse is litellm.main.ModelResponse"
        ),
        "import litellm.responses.main, litellm; assert litellm.responses is headrace.responses",
        "import importlib.metadata as m; assert tuple(map(int, m.version('litellm').split('.')[:2])) >= (1, 52)",
        "import importlib.metadata as m; assert 'litellm' in {found.metadata['Name'] for found in m.distributions()}",
        "import litellm; assert litellm.ModelResponse.__module__.startswith('litellm.types.')",
        (
            "import litellm, pickle; r = litellm.completion('gpt-4o', [{'role': 'user', 'content': 'x'}], mock_response='y')\n"
            "assert pickle.loads(pickle.dumps(r)).choices[0].message.content == 'y'\n"
            "assert litellm.ModelResponse(**r.model_dump()) == r"
        ),
        (
            "import litellm; litellm.success_callback = None or []; litellm.success_callback.append(print)\n"
            "assert litellm.success_callback == [print]"
        ),
        "import litellm, sys; litellm.telemetry = False; litellm._dspy_logging_configured = True",
        "import litellm; assert 'PermissionDeniedError' not in dir(litellm); litellm.PermissionDeniedError; litellm.AzureOpenAIError",
        "import litellm; litellm._logging._disable_debugging(); assert litellm._logging.verbose_logger.handlers",
        "import litellm\ntry: litellm.get_llm_provider('nobody')\nexcept litellm.BadRequestError as e: assert 'Provider NOT' in str(e)",
        "import litellm; assert litellm.supports_vision('openai/gpt-4o') and litellm.supports_vision('nobody/knows') is False",
    ],
)
def test_the_module_behaves_as_its_users_expect(code: str) -> None:
    run(code)


def test_every_path_and_name_of_the_tables_is_there() -> None:
    run(
        "from importlib import import_module\nfrom headrace.compat.litellm import names\n"
        "for path in names.PATHS:\n    for name in names.listed(path): getattr(import_module(path), name)"
    )


def test_a_module_that_is_not_there_says_so() -> None:
    said = run("try: import litellm.proxy.proxy_server\nexcept ImportError as error: print(error)")
    assert "headrace does not offer litellm.proxy.proxy_server" in said
    assert "gateway" in said


def test_exceptions_are_the_openai_sdk_s_as_well_whoever_is_imported_first() -> None:
    check = "assert issubclass(litellm.RateLimitError, openai.RateLimitError) and issubclass(litellm.Timeout, openai.APITimeoutError)\n"
    caught = "try: raise litellm.RateLimitError('slow', 'openai', 'm')\nexcept openai.RateLimitError as e: assert e.message == 'slow'"
    run(f"import litellm, openai\n{check}{caught}")
    done = subprocess.run(
        [sys.executable, "-c", f"import openai, headrace; headrace.install_as_litellm(); import litellm\n{check}{caught}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_headrace_itself_can_be_imported_under_the_name() -> None:
    code = (
        "import headrace as litellm\nseen = []\nlitellm.success_callback = [lambda *told: seen.append(told)]\n"
        "litellm.completion('gpt-4o', [{'role': 'user', 'content': 'x'}], mock_response='y')\nassert len(seen) == 1\n"
        "assert litellm.supports_vision('openai/gpt-4o')\nfrom headrace import types; assert types.__name__ == 'headrace.types'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_program_runs_unchanged(tmp_path: object) -> None:
    script = f"{tmp_path}/program.py"
    with open(script, "w") as out:
        out.write("import sys\nfrom litellm import completion\n")
        out.write(
            "print(sys.argv[1], completion('gpt-4o', [{'role': 'user', 'content': 'x'}], mock_response='y').choices[0].message.content)"
        )
    command = [sys.executable, "-m", "headrace.compat.litellm", script, "said"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "said y\n", done.stderr
