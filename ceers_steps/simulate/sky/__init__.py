"""What is on the sky and its image in focus: scene, PSF, photometry, wisps; nothing of the detector."""
