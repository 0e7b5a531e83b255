"""Secrets, logs, encryption, HTTP values and backends, without TikTok or sessions."""
