"""Real programs that were written for litellm, over headrace: `make dropin`."""
