"""An app that is registered at a stand-in, request by request."""

from __future__ import annotations

import json
import secrets
from urllib.parse import parse_qsl, urlencode, urlsplit

from tiktok_oauth_middleware._oauth import (
    authorize,
    protocol,
)

KEY, SECRET = "awstandinclientkey", "stand-in-client-secret"
REDIRECT = "https://app.example.com/auth/tiktok/callback"
FORM = {"content-type": protocol.FORM}


class App:
    """An app that is registered at a stand-in and can send it any request."""

    def __init__(self, fake):
        self.fake = fake
        self.verifier = secrets.token_urlsafe(32)

    def url(self, **changes):
        """Return an authorize address; a parameter whose value is None is left out."""
        query = {
            "client_key": KEY,
            "response_type": "code",
            "scope": "user.info.basic,video.list",
            "redirect_uri": REDIRECT,
            "state": "a-state",
            "code_challenge": authorize.challenge_of(self.verifier),
            "code_challenge_method": "S256",
            **changes,
        }
        given = {name: value for name, value in query.items() if value is not None}
        return f"{protocol.AUTHORIZE}?{urlencode(given)}"

    def consent(self, choice=None, **changes):
        """Answer the consent page, and return the query of the callback."""
        url = self.fake.consent(self.url(**changes), **(choice or {}))
        return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))

    def post(self, url, headers=FORM, **fields):
        form = {"client_key": KEY, "client_secret": SECRET, **fields}
        given = {name: value for name, value in form.items() if value is not None}
        return self.fake.handle("POST", url, headers, urlencode(given).encode())

    def token(self, **fields):
        """Return the token endpoint's answer, as JSON."""
        return json.loads(self.post(protocol.TOKEN, **fields).body)

    def exchange(self, code, **changes):
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": self.verifier,
            **changes,
        }
        return self.token(**fields)

    def refresh(self, refresh_token):
        return self.token(grant_type="refresh_token", refresh_token=refresh_token)

    def revoke(self, token):
        return self.post(protocol.REVOKE, token=token)

    def log_in(self, **choice):
        return self.exchange(self.consent(choice)["code"])

    def user(self, token, fields="open_id"):
        """Return the status and body of the user-info endpoint's answer."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        query = "" if fields is None else f"?{urlencode({'fields': fields})}"
        reply = self.fake.handle("GET", protocol.USER_INFO + query, headers, b"")
        return reply.status, json.loads(reply.body)
