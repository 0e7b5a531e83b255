"""Secrets, logs, encryption, HTTP values, backends: nothing of TikTok or sessions."""
