"""What came of a survey, from its records and products; nothing is run again."""
