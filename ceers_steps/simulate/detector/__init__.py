"""What a detector makes of light, and what hits it: ramps, noise, events; nothing of the sky."""
