"""What must be right in an exposure before work on it begins; what is computed from it is not."""
