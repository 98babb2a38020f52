"""What steps are given: exposures, flat field, order of read-out; nothing is corrected here."""
