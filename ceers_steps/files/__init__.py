"""What is on disk: whole files, planes and rows, tables, associations; nothing computed."""
