"""Strict simulated providers, over HTTP (`server`) and in virtual time (`virtual`). Import from the module that has what you need."""
