"""Pages made of products and records (extra ``report``); nothing is measured or run here."""
