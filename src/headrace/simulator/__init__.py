"""Strict simulated providers, over HTTP (`server`) and in virtual time (`virtual`). Import from the submodules."""
