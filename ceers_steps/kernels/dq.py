"""Bits of data quality that kernels look at (those of jwst's data models)."""

__all__ = ["DO_NOT_USE", "JUMP_DET", "REFERENCE_PIXEL", "SATURATED"]

DO_NOT_USE = 1
"""Of DQ and GROUPDQ: the value means nothing."""
SATURATED = 2
"""Of DQ: groups were lost to saturation; of GROUPDQ: this one."""
JUMP_DET = 4
"""Of GROUPDQ: a hit in the difference that ends in this group."""
REFERENCE_PIXEL = 1 << 31
"""Of DQ: sees no light."""
