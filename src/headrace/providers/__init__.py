"""The providers headrace can call, and how: one row each in `providers.toml`."""
