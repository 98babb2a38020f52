"""Figures that steps draw with ``save_plots`` and what every figure needs (extra ``report``); no pages, no measuring."""
