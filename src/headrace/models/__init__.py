"""Facts about models: how many tokens a text has."""
