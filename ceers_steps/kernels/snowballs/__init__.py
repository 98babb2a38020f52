"""Snowballs: large events found and followed in the groups of a ramp; no single hits."""
