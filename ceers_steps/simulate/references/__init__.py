"""The reference files that describe a simulated detector, and the CRDS cache that holds them."""
