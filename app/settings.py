"""Every setting of the site, from ``OPENKITCHEN_*`` variables; the command line overrides them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.redis_url import check as check_redis_url

ROOT = Path(__file__).resolve().parent.parent
"""Where ``templates/``, ``static/`` and ``locale/`` stand."""


def default_data_dir() -> Path:
    """``data/`` at the root of a checkout, else the user's own data folder."""
    if (ROOT / "pyproject.toml").is_file():
        return ROOT / "data"
    return Path.home() / ".local" / "share" / "openkitchen"


class Settings(BaseSettings):
    """Where to listen, what to run, and how much of it. Seconds, bytes and characters unless a name says otherwise."""

    model_config = SettingsConfigDict(
        env_prefix="OPENKITCHEN_",
        extra="ignore",
        use_attribute_docstrings=True,
        # (An error would repeat it, and it may be a password.)
        hide_input_in_errors=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on; ``0.0.0.0`` for every one that the machine has."""
    port: int = Field(default=8000, ge=0, le=65_535)
    """Port to listen on; 0 picks a free one."""
    root_path: str = ""
    """Path prefix under which a proxy serves the site ("/kitchen"); works whether or not the proxy strips it."""
    public_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins ("https://example.org") that may post besides the one in the Host header. The first is where the site
    says that it is to be found."""
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses whose X-Forwarded-For and X-Forwarded-Proto are believed."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Names (and "*.example.org") by which the site may be asked for, in the Host header; those of this machine always
    may. Empty: any."""
    socket_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins besides our own and ``public_origins`` whose pages may follow a run by socket; "*" for all. (Any page may
    read a run whose id it has by ``/events``.)"""
    metrics_token: str = Field(default="", repr=False)
    """What a scraper of /metrics must send as a bearer token; empty: anybody may read them."""
    data_dir: Path = Field(default_factory=default_data_dir)
    """Where runs and the installation's secret are kept. One kitchen a directory."""
    dist_dir: Path = ROOT / "static" / "dist"
    """Where the page's scripts lie as a bundle, made by `./kitchen bundle`. It is looked at once, at the start: without
    one, and where it was made of other scripts than are here, the single modules are served."""
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    """From which level on the log is written."""
    log_json: bool | None = None
    """JSON lines when true, for people when false, by terminal when unset."""
    access_log: bool | None = None
    """A line for every request; unset: where the log is JSON lines."""
    otel_endpoint: str = ""
    """OTLP over HTTP, base address of a collector for traces; the standard ``OTEL_EXPORTER_OTLP_*`` variables work too.
    Wants the extra ``otel``."""
    drain_seconds: float = Field(default=20.0, ge=0)
    """How long runs may go on after the signal to stop; whoever stops the process should wait some ten seconds more."""

    engine: Literal["own", "none"] = "own"
    """``none``: this replica serves pages and readers only; others cook, or nobody does."""
    redis_url: str = Field(default="", repr=False)
    """Redis over which several replicas share line, limits and logs ("redis://host:6379/0"); empty: this one is alone.
    """
    lease_seconds: float = Field(default=6.0, gt=0)
    """A replica that Redis has not heard of for this long is taken to be dead, and another ends its runs."""
    secret: str = Field(default="", repr=False)
    """With which visitors' cookies are digested, the same for all replicas; empty: one is made and kept."""

    model: str = "smollm2-135m"
    """Name, model directory, ``.gguf`` file or hub id."""
    device: str = "auto"
    """``cpu``, ``cuda``, ``cuda:N``, or ``auto``: a GPU if there is one."""
    dtype: str = "auto"
    """``float32``, ``bfloat16``, ``float16``, or ``auto``: bfloat16 where the hardware multiplies it."""
    drafter: str | None = None
    """Speculative decoding: ``eagle``, ``ngram``, ``mismatched``, ``model:MODEL``, or several with commas between."""
    engine_endpoint: str = ""
    """ZeroMQ endpoint of an engine process that somebody else runs; empty: start our own."""
    engine_args: Annotated[tuple[str, ...], NoDecode] = ()
    """More arguments for the engine process that we start, separated by spaces."""
    engine_hang_seconds: float = Field(default=60.0, gt=0)
    """An engine silent for this long while runs are live is killed and started again."""
    engine_restart_seconds: float = Field(default=0.25, gt=0)
    """First wait before a restart; doubles with each failure to come up in a row, up to a minute, with jitter."""

    spare_engine: bool = True
    """A second engine process waits with its libraries imported (300 MB), so that one that crashed is replaced in two
    or three seconds instead of six."""

    max_prompt_chars: int = Field(default=65_536, ge=1)
    """Longest prompt, in characters."""
    max_tokens: int = Field(default=4_096, ge=1)
    """Most tokens that one run may ask for; the model's own length is checked besides."""
    max_body_bytes: int = Field(default=256 * 1024, ge=1)
    """Largest body of a request."""
    head_timeout: float = Field(default=20.0, gt=0)
    """A request's head must have come within this time."""
    body_timeout: float = Field(default=30.0, gt=0)
    """A request's body must have come within this time."""
    max_runs_per_visitor: int = Field(default=4, ge=1)
    """Live runs of one cookie, but for takes in their own line."""
    max_runs_per_address: int = Field(default=16, ge=1)
    """Live runs from one address: cookies are free to drop, and a class shares one address."""
    max_waiting_runs: int = Field(default=256, ge=1)
    """Runs in the line before the engine, of everybody. Addresses take turns in it, and at each its visitors."""
    max_waiting_takes: int = Field(default=8, ge=1)
    """Takes that wait for a second engine or have it, of everybody: each has the machine for itself for seconds."""
    posts_per_minute: float = Field(default=60.0, gt=0)
    """Per address, on average."""
    posts_burst: int = Field(default=20, ge=1)
    """Per address, at once: so many in each window of the time in which the average allows them."""
    posts_per_minute_in_all: float = Field(default=600.0, gt=0)
    """Of everybody."""
    post_bytes_per_minute: int = Field(default=4 * 1024 * 1024, ge=1)
    """Of the bodies of what one address sends."""
    post_bytes_per_minute_in_all: int = Field(default=64 * 1024 * 1024, ge=1)
    """Of everybody's."""
    max_readers_per_run: int = Field(default=1_500, ge=1)
    """Readers of one run at a time."""
    max_readers: int = Field(default=3_000, ge=1)
    """Readers of all runs at a time. Each holds a connection, and so an open file."""
    send_timeout: float = Field(default=30.0, gt=0)
    """A reader that takes nothing for this long is cut off, and told where to resume."""
    frame_seconds: float = Field(default=0.016, ge=0)
    """Events of one reader are batched for this long; longer under load."""
    accept_timeout: float = Field(default=5.0, gt=0)
    """How long a POST waits for the engine to say whether the prompt fits."""
    keep_runs: int = Field(default=1_000, ge=0)
    """Runs that are not kept by their creators; the oldest go first, each with its takes."""
    keep_days: float = Field(default=30.0, gt=0)
    """Of a run that its creator does not keep."""
    sweep_seconds: float = Field(default=3600.0, gt=0)
    """Between two looks at what need not be kept any longer."""
    max_log_bytes: int = Field(default=4 * 1024**3, ge=1024**2)
    """Of all logs on disk. What creators keep may take half of it."""
    max_kept_runs: int = Field(default=20, ge=0)
    """Runs that one visitor may keep beyond their time; 0: nobody keeps any."""
    max_listed_runs: int = Field(default=10, ge=0)
    """Runs that one visitor may list in the gallery; 0: it shows recordings alone."""
    live_log_bytes: int = Field(default=4 * 1024 * 1024, ge=0)
    """Of one live run's log, kept in memory (twice as much at most); what came before is read back from disk."""
    cached_log_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    """Closed logs kept in memory."""

    @field_validator("log_level", mode="before")
    @classmethod
    def lower_case(cls, value: object) -> object:
        """The names of levels are often written large."""
        return value.lower() if isinstance(value, str) else value

    @field_validator("redis_url")
    @classmethod
    def known_address(cls, value: str) -> str:
        """Refused here and not where the first visitor comes."""
        if value:
            check_redis_url(value)
        return value

    @field_validator("root_path")
    @classmethod
    def normalise_root_path(cls, value: str) -> str:
        """One leading slash and none at the end; empty for the root."""
        path = value.strip("/")
        return f"/{path}" if path else ""

    @field_validator("public_origins", "trusted_proxies", "allowed_hosts", "socket_origins", mode="before")
    @classmethod
    def split_commas(cls, value: object) -> object:
        """Variables hold lists separated by commas."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("engine_args", mode="before")
    @classmethod
    def split_words(cls, value: object) -> object:
        """Variables hold arguments separated by spaces."""
        return tuple(value.split()) if isinstance(value, str) else value
