"""What is on the sky and its image in focus: scene, PSF, wisps; nothing of the detector."""
