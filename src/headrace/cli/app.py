"""The command group: loads commands on demand, and turns every failure into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

import click
from click import shell_completion

import headrace
from headrace.cli.terminal import complain
from headrace.errors import ConfigurationError, HeadraceError, Kind

PROGRAM: Final = "headrace"
COMPLETE_VARIABLE: Final = "_HEADRACE_COMPLETE"

COMMANDS: Final = {
    "chat": "headrace.cli.chat",
    "embed": "headrace.cli.embed",
    "models": "headrace.cli.models",
    "providers": "headrace.cli.models",
    "simulate": "headrace.cli.simulate",
    "serve": "headrace.cli.serve",
    "keys": "headrace.cli.keys",
    "ledger": "headrace.cli.ledger",
    "doctor": "headrace.cli.doctor",
    "plan": "headrace.cli.plan",
    "completion": "headrace.cli.completion",
}
"""The module of each command, which defines it under the command's name."""

OURS: Final = frozenset({
    Kind.BAD_REQUEST, Kind.UNSUPPORTED_PARAMS, Kind.AUTHENTICATION, Kind.NEVER_FITS, Kind.CONFIGURATION,
})  # fmt: skip
"""Failures that count as bad usage or configuration (exit code 2) if no provider has responded yet."""


class Commands(click.Group):
    """A group that imports a command's module on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        if DEBUG not in command.params:
            command.params.append(DEBUG)
        return command


def _remember_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().meta["headrace.debug"] = True


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        print(f"{PROGRAM} {headrace.__version__}")
        ctx.exit()


@click.pass_context
def _help_alone(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


DEBUG: Final = click.Option(["--debug"], is_flag=True, expose_value=False, callback=_remember_debug, help="Show the traceback of an error.")

VERSION: Final = click.Option(
    ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show the version and exit."
)

commands: Final = Commands(
    name=PROGRAM,
    params=[DEBUG, VERSION],
    invoke_without_command=True,
    callback=_help_alone,
    help="One fast, fair channel to every LLM.",
    epilog="Keys and models come from the environment or a .env file; `headrace doctor` shows what it finds.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def run(arguments: Sequence[str], root: click.Command = commands, program: str = PROGRAM) -> int:
    """The exit code: 0 success, 1 the call failed, 2 bad usage or configuration, 130 interrupted."""
    instruction = os.environ.get(COMPLETE_VARIABLE)
    if instruction:
        return shell_completion.shell_complete(root, {}, PROGRAM, COMPLETE_VARIABLE, instruction)
    context: list[click.Context] = []
    try:
        return _guarded(lambda: _invoke(root, program, arguments, context))
    except (HeadraceError, OSError, click.ClickException) as error:
        if context and context[0].meta.get("headrace.debug"):
            raise
        complain(*_parts(error))
        return _code(error)


def _invoke(root: click.Command, program: str, arguments: Sequence[str], context: list[click.Context]) -> int:
    with root.make_context(program, list(arguments)) as made:
        context.append(made)
        code = root.invoke(made)
    sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _guarded(action: Callable[[], int]) -> int:
    """Handle what ends a program without being an error: an explicit exit, Ctrl-C, a closed pipe."""
    try:
        return action()
    except click.exceptions.Exit as left:
        return left.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        # The interpreter would flush stdout again at exit and report the error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parts(error: Exception) -> tuple[str, list[str]]:
    """The message and its parts: a ConfigurationError may list several problems. Other errors are never split."""
    if not isinstance(error, ConfigurationError):
        return _told(error), []
    message, *several = _told(error).split("\n- ")
    return message, several


def _told(error: Exception) -> str:
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else PROGRAM
        return f"{error.format_message().rstrip('.')} (see: {where} --help)"
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def _code(error: Exception) -> int:
    if isinstance(error, HeadraceError):
        return 2 if error.failure.kind in OURS and error.failure.status is None else 1
    return 2
