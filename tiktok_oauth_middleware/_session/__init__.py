"""What is stored of a user, how a cookie becomes a session, token refresh."""
