"""What the package would do with files of any origin, from their headers; nothing is computed."""
