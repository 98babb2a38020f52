"""Simulated products against their truth: metrics and figures; on purpose without kernels."""
