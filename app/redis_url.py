"""The address of a Redis: checked before anybody calls it, and never shown with its password."""

from __future__ import annotations

from importlib.util import find_spec
from urllib.parse import urlsplit

FORM = (
    "must look like redis://host:6379/0, or rediss:// for TLS, with user:password@ before the host where Redis asks "
    "for it; in a password / ? # @ : % are written %2F %3F %23 %40 %3A %25"
)


def check(url: str) -> None:
    """Raises ValueError, whose words never repeat what was given: a password may be anywhere in it."""
    if not url.startswith(("redis://", "rediss://")):
        raise ValueError(FORM)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(FORM) from None
    # (What a password begins with would be the port, and its rest the path.)
    if parts.fragment or "@" in parts.path + parts.query:
        raise ValueError(FORM)
    if parts.query and find_spec("redis") is not None and not _has_known_options(url):
        raise ValueError(f"{FORM}; what stands behind the ? is no option of redis-py, or has a value that it refuses")


def _has_known_options(url: str) -> bool:
    from redis import Redis
    from redis.exceptions import RedisError

    try:
        # (Made, not opened.)
        Redis.from_url(url).connection_pool.make_connection()
    except (ValueError, TypeError, RedisError):
        return False
    return True


def shown(url: str) -> str:
    """Without user, password, and options, of which one may be the password again."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
