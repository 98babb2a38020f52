"""Exposures from the archive (MAST): what there is and fetching it; nothing is reduced here."""
