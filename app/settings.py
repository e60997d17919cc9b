"""Every setting of the site, from ``OPENKITCHEN_*`` variables; the command line overrides them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent
"""Where ``templates/``, ``static/`` and ``locale/`` stand."""


def default_data_dir() -> Path:
    """``data/`` at the root of a checkout, else the user's own data folder."""
    if (ROOT / "pyproject.toml").is_file():
        return ROOT / "data"
    return Path.home() / ".local" / "share" / "openkitchen"


class Settings(BaseSettings):
    """Where to listen, what to run, and how much of it. Seconds, bytes and characters unless a name says otherwise."""

    model_config = SettingsConfigDict(env_prefix="OPENKITCHEN_", extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    root_path: str = ""
    """Path prefix under which a proxy serves the site ("/kitchen"); works whether or not the proxy strips it."""
    public_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins ("https://example.org") that may post besides the one in the Host header. The first is where the site
    says that it is to be found."""
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses whose X-Forwarded-For and X-Forwarded-Proto are believed."""
    data_dir: Path = Field(default_factory=default_data_dir)
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    log_json: bool | None = None
    """JSON lines when true, for people when false, by terminal when unset."""

    engine: Literal["own", "none"] = "own"
    """``none``: this replica serves pages and readers only; others cook, or nobody does."""
    redis_url: str = ""
    """Redis over which several replicas share line, limits and logs ("redis://host:6379/0"); empty: this one is alone.
    """
    lease_seconds: float = Field(default=6.0, gt=0)
    """A replica that Redis has not heard of for this long is taken to be dead, and another ends its runs."""
    secret: SecretStr = SecretStr("")
    """With which visitors' cookies are digested, the same for all replicas; empty: one is made and kept."""

    model: str = "smollm2-135m"
    device: str = "auto"
    dtype: str = "auto"
    drafter: str | None = None
    engine_endpoint: str = ""
    """ZeroMQ endpoint of an engine process that somebody else runs; empty: start our own."""
    engine_args: Annotated[tuple[str, ...], NoDecode] = ()
    """More arguments for the engine process that we start, separated by spaces."""
    engine_hang_seconds: float = Field(default=60.0, gt=0)
    """An engine silent for this long while runs are live is killed and started again."""
    engine_restart_seconds: float = Field(default=1.0, gt=0)
    """First wait before a restart; doubles with each failure in a row, up to a minute, with jitter."""

    max_prompt_chars: int = Field(default=65_536, ge=1)
    max_tokens: int = Field(default=4_096, ge=1)
    """Most tokens that one run may ask for; the model's own length is checked besides."""
    max_body_bytes: int = Field(default=256 * 1024, ge=1)
    body_timeout: float = Field(default=30.0, gt=0)
    """A request's body must have come within this time."""
    max_runs_per_visitor: int = Field(default=4, ge=1)
    """Live runs of one cookie, but for takes in their own line."""
    max_runs_per_address: int = Field(default=16, ge=1)
    """Live runs from one address: cookies are free to drop, and a class shares one address."""
    max_waiting_runs: int = Field(default=32, ge=1)
    """Runs in the line before the engine, of everybody."""
    max_waiting_takes: int = Field(default=8, ge=1)
    """Takes that wait for a second engine or have it, of everybody: each has the machine for itself for seconds."""
    posts_per_minute: float = Field(default=60.0, gt=0)
    """Per address, on average."""
    posts_burst: int = Field(default=20, ge=1)
    """Per address, at once."""
    max_readers_per_run: int = Field(default=200, ge=1)
    max_readers: int = Field(default=2_000, ge=1)
    send_timeout: float = Field(default=30.0, gt=0)
    """A reader that takes nothing for this long is cut off."""
    frame_seconds: float = Field(default=0.016, ge=0)
    """Events of one reader are batched for this long; longer under load."""
    accept_timeout: float = Field(default=5.0, gt=0)
    """How long a POST waits for the engine to say whether the prompt fits."""
    keep_runs: int = Field(default=1_000, ge=0)
    keep_days: float = Field(default=30.0, gt=0)
    cached_log_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    """Closed logs kept in memory."""

    @field_validator("log_level", mode="before")
    @classmethod
    def lower_case(cls, value: object) -> object:
        """The names of levels are often written large."""
        return value.lower() if isinstance(value, str) else value

    @field_validator("root_path")
    @classmethod
    def normalise_root_path(cls, value: str) -> str:
        """One leading slash and none at the end; empty for the root."""
        path = value.strip("/")
        return f"/{path}" if path else ""

    @field_validator("public_origins", "trusted_proxies", mode="before")
    @classmethod
    def split_commas(cls, value: object) -> object:
        """Variables hold lists separated by commas."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("engine_args", mode="before")
    @classmethod
    def split_words(cls, value: object) -> object:
        """Variables hold arguments separated by spaces."""
        return tuple(value.split()) if isinstance(value, str) else value
