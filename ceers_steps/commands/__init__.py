"""One file per ``ceers`` subcommand: arguments in, calls of the package, messages out; nothing is computed here."""
