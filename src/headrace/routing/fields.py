"""What a configuration says, read as mappings are and as litellm's objects are."""

from __future__ import annotations

from typing import Any


class Fields(dict[str, Any]):
    """`fields["api_key"]` and `fields.api_key`; as an attribute, what was not given is None."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.get(name)

    def model_dump(self, *, exclude_none: bool = False, **_: Any) -> dict[str, Any]:
        """A dictionary of the same."""
        return {name: value for name, value in self.items() if value is not None or not exclude_none}

    dict = model_dump
