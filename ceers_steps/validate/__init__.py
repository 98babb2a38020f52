"""Products of simulated exposures against their truth: metrics, records and figures; on purpose without kernels."""
