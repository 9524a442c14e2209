from typing import Any

from headrace.compat.litellm.budgets import BudgetManager as BudgetManager

def __getattr__(name: str) -> Any: ...
