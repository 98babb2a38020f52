"""One file per ``ceers`` subcommand: arguments in, messages out; nothing is computed here."""
