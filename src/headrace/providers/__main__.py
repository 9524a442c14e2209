"""`python -m headrace.providers` prints the catalogue as a table."""

from __future__ import annotations

from headrace.providers.table import markdown

if __name__ == "__main__":
    print(markdown())
