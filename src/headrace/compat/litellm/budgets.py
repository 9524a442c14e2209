"""`litellm.BudgetManager`: per-user budgets, tracked by the program itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

import headrace
from headrace.calls import shape
from headrace.errors import ConfigurationError
from headrace.models.counting import token_counter

FILE: Final = "user_cost.json"
"""The file in the working directory that litellm uses."""

DAYS: Final[Mapping[str, int]] = {"daily": 1, "weekly": 7, "monthly": 28, "yearly": 365}
"""Days of each duration, as in litellm."""

_DAY: Final = 24 * 3600.0


class BudgetManager:
    """Dollars by user: `create_budget`, `update_cost` after each call, `get_current_cost` against `get_total_budget`.
    Enforces nothing itself; the program checks.

    Raises ConfigurationError for a `client_type` other than "local", KeyError for a user without a budget.
    """

    def __init__(self, project_name: str, client_type: str = "local", api_base: str | None = None, headers: Any = None) -> None:
        if client_type != "local":
            raise ConfigurationError(
                f"BudgetManager's client_type must be 'local', got {shape(client_type)}: to share budgets between processes, use a "
                "Router's scopes (Router.add_scope with redis_url) or the gateway's keys"
            )
        self.client_type, self.project_name = client_type, project_name
        self.load_data()

    def load_data(self) -> None:
        """Load the budgets from the file; empty if there is none."""
        file = Path(FILE)
        self.user_dict: dict[str, dict[str, Any]] = msgspec.json.decode(file.read_bytes()) if file.is_file() else {}

    def save_data(self) -> dict[str, str]:
        Path(FILE).write_bytes(msgspec.json.format(msgspec.json.encode(self.user_dict), indent=4))
        return {"status": "success"}

    def create_budget(self, total_budget: float, user: str, duration: str | None = None, created_at: float | None = None) -> dict[str, Any]:
        """`duration`: "daily", "weekly", "monthly" or "yearly", after which the cost is reset (`update_budget_all_users`)."""
        record: dict[str, Any] = {"total_budget": total_budget}
        if duration is not None:
            if duration not in DAYS:
                raise ConfigurationError(f"duration must be one of {', '.join(DAYS)}, got {shape(duration)}")
            now = time.time() if created_at is None else created_at
            record |= {"duration": DAYS[duration], "created_at": now, "last_updated_at": now}
        self.user_dict[user] = record
        self.save_data()
        return record

    def update_cost(
        self,
        user: str,
        completion_obj: Any = None,
        model: str | None = None,
        input_text: str | None = None,
        output_text: str | None = None,
    ) -> dict[str, Any]:
        """Add the cost of a response, or of the given texts."""
        if model and input_text and output_text:
            asked, said = (token_counter(model, messages=[{"role": "user", "content": text}]) for text in (input_text, output_text))
            cost = sum(headrace.cost_per_token(model, prompt_tokens=asked, completion_tokens=said))
        elif completion_obj is not None:
            cost, model = headrace.completion_cost(completion_obj), completion_obj["model"]
        else:
            raise ValueError("update_cost needs completion_obj, or model, input_text and output_text")
        record = self.user_dict[user]
        record["current_cost"] = record.get("current_cost", 0) + cost
        by_model = record.setdefault("model_cost", {})
        by_model[model] = by_model.get(model, 0) + cost
        self.save_data()
        return {"user": record}

    def projected_cost(self, model: str, messages: list[Any], user: str) -> float:
        """What the user would have spent after a call, without its output."""
        asked = token_counter(model, text="".join(message["content"] for message in messages))
        return self.get_current_cost(user) + headrace.cost_per_token(model, prompt_tokens=asked)[0]

    def get_total_budget(self, user: str) -> float:
        return self.user_dict[user]["total_budget"]  # type: ignore[no-any-return]

    def get_current_cost(self, user: str) -> float:
        return self.user_dict[user].get("current_cost", 0)  # type: ignore[no-any-return]

    def get_model_cost(self, user: str) -> Any:
        return self.user_dict[user].get("model_cost", 0)

    def is_valid_user(self, user: str) -> bool:
        return user in self.user_dict

    def get_users(self) -> list[str]:
        return list(self.user_dict)

    def reset_cost(self, user: str) -> dict[str, Any]:
        self.user_dict[user] |= {"current_cost": 0, "model_cost": {}}
        return {"user": self.user_dict[user]}

    def reset_on_duration(self, user: str) -> None:
        """Reset the cost if the budget's duration has passed."""
        record, now = self.user_dict[user], time.time()
        if now - record["last_updated_at"] >= record["duration"] * _DAY:
            self.reset_cost(user)
            record["last_updated_at"] = now
            self.save_data()

    def update_budget_all_users(self) -> None:
        for user, record in self.user_dict.items():
            if "duration" in record:
                self.reset_on_duration(user)
