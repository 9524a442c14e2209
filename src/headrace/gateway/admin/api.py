"""The admin API: its routes, and who may call them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from headrace.api import Router
from headrace.errors import BadRequestError, Kind
from headrace.gateway.admin.activity_handlers import ActivityHandlers
from headrace.gateway.admin.budget_handlers import WORDS as BUDGET_WORDS
from headrace.gateway.admin.budget_handlers import BudgetHandlers
from headrace.gateway.admin.context import AdminContext, AdminRequest, Need, Route, forbidden, not_found
from headrace.gateway.admin.customer_handlers import CUSTOMER, CustomerHandlers
from headrace.gateway.admin.forms import TERMS, schemas_of
from headrace.gateway.admin.health_handlers import HealthHandlers
from headrace.gateway.admin.key_handlers import OWN, KeyHandlers
from headrace.gateway.admin.member_handlers import MemberHandlers
from headrace.gateway.admin.model_handlers import ModelHandlers
from headrace.gateway.admin.organization_handlers import ORGANIZATION, OrganizationHandlers
from headrace.gateway.admin.people_handlers import TEAM, USER, TeamHandlers, UserHandlers
from headrace.gateway.admin.price_handlers import PriceHandlers
from headrace.gateway.admin.spend_handlers import SpendHandlers
from headrace.gateway.admin.tag_handlers import TAG, TagHandlers
from headrace.gateway.callers import Caller, Role
from headrace.gateway.default_terms import DefaultTerms
from headrace.gateway.keys.keyring import Keyring
from headrace.gateway.ledger.writer import LedgerWriter
from headrace.gateway.requests import IncomingRequest, refusal
from headrace.gateway.state import Desired
from headrace.runtime.sql import Database

ROOMS: Final = (
    "/key/", "/team/", "/user/", "/customer/", "/end_user/", "/budget/", "/tag/", "/model/", "/v1/model/", "/model_group/", "/spend/",
    "/organization/", "/global/", "/cost/", "/health/", "/utils/", "/v2/key/", "/v2/team/", "/v2/user/", "/v2/model/",
)  # fmt: skip


WORDS: Final[Mapping[str, Iterable[str]]] = {
    "/key/": (*TERMS, *OWN), "/team/": TEAM, "/user/": USER, "/customer/": CUSTOMER, "/end_user/": CUSTOMER,
    "/budget/": BUDGET_WORDS, "/organization/": ORGANIZATION, "/tag/": TAG,
}  # fmt: skip
"""The fields of a body, by resource."""


class AdminApi:
    """The gateway's `AdminRoutes`."""

    def __init__(self, database: Database, router: Router, keys: Keyring, ledger: LedgerWriter) -> None:
        self._context = context = AdminContext(database, router, keys, ledger)
        key_handlers = KeyHandlers(context)
        self._models = ModelHandlers(context)
        self._routes: dict[str, Route] = {
            **key_handlers.routes(),
            **TeamHandlers(context).routes(),
            **UserHandlers(context, key_handlers).routes(),
            **self._models.routes(),
            **HealthHandlers(context).routes(),
            **CustomerHandlers(context).routes(),
            **BudgetHandlers(context).routes(),
            **OrganizationHandlers(context).routes(),
            **TagHandlers(context).routes(),
            **PriceHandlers(context).routes(),
            **MemberHandlers(context).routes(),
            **SpendHandlers(context).routes(),
            **ActivityHandlers(context).routes(),
        }

    def use(self, default_terms: DefaultTerms) -> None:
        """Keys and users created from now on get these terms."""
        self._context.default_terms = default_terms

    async def start(self) -> None:
        """Load the deployments that were added at run time."""
        await self._models.refresh()

    async def watch(self) -> None:
        """Follow deployments that other processes add or delete, until cancelled."""
        await self._models.watch()

    def serves(self, path: str) -> bool:
        return path.startswith(ROOMS) or path == "/health"

    def described(self) -> Iterable[Desired]:
        for path, route in self._routes.items():
            words = WORDS.get(f"/{path.split('/')[1]}/", ()) if "POST" in route.methods else ()
            what = inspect.getdoc(route.answer) or f"As in LiteLLM's proxy: {path}."
            yield Desired(path.replace("{}", "{part}"), route.methods, what, schemas_of(words))

    async def answer(self, asked: IncomingRequest, caller: Caller, content: bytes) -> Any:
        """The response as JSON. Raises a refusal with status 400, 403, 404 or 405."""
        route, part = self._find(asked.path)
        if asked.method not in route.methods:
            raise refusal(405, Kind.BAD_REQUEST, f"{asked.path} takes {', '.join(route.methods)}, not {asked.method}")
        _check(caller, route.need)
        return await route.answer(AdminRequest(caller, _object(content), asked.query, part))

    def _find(self, path: str) -> tuple[Route, str]:
        found = self._routes.get(path)
        if found is not None:
            return found, ""
        head, _, rest = path.removeprefix("/").partition("/")
        part, _, verb = rest.rpartition("/")
        found = self._routes.get(f"/{head}/{{}}/{verb}")
        if found is None or not part:
            raise not_found(f"{path} here", "unknown_url")
        return found, unquote(part)


def _check(caller: Caller, need: Need) -> None:
    if need == "admin" and caller.role is not Role.ADMIN:
        raise forbidden("this is for administrators: use the master key, or a key whose user_role is proxy_admin")
    if need == "look" and not caller.role.sees_all:
        raise forbidden("this is for administrators, and for keys whose user_role is proxy_admin_viewer")


def _object(content: bytes) -> dict[str, Any]:
    if not content:
        return {}
    try:
        value = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRequestError("the body must be a JSON object")
    return value
