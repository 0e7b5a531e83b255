"""Modules that a forked process has imported: all that a login or refresh needs."""

import asyncio
import sqlite3

import anyio._backends._asyncio
import authlib.integrations.httpx_client
import httpx2
import redis.asyncio

import tiktok_oauth_middleware._oauth.client
from hardening.reliability import world

__all__ = [
    "anyio",
    "asyncio",
    "authlib",
    "httpx2",
    "redis",
    "sqlite3",
    "tiktok_oauth_middleware",
    "world",
]
