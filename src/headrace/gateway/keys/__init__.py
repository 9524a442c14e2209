"""Virtual keys, teams and users: what they are (`holders`), where they are stored (`table`), and how they authenticate
(`keyring`).
"""
