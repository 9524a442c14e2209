"""Every call, once: appended to a journal before its response ends (`journal`), written to the database in batches
(`folding`).
"""
