"""Layers around every call: caches, budgets, guardrails, tracing, callbacks."""
