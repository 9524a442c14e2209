"""Virtual keys, teams and users.

What they are (`holders`), where they are stored (`table`), and how they authenticate (`keyring`).
"""
