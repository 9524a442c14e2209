"""Who can be called, and how: one row for each provider in `providers.toml`."""
