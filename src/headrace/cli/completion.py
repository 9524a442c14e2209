"""`headrace completion`: prints a shell completion script."""

from __future__ import annotations

from typing import Final

import click
from click import shell_completion

from headrace.cli.terminal import note, pretty

WHERE: Final = {
    "bash": 'add to ~/.bashrc: eval "$(headrace completion bash)"',
    "zsh": 'add to ~/.zshrc: eval "$(headrace completion zsh)"',
    "fish": "save as ~/.config/fish/completions/headrace.fish",
}


@click.command(short_help="Print a completion script for your shell.")
@click.argument("shell", type=click.Choice(list(WHERE)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for bash, zsh or fish.

    \b
      bash:  eval "$(headrace completion bash)"   in ~/.bashrc
      zsh:   eval "$(headrace completion zsh)"    in ~/.zshrc
      fish:  headrace completion fish > ~/.config/fish/completions/headrace.fish
    """
    kind = shell_completion.get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}", ctx)
    made = kind(ctx.find_root().command, {}, "headrace", "_HEADRACE_COMPLETE")
    # Not `kind.source`: for bash, that runs the local bash, which need not be where the script will be used.
    print(shell_completion.ShellComplete.source(made))
    if pretty():
        note(WHERE[shell])
