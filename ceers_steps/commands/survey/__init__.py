"""Subcommands that reduce surveys: init, plan, reduce, commands; what they do is in `survey`."""
