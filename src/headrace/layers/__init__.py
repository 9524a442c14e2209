"""What may stand around every call: caches, budgets, guardrails, tracing, callbacks."""
