"""Where sources are and what is behind them: masks, outskirts, background."""
