"""Configuration values that can be read as mappings and, like litellm's objects, as attributes."""

from __future__ import annotations

from typing import Any


class Fields(dict[str, Any]):
    """`fields["api_key"]` and `fields.api_key`. An attribute that was not given is None."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.get(name)

    def model_dump(self, *, exclude_none: bool = False, **_: Any) -> dict[str, Any]:
        """A plain dictionary of the fields."""
        return {name: value for name, value in self.items() if value is not None or not exclude_none}

    dict = model_dump
