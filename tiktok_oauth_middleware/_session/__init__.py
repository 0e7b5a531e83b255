"""User records, sessions behind cookies, and token refresh."""
