"""`headrace keys`: manages the gateway's virtual keys from the command line. A running gateway sees changes within a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from headrace.cli.database import database_option, opened
from headrace.cli.terminal import note, pretty, say, write_json, write_table

if TYPE_CHECKING:
    from headrace.gateway.keys.holders import Holder

NAMED = click.argument("key", metavar="KEY")
GRACE = "How long the old token stays valid: 24h, 7d."


@click.group(short_help="Create, list, rotate and delete virtual keys of the gateway.")
def keys() -> None:
    """Virtual keys. KEY is a key's alias, its id, or the key itself."""


@keys.command(short_help="Create a key; its token is shown once.")
@click.option("--alias", "key_alias", metavar="NAME", help="Name of the key.")
@click.option("--models", multiple=True, metavar="NAME", help="A model or pattern it may call; repeat for more. By default all.")
@click.option("--team", "team_id", metavar="ID", help="The team it belongs to.")
@click.option("--user", "user_id", metavar="ID", help="The user it belongs to.")
@click.option("--rpm", "rpm_limit", type=int, metavar="N", help="Requests a minute.")
@click.option("--tpm", "tpm_limit", type=int, metavar="N", help="Tokens a minute.")
@click.option("--max-parallel", "max_parallel_requests", type=int, metavar="N", help="Calls in flight at once.")
@click.option("--budget", "max_budget", type=float, metavar="DOLLARS", help="Dollars it may spend in each --budget-duration.")
@click.option("--budget-duration", metavar="TIME", help="24h, 7d, 30d, 1mo; by default for ever.")
@click.option("--model-rpm", "model_rpm_limit", multiple=True, metavar="MODEL=N", help="Requests a minute of one model; repeat for more.")
@click.option("--model-tpm", "model_tpm_limit", multiple=True, metavar="MODEL=N", help="Tokens a minute of one model.")
@click.option(
    "--model-budget", "model_max_budget", multiple=True, metavar="MODEL=DOLLARS[/TIME]", help="Dollars for one model: gpt-4o=5/30d."
)
@click.option("--duration", metavar="TIME", help="How long the key is valid: 30d.")
@click.option("--role", "user_role", metavar="ROLE", help="proxy_admin, proxy_admin_viewer or internal_user.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Tag recorded with each call; repeat for more.")
@database_option
def create(database: str | None, models: tuple[str, ...], tags: tuple[str, ...], **form: Any) -> None:
    """Create a key and print its token, the only line on standard output. It cannot be shown again."""
    with opened(database) as (found, _):
        from headrace.gateway.admin.key_handlers import check_alias, draft  # late: they load the gateway
        from headrace.gateway.keys import table  # late: see above

        form |= {name: _by_model(f"--{option}", form[name]) for option, name in _BY_MODEL.items()}
        said = {name: value for name, value in {**form, "models": list(models), "tags": list(tags)}.items() if value not in (None, [], {})}
        key, token = draft(said, time.time())
        with found.transaction() as connection:
            check_alias(connection, key)
            table.put(connection, key)
    say(token)
    note(f"{key.id}: only a hash of the token is stored; save the token now")


_BY_MODEL: Final = {"model-rpm": "model_rpm_limit", "model-tpm": "model_tpm_limit", "model-budget": "model_max_budget"}


def _by_model(option: str, given: tuple[str, ...]) -> dict[str, Any]:
    """The value after `=` for each model: a number, or dollars with an optional period."""
    found: dict[str, Any] = {}
    for one in given:
        model, _, said = one.rpartition("=")
        number, _, period = said.partition("/")
        try:
            amount = float(number) if "budget" in option else int(number)
        except ValueError:
            raise click.BadParameter(f"{option} must be like gpt-4o=60, got {one!r}") from None
        if not model or (period and "budget" not in option):
            raise click.BadParameter(f"{option} must be like gpt-4o=60, got {one!r}")
        found[model] = {"budget_limit": amount, "time_period": period} if period else amount
    return found


@keys.command("list", short_help="List the keys.")
@click.option("--json", "as_json", is_flag=True, help="Print everything about them as JSON.")
@database_option
def list_keys(database: str | None, as_json: bool) -> None:
    """List alias, id, end of the token, team, user, status, spend in the current period, budget."""
    with opened(database) as (found, _):
        from headrace.gateway.admin.forms import key_shape  # late: it loads the gateway
        from headrace.gateway.keys import table  # late: see above
        from headrace.gateway.keys.holders import Kind  # late: see above

        now = time.time()
        with found.reading() as connection:
            all_keys = table.listed(connection, Kind.KEY)
            shown = [{"id": key.id, **key_shape(key, table.spent(connection, key, now), now)} for key in all_keys]
    if as_json:
        write_json(shown)
        return
    write_table(("alias", "id", "key", "team", "user", "state", "spent", "budget"), [_row(key) for key in shown], right=("spent", "budget"))


def _row(key: dict[str, Any]) -> tuple[Any, ...]:
    budget = (
        "" if key["max_budget"] is None else f"${key['max_budget']:g}" + (f"/{key['budget_duration']}" if key["budget_duration"] else "")
    )
    names = [key[name] or "" for name in ("key_alias", "id", "key_name", "team_id", "user_id", "status")]
    return (*names, f"${key['spend']:.6f}", budget)


@keys.command(short_help="Replace the token of a key.")
@NAMED
@click.option("--grace", metavar="TIME", help=GRACE)
@database_option
def rotate(database: str | None, key: str, grace: str | None) -> None:
    """Replace the token of a key and print the new one, the only line on standard output."""
    from headrace.gateway.admin.forms import seconds  # late: it loads the gateway
    from headrace.gateway.admin.key_handlers import rotated  # late: see above
    from headrace.gateway.keys.tokens import new_token  # late: see above

    token, wait = new_token(), seconds("--grace", grace) if grace else 0.0
    changed = _change(database, key, lambda held: rotated(held, token, time.time(), wait))
    say(token)
    if changed.former_until is not None:
        note(f"the old token is valid until {datetime.fromtimestamp(changed.former_until, UTC):%Y-%m-%d %H:%M} UTC")


@keys.command(short_help="Disable a key until it is enabled again.")
@NAMED
@database_option
def disable(database: str | None, key: str) -> None:
    """Disable a key. Its settings and spend are kept."""
    _block(database, key, True)


@keys.command(short_help="Enable a disabled key.")
@NAMED
@database_option
def enable(database: str | None, key: str) -> None:
    """Enable a disabled key. Its token is valid again."""
    _block(database, key, False)


@keys.command(short_help="Delete a key for good.")
@NAMED
@database_option
def delete(database: str | None, key: str) -> None:
    """Delete a key. Its calls stay in the ledger."""
    with opened(database) as (found, _), found.transaction() as connection:
        from headrace.gateway.keys import table  # late: it loads the gateway

        table.remove(connection, table.named(connection, key), time.time())
    if pretty():
        say("deleted")


def _block(database: str | None, key: str, blocked: bool) -> None:
    from msgspec.structs import replace  # late: only two commands need it

    changed = _change(database, key, lambda held: replace(held, blocked=blocked, updated=time.time()))
    if pretty():
        say(f"{changed.name or changed.id} is {'disabled' if blocked else 'enabled'}")


def _change(database: str | None, key: str, how: Callable[[Holder], Holder]) -> Holder:
    with opened(database) as (found, _), found.transaction() as connection:
        from headrace.gateway.keys import table  # late: it loads the gateway

        held = table.named(connection, key)
        changed = table.change(connection, held.kind, held.id, how)
        assert changed is not None
        return changed
