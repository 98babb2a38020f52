"""Figures that steps draw, and what every figure needs (extra ``report``); no pages."""
