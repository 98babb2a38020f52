"""Pictures and maps of mosaics, footprints on them and on the sky; nothing of single exposures."""
