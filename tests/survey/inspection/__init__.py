"""Files of any origin, looked at before anything is computed."""
