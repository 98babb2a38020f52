"""Where the sources are and what is behind them: tiered masks, outskirts, background; no catalogues."""
