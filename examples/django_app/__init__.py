"""A small Django project whose users log in with TikTok."""
