"""What was measured and how it looks: metrics (numpy only) and figures (extra ``report``)."""
