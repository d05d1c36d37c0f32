"""The address of a database, read without ever repeating it: a malformed one may have its password anywhere."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.errors import SettingsError

_FORM = "Write dialect://user:password@host/name, with each of : / ? # [ ] @ in user or password as %3A, %2F and so on."


def database_url(text: str, whose: str) -> sa.URL:
    """The parts of a SQLAlchemy URL. Raises SettingsError, which names `whose` it is and nothing of it."""
    try:
        parsed = sa.make_url(text)
        parsed.get_backend_name()
    except (sa.exc.ArgumentError, ValueError):
        raise unusable(whose) from None
    return parsed


def unusable(whose: str) -> SettingsError:
    """What to raise of a URL that cannot be one."""
    return SettingsError(f"The URL of {whose} is not usable.", _FORM)
