"""Files: tables and texts that users give, of any origin; no products."""
