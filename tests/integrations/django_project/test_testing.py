"""tiktok_login: a signed-in client of Django's, without a login at TikTok."""

from __future__ import annotations

import unittest

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.test import AsyncClient, Client

from tiktok_oauth_middleware.django import installation
from tiktok_oauth_middleware.testing.django import tiktok_login
from tiktok_oauth_middleware.testing.fake import LoginFlowError

HOST = {"host": "app.example.com"}


@pytest.fixture
def interface():
    """Return one interface: the clients are of both."""
    return "wsgi"


def test_client(project):
    """The client's requests have the person, the scopes and a token."""
    client = Client(headers=HOST)
    person = tiktok_login(client, "-000somebody", display_name="Some Body")
    assert person.display_name == "Some Body"
    found = client.get("/who", secure=True).json()
    assert found["open_id"] == "-000somebody"
    assert found["scopes"] == ["user.info.basic", "video.list"]
    assert found["token"] is True
    assert project.fake.requests == []


def test_async_client(project):
    """With an AsyncClient it is awaited."""

    async def ask():
        client = AsyncClient()
        await tiktok_login(client, "-000somebody", scopes=["video.list"])
        return (await client.get("/who-async", secure=True)).json()

    found = async_to_sync(ask)()
    assert found["open_id"] == "-000somebody"
    assert found["scopes"] == ["video.list"]


def test_lifetimes(project):
    """The token lives for two hours and the grant for 180 days, as TikTok's do."""
    tiktok_login(Client(headers=HOST), "-000somebody")
    [user] = installation().tokens.users()
    now = project.fake.clock()
    assert user.token_expires_at - now == pytest.approx(7200, abs=2)
    assert user.ends_at - now == pytest.approx(15552000, abs=2)


@pytest.mark.parametrize(
    ("scopes", "words"),
    [
        (["user.info.basic", "research.adlib.basic"], "'research.adlib.basic'"),
        ("video.list", "pass a list of scopes"),
    ],
)
def test_scopes_that_no_login_requests(project, scopes, words):
    """A scope that no login of the project can bring is a mistake of the test."""
    with pytest.raises(LoginFlowError, match=words):
        tiktok_login(Client(headers=HOST), scopes=scopes)
    assert installation().tokens.users() == []


def test_two_people(project):
    """Two clients are two people, and one client twice is the last of them."""
    first, second = Client(headers=HOST), Client(headers=HOST)
    tiktok_login(first, "-000a")
    tiktok_login(second, "-000b")
    assert first.get("/who", secure=True).json()["open_id"] == "-000a"
    tiktok_login(first, "-000c")
    assert first.get("/who", secure=True).json()["open_id"] == "-000c"
    assert second.get("/who", secure=True).json()["open_id"] == "-000b"


def test_with_the_backend(accounts):
    """With the backend the client is signed in to Django as the account's user."""
    client = Client(headers=HOST)
    tiktok_login(client)
    assert client.get("/user", secure=True).json()["name"].startswith("tiktok_")
    assert client.get("/user-async", secure=True).json()["authenticated"]
    assert client.get("/member", secure=True).status_code == 200


def test_a_user_of_the_test(accounts):
    """A user that is handed over gets the account, unless it is another's."""
    alice = get_user_model().objects.create_user("alice")
    client = Client(headers=HOST)
    tiktok_login(client, user=alice)
    assert client.get("/user", secure=True).json()["name"] == "alice"
    with pytest.raises(LoginFlowError, match="another user"):
        tiktok_login(client, user=get_user_model().objects.create_user("bob"))


def test_in_a_test_case(project):
    """Inside of Django's TestCase it works, and leaves no row."""
    from django.test import TestCase

    from tiktok_oauth_middleware.django.models import StoredRow

    seen = []

    class Case(TestCase):
        def test(self):
            tiktok_login(self.client, "-000somebody")
            answer = self.client.get("/who", secure=True)
            seen.append(answer.json()["open_id"])

        async def test_async(self):
            await tiktok_login(self.async_client, "-000somebody")
            answer = await self.async_client.get("/who", secure=True)
            seen.append(answer.json()["open_id"])

    Case.setUpClass()
    try:
        for name in ("test", "test_async"):
            result = unittest.TestResult()
            Case(name)(result)
            assert [*result.errors, *result.failures] == []
    finally:
        Case.tearDownClass()
        Case.doClassCleanups()
    assert seen == ["-000somebody"] * 2
    assert not StoredRow.objects.exists()
