"""TikTok's wire format, and the one HTTP client."""
