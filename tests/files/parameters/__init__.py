"""Tests of parameters that a user gives."""
