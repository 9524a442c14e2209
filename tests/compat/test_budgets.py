"""`litellm.BudgetManager`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import headrace
from headrace.compat.litellm.budgets import BudgetManager

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_user_is_charged_by_answers_and_by_texts() -> None:
    budgets = BudgetManager("p")
    budgets.create_budget(0.01, "anna")
    answer = headrace.completion("openai/gpt-4o", MESSAGES, mock_response="Hello")
    budgets.update_cost("anna", completion_obj=answer)
    cost = answer._hidden_params["response_cost"]
    assert budgets.get_current_cost("anna") == pytest.approx(cost)
    assert budgets.projected_cost("gpt-4o", MESSAGES, "anna") > cost
    budgets.update_cost("anna", model="gpt-4o", input_text="a question", output_text="an answer")
    assert budgets.get_current_cost("anna") > cost
    assert budgets.get_model_cost("anna")["gpt-4o"] == pytest.approx(budgets.get_current_cost("anna"))
    with pytest.raises(ValueError, match="completion_obj"):
        budgets.update_cost("anna")


def test_budgets_are_there_again_in_the_next_process() -> None:
    BudgetManager("p").create_budget(2.0, "anna")
    again = BudgetManager("p")
    assert (again.get_users(), again.get_total_budget("anna"), again.is_valid_user("ben")) == (["anna"], 2.0, False)
    assert json.loads(Path("user_cost.json").read_text()) == {"anna": {"total_budget": 2.0}}


def test_a_budget_begins_anew_after_its_time() -> None:
    budgets = BudgetManager("p")
    for user, age in (("old", 2 * 24 * 3600), ("new", 0)):
        budgets.create_budget(1.0, user, "daily", created_at=time.time() - age)
        budgets.update_cost(user, model="gpt-4o", input_text="a", output_text="b")
    budgets.update_budget_all_users()
    assert budgets.get_current_cost("old") == 0
    assert budgets.get_current_cost("new") > 0


def test_what_it_cannot_do_is_refused_by_name() -> None:
    with pytest.raises(headrace.ConfigurationError, match="client_type must be 'local'"):
        BudgetManager("p", client_type="hosted")
    with pytest.raises(headrace.ConfigurationError, match="duration must be one of daily, weekly"):
        BudgetManager("p").create_budget(1.0, "anna", "hourly")
