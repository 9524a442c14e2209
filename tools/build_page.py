"""A build hook that adds the dashboard page to the wheel, built by npm from `page` and its lock file. Without npm, the
plain page is served."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        npm = shutil.which("npm")
        if npm is None:
            self.app.display_warning("npm is not installed: the wheel has no dashboard page, and the gateway serves plain tables")
            return
        build_page(Path(self.root) / "page", npm)


def build_page(folder: Path, npm: str) -> None:
    """Build the page. Raises CalledProcessError."""
    for arguments in (("ci", "--silent"), ("run", "--silent", "build")):
        subprocess.run([npm, *arguments], cwd=folder, check=True)
