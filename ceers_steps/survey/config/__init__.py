"""What a survey is: keys, loading, checks and presets; no exposure is read here."""
