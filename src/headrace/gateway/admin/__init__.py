"""The desk where keys, teams, users, models and spending are administered, in LiteLLM's spellings."""
