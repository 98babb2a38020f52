"""What is fixed about JWST and NIRCam, and when and where it looks; no pixels are made here."""
