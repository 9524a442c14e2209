"""The admin API for keys, teams, users, models and spending, with LiteLLM's paths and fields."""
