"""`headrace doctor`: checks that the configuration is complete and sensible, and that every deployment responds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
from rich.text import Text

from headrace import api
from headrace.cli.checks import Finding, check_accounts, check_limits, limits_given
from headrace.cli.options import dotenv, own_variables
from headrace.cli.reach import list_models
from headrace.cli.terminal import hide, note, pretty, say, write_json, write_table
from headrace.destinations import Destination, destination
from headrace.errors import ConfigurationError, HeadraceError, NotFoundError
from headrace.gateway.config import examine
from headrace.providers.catalog import find_key
from headrace.providers.rows import Provider
from headrace.routing.plan import Deployment, read_deployment
from headrace.settings import Secret, settings

MARKS: Final = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "broken": ("✗", "red")}

AT_ONCE: Final = 8
"""Deployments checked concurrently."""


@dataclass(slots=True)
class Patient:
    """One deployment being checked."""

    where: str
    deployment: Deployment
    control: dict[str, Any] = field(repr=False)
    to: Destination | None = None
    reached: str = "not asked"
    findings: list[Finding] = field(default_factory=list)

    @property
    def level(self) -> str:
        levels = {finding.level for finding in self.findings}
        return "broken" if "broken" in levels else "warning" if "warning" in levels else "ok"

    def find(self, level: Any, what: str) -> None:
        self.findings.append(Finding(level, self.where, what))


@click.command(short_help="Check settings, keys, limits, and whether every deployment answers.")
@click.argument("config", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--config", "named", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="The same as CONFIG, spelled as for `serve`."
)
@click.option("--call", is_flag=True, help="Request one token if a deployment does not list its models (costs a little).")
@click.option("--offline", is_flag=True, help="Send nothing to any deployment.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for each deployment.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(config: str | None, named: str | None, call: bool, offline: bool, timeout: float, as_json: bool) -> int:
    """Check the settings (environment and .env), or CONFIG (.yaml, .json or .toml) as the gateway reads it.

    The exit code is 1 if something is broken, and 0 if there are only warnings.
    """
    config = named or config
    patients, findings = _of_file(Path(config)) if config is not None else _of_settings()
    for patient in patients:
        _open(patient)
    findings += check_accounts((patient.where, patient.to.account, patient.deployment) for patient in patients if patient.to)
    if not offline:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda patient: _reach(patient, timeout, call), patients))
    findings += [finding for patient in patients for finding in patient.findings]
    findings.sort(key=lambda finding: finding.level != "broken")
    if as_json:
        write_json({"deployments": [_described(patient) for patient in patients], "findings": [_told(finding) for finding in findings]})
    else:
        _show(config, patients, findings)
    return 1 if any(finding.level == "broken" for finding in findings) else 0


# ---- reading ---------------------------------------------------------------------------------------------------------


def _of_settings() -> tuple[list[Patient], list[Finding]]:
    """The deployments of the environment and `.env`, and findings about invalid settings."""
    try:
        return _admit(settings.model_list(), "settings")
    except ConfigurationError as error:
        problems = str(error).split("\n- ")
        return [], [Finding("broken", "settings", problem) for problem in (problems[1:] or problems)]


def _of_file(path: Path) -> tuple[list[Patient], list[Finding]]:
    """The deployments that the gateway would serve, and all errors that would keep it from starting, with line numbers."""
    try:
        examined = examine(path, {**dotenv(), **os.environ})
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    if not examined.deployments and len(examined.problems) == 1 and "model_list" in str(examined.problems[0]):
        raise click.UsageError(str(examined.problems[0]))
    patients: list[Patient] = []
    for deployment in examined.deployments.values():
        patients.append(Patient(_name(deployment, patients), deployment, dict(deployment.control)))
    findings = [Finding("broken", problem.at or examined.name, problem.what) for problem in examined.problems]
    findings += [Finding("warning", examined.name, f"{name} has no effect here") for name in examined.config.unused]
    return patients, findings


def _admit(entries: Sequence[Any], where: str) -> tuple[list[Patient], list[Finding]]:
    """Read each entry by itself, so that an invalid one does not hide problems of the next."""
    found: dict[str, Deployment] = {}
    patients: list[Patient] = []
    findings: list[Finding] = []
    known = {**dotenv(), **os.environ}
    for number, entry in enumerate(entries):
        try:
            deployment = read_deployment(entry, f"{where}[{number}]", known, taken=found)
        except HeadraceError as error:
            findings.append(Finding("broken", f"{where}[{number}]", str(error)))
            continue
        found[deployment.id] = deployment
        patients.append(Patient(_name(deployment, patients), deployment, dict(deployment.control)))
    return patients, findings


def _name(deployment: Deployment, before: Sequence[Patient]) -> str:
    """The id it was given, else its group, numbered from the second of a group on."""
    given = (deployment.given.get("model_info") or {}).get("id")
    if given:
        return str(given)
    same = sum(1 for patient in before if patient.deployment.group == deployment.group)
    return deployment.group if not same else f"{deployment.group} #{same + 1}"


# ---- checking --------------------------------------------------------------------------------------------------------


def _open(patient: Patient) -> None:
    """Check provider, key, URL and limits, which needs no request."""
    deployment = patient.deployment
    patient.control |= own_variables(deployment.model, patient.control)
    hide(patient.control.get("api_key"))
    try:
        patient.to = destination(deployment.model, patient.control)
    except HeadraceError as error:
        patient.find("broken", str(error))
    patient.findings += check_limits(deployment, patient.to.provider.profile if patient.to else "", patient.where)


def _reach(patient: Patient, timeout: float, call: bool) -> None:
    """Request GET /models; if the provider has no such list, with `call`, one token from the model itself."""
    if patient.to is None:
        return
    try:
        listed = {str(model.get("id", model.get("name", ""))) for model in list_models(patient.to, timeout)}
    except NotFoundError:
        _reach_by_call(patient, timeout, call)
    except HeadraceError as error:
        patient.reached = "no"
        patient.find("broken", f"not reached: {error}")
    else:
        patient.reached = "yes"
        if patient.to.model not in listed:
            patient.find("warning", f"{patient.to.host} answers, but does not list a model {patient.to.model!r}")


def _reach_by_call(patient: Patient, timeout: float, call: bool) -> None:
    if not call:
        patient.reached = "lists no models"
        return
    options = {**patient.control, "timeout": timeout, "num_retries": 0}
    try:
        if _embeds(patient.deployment):
            api.embedding(patient.deployment.model, "hi", **options)
        else:
            api.completion(patient.deployment.model, [{"role": "user", "content": "hi"}], max_tokens=1, **options)
    except HeadraceError as error:
        patient.reached = "no"
        patient.find("broken", f"a call for one token failed: {error}")
    else:
        patient.reached = "yes, by a call"


def _embeds(deployment: Deployment) -> bool:
    """Whether it is an embedding model: by litellm's `model_info.mode`, else by its name."""
    mode = (deployment.given.get("model_info") or {}).get("mode")
    return mode == "embedding" if mode else "embed" in deployment.model.lower()


# ---- output ----------------------------------------------------------------------------------------------------------


def _show(config: str | None, patients: Sequence[Patient], findings: Sequence[Finding]) -> None:
    if config is None:
        _show_settings()
    if patients:
        columns = ("", "deployment", "model", "address", "key", "limits", "reached") if pretty() else ("",) * 8
        write_table(columns, [_row(patient) for patient in patients])
    for finding in findings:
        _show_finding(finding)
    if pretty():
        broken = sum(1 for finding in findings if finding.level == "broken")
        warnings = sum(1 for finding in findings if finding.level == "warning")
        say(
            f"\n{broken} broken, {warnings} to review" if findings else "\nno problems found",
            "red" if broken else "yellow" if warnings else "green",
        )


def _show_settings() -> None:
    try:
        values = settings.model_dump()
    except ConfigurationError:
        return  # reported as a finding
    set_ones = [(name.upper(), value) for name, value in values.items() if value is not None]
    if not pretty():
        for name, value in set_ones:
            print(f"setting\t{name}\t{value}")
        return
    note(f"from {settings.origin}")
    if set_ones:
        write_table(("variable", "value"), set_ones)


def _row(patient: Patient) -> tuple[Any, ...]:
    mark, style = MARKS[patient.level]
    shown = (
        patient.where,
        patient.deployment.model,
        patient.to.base_url if patient.to else "-",
        _key(patient),
        _limits(patient),
        patient.reached,
    )
    return (Text(mark, style=style), *shown) if pretty() else ("deployment", patient.level, *shown)


def _show_finding(finding: Finding) -> None:
    if pretty():
        mark, style = MARKS[finding.level]
        text = finding.what if finding.what.startswith(finding.where) else f"{finding.where}: {finding.what}"
        say(f"{mark} {text}", style)
    else:
        print(f"{finding.level}\t{finding.where}\t{' '.join(finding.what.split())}")


def _key(patient: Patient) -> str:
    """The masked key and its source."""
    given = patient.control.get("api_key")
    if given:
        return Secret(given).masked
    provider: Provider | None = patient.to.provider if patient.to else None
    if provider is None:
        return "-"
    found = find_key(provider, os.environ)
    if found:
        return f"{Secret(found).masked} ({next(name for name in provider.key_envs if os.environ.get(name, '').strip())})"
    return "none" if provider.needs_key else "none needed"


def _limits(patient: Patient) -> str:
    return (
        " ".join(f"{name} {value:,}" if pretty() else f"{name}={value}" for name, value in limits_given(patient.deployment).items())
        or "none"
    )


def _described(patient: Patient) -> dict[str, Any]:
    return {
        "name": patient.where,
        "level": patient.level,
        "model": patient.deployment.model,
        "base_url": patient.to.base_url if patient.to else None,
        "key": _key(patient),
        "limits": limits_given(patient.deployment),
        "reached": patient.reached,
    }


def _told(finding: Finding) -> dict[str, str]:
    return {"level": finding.level, "where": finding.where, "what": finding.what}
