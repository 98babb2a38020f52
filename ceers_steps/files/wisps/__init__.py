"""Wisp templates on disk: of users, and of an installed package; no fit is made here."""
