"""Responses for the paths of the dashboard page. The built files are public; the data, at `/ui/state`, is for administrators."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from headrace.errors import HeadraceError, Kind
from headrace.gateway.callers import Caller
from headrace.gateway.context import encode
from headrace.gateway.page.browser_response import SAFE, BrowserResponse
from headrace.gateway.page.dashboard_data import DashboardData
from headrace.gateway.page.plain import plain_page
from headrace.gateway.requests import IncomingRequest, refusal

BUILT: Final = Path(__file__).with_name("built")
"""Where `make page` and the wheel put the files; missing in a source tree without a build."""

STATE: Final = "/ui/state"

_KINDS: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
}  # fmt: skip


class Page(Struct, frozen=True, eq=False):
    """Serves `/`, `/ui/` and the paths below it."""

    picture: DashboardData
    now: Callable[[], float]
    """Returns Unix seconds."""

    def serves(self, asked: IncomingRequest) -> bool:
        """Whether a request is for the dashboard page."""
        return asked.method == "GET" and (asked.path == "/" or asked.path.startswith("/ui/"))

    async def answer(self, asked: IncomingRequest, admit: Callable[[IncomingRequest], Awaitable[Caller]]) -> BrowserResponse:
        """The response. admit: authenticates the caller; its refusals are raised, as are those with status 403 and 404."""
        plain = asked.path in ("/", "/ui/")
        found = _files(BUILT).get("index.html" if plain else asked.path.removeprefix("/ui/"))
        if found is not None:
            return BrowserResponse(200, *found)
        try:
            caller = await admit(with_password(asked) if plain else asked)
        except HeadraceError as error:
            if plain and error.failure.status == 401:
                return CHALLENGE
            raise
        return self._show(asked, caller, plain)

    def _show(self, asked: IncomingRequest, caller: Caller, plain: bool) -> BrowserResponse:
        if not caller.role.sees_all:
            raise refusal(
                403, Kind.PERMISSION, "this key is for calling models; the dashboard is for the master key and administrators' keys"
            )
        if plain:
            return BrowserResponse(200, _KINDS[".html"], plain_page(self.picture.now(self.now())))
        if asked.path == STATE:
            return BrowserResponse(200, "application/json", encode(self.picture.now(self.now())))
        raise refusal(404, Kind.NOT_FOUND, f"there is no {asked.path} here")


@cache
def _files(folder: Path) -> Mapping[str, tuple[str, bytes]]:
    """Name → (content type, content). Read once, so that no name from a path is ever opened on disk."""
    if not folder.is_dir():
        return {}
    return {path.name: (_KINDS[path.suffix], path.read_bytes()) for path in sorted(folder.iterdir()) if path.suffix in _KINDS}


def with_password(asked: IncomingRequest) -> IncomingRequest:
    """The request with the key that a browser sends as its Basic password when the page runs without its script.

    For viewing only: a browser also sends the password with requests that other sites make it send.
    """
    scheme, _, coded = asked.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return asked
    try:
        key = b64decode(coded, validate=True).decode().partition(":")[2]
    except ValueError:
        return asked
    return replace(asked, headers={**asked.headers, "authorization": f"Bearer {key}"})


CHALLENGE: Final = BrowserResponse(
    401,
    _KINDS[".txt"],
    b"Sign in with the master key as the password.\n",
    (*SAFE, ("www-authenticate", 'Basic realm="headrace", charset="UTF-8"')),
)
"""Asks a browser for the key when the page runs without its script."""
