"""The logger: the same warning once a second, everything else always."""

from __future__ import annotations

from tiktok_oauth_middleware._core.log import logger


def test_same_warning(caplog):
    """A warning that comes again within the second is not logged again."""
    for number in range(5):
        logger.warning("it happened %d", number)
    logger.warning("something else happened")
    assert caplog.messages == ["it happened 0", "something else happened"]


def test_information(caplog):
    """A line below WARNING is logged every time."""
    with caplog.at_level("INFO"):
        logger.info("login ok")
        logger.info("login ok")
    assert caplog.messages == ["login ok", "login ok"]
