"""The ledger: every call, once.

It is appended to a journal before its response ends (`journal`), and written to the database in batches (`folding`).
"""
