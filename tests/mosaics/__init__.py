"""Models and files of mosaics, masks and regions."""
