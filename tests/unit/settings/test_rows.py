"""The rows of the options: every option needs one, and each row is checked."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields

import pytest

from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.settings import TikTokSettings
from tiktok_oauth_middleware.settings.environment import variables_of
from tiktok_oauth_middleware.settings.rows import (
    FLAG,
    LIST,
    SECONDS,
    OptionRow,
    option,
    rows_of,
)

from ...support.options import ENVIRON, GIVEN


@dataclass(frozen=True, slots=True, kw_only=True)
class WithoutRow(TikTokSettings):
    """Settings with an option that no row describes."""

    greet: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WithRow(TikTokSettings):
    """Settings with an option of their own, and its row."""

    greet: bool = option(FLAG, "greets the user", default=False)


def test_option_without_a_row_cannot_be_built():
    """A field that has no row is refused by name, whatever its value."""
    with pytest.raises(TypeError, match=r"WithoutRow\.greet has no row"):
        WithoutRow(**GIVEN)


def test_option_with_a_row_is_checked():
    """A row is all that an option needs to have its type checked."""
    assert WithRow(**GIVEN, greet=True).greet is True
    with pytest.raises(
        ConfigurationError, match="greet must be True or False; got a str"
    ):
        WithRow(**GIVEN, greet="yes")


def test_option_with_a_row_is_read_from_the_environment():
    """A row is all that an option needs to have a variable."""
    assert WithRow.from_env({**ENVIRON, "TIKTOK_GREET": "yes"}).greet is True
    with pytest.raises(ConfigurationError, match="TIKTOK_GREET is neither true nor"):
        WithRow.from_env({**ENVIRON, "TIKTOK_GREET": "perhaps"})


@pytest.mark.parametrize(
    "bounds", [{}, {"least": 1}, {"most": 1}], ids=["none", "least", "most"]
)
def test_number_has_two_bounds(bounds):
    """A row for a number without both bounds is refused."""
    with pytest.raises(TypeError, match="a number has two bounds"):
        OptionRow(kind=SECONDS, meaning="x", stand_in=1, **bounds)


def test_list_has_no_bounds():
    """A row with bounds for a value that is not a number is refused."""
    with pytest.raises(TypeError, match="nothing else has any"):
        OptionRow(kind=LIST, meaning="x", stand_in=(), least=1, most=2)


def test_every_option_refuses_an_object():
    """No kind of option accepts a value of any type."""
    for name, row in rows_of(TikTokSettings).items():
        assert row.wrong_type(object()), name


def test_defaults_are_right():
    """The default of every option is of its type and within its bounds."""
    rows = rows_of(TikTokSettings)
    assert list(rows) == [field.name for field in fields(TikTokSettings)]
    for field in fields(TikTokSettings):
        row = rows[field.name]
        if field.default is not MISSING:
            assert row.stand_in == field.default
        assert row.wrong_type(row.stand_in) is None, field.name
        if row.least is not None:
            assert row.out_of_bounds(row.stand_in) is None, field.name


def test_every_option_has_a_variable():
    """Each option is read from TIKTOK_ and its name, the addresses one by one."""
    variables = variables_of(TikTokSettings)
    names = {name.partition(".")[0] for name in variables.values()}
    assert names == set(rows_of(TikTokSettings))
    assert variables["TIKTOK_SESSION_IDLE"] == "session_idle"
    assert variables["TIKTOK_ENDPOINTS_USER_INFO"] == "endpoints.user_info"
