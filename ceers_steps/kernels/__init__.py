"""Pure functions on arrays: everything that is computed, without jwst and without files."""
