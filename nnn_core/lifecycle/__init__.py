"""What happens to versions once they are published: checks, comparison, rollback, expiry, registration elsewhere."""
