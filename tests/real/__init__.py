"""Real files of every kind, where a user would give them; skipped without them."""
