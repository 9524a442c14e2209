"""Virtual keys, teams and users: what they are (`holders`), where they are kept (`table`), and who is let in by them (`keyring`)."""
