"""From a survey to its tasks and what of them is still valid; nothing is run here."""
