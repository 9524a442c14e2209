"""Every call, once: appended to a journal before its answer ends (`journal`), folded into the database in batches (`folding`)."""
