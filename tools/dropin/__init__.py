"""Runs real programs written for litellm on headrace: `make dropin`."""
