"""What is on disk: whole or not there, planes and rows, tables, associations; nothing that is computed from pixels."""
