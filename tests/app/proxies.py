"""Real proxies in front of the site, by the very files that ``docs/`` offers: nginx and Caddy, TLS and a prefix."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import httpx
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from app.settings import ROOT
from tests.app.conftest import ServedSite

PROXY = "127.0.0.1"
READER = "127.0.0.2"
"""Another address than the proxy's, as a reader has."""

NGINX = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/documented.conf;
}}
"""
CADDY = "{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{documented}"


def program(name: str) -> str:
    """Debian keeps it where only root looks; ``./kitchen test`` unpacks nginx where only we do."""
    places = (shutil.which(name), f"/usr/sbin/{name}", str(ROOT / ".cache" / name / "usr" / "sbin" / name))
    found = next((place for place in places if place and os.access(place, os.X_OK)), None)
    assert found, f"This test wants {name}: ./kitchen test gets nginx on a Debian; else: apt-get install {name}"
    return found


def free_port() -> int:
    with socket.socket() as free:
        free.bind((PROXY, 0))
        port: int = free.getsockname()[1]
        return port


def with_own(text: str, own: dict[str, str]) -> str:
    """What is documented, with this test's ports and files in the place of the documented ones."""
    for documented, tested in own.items():
        assert documented in text, documented
        text = text.replace(documented, tested)
    return text


class Proxied(ServedSite):
    """The site, and a proxy in front of it. ``client`` and ``url`` are a reader's: they lead to the proxy."""

    def __init__(self, folder: Path, **settings: object) -> None:
        limits = {"posts_per_minute": 6, "posts_burst": 20}
        super().__init__(folder / "data", root_path="/kitchen", trusted_proxies=PROXY, **(limits | settings))
        self.folder = folder
        self.tls_port, self.plain_port = free_port(), free_port()
        self.certificate, self.key = folder / "certificate.pem", folder / "key.pem"
        self._certify()
        self.trust = ssl.create_default_context(cafile=str(self.certificate))
        self.url = f"https://{PROXY}:{self.tls_port}/kitchen/"
        self.client.close()
        self.client = self.reader()

    def command(self) -> list[str]:
        """Writes the proxy's configuration; what starts it."""
        raise NotImplementedError

    def _certify(self) -> None:
        """A certificate of our own making."""
        subject = ["-subj", "/CN=kitchen", "-addext", f"subjectAltName=IP:{PROXY}"]
        files = ["-keyout", str(self.key), "-out", str(self.certificate)]
        new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
        subprocess.run(["openssl", *new, *subject, *files], check=True, capture_output=True)

    def reader(self, address: str = READER) -> httpx.Client:
        """A reader at another address, who trusts our certificate."""
        transport = httpx.HTTPTransport(verify=self.trust, local_address=address)
        return httpx.Client(base_url=self.url, timeout=20, transport=transport)

    def start(self, *, ready: bool = True, seconds: float = 15.0) -> None:
        said = self.folder / "error.log"
        with said.open("ab") as log:
            self.proxy = subprocess.Popen(self.command(), stderr=log)

        def listens() -> bool:
            assert self.proxy.poll() is None, said.read_text()
            with socket.socket() as probe:
                return probe.connect_ex((PROXY, self.tls_port)) == 0

        self.wait(listens)
        super().start(ready=ready, seconds=seconds)

    def stop(self) -> None:
        super().stop()
        self.proxy.terminate()
        self.proxy.wait(10)

    def wss(self, run_id: str) -> ClientConnection:
        url = f"{self.url.replace('https', 'wss', 1)}api/runs/{run_id}/socket"
        return connect(url, subprotocols=[Subprotocol("trace.v1")], ssl=self.trust, max_size=None, proxy=None)


class BehindNginx(Proxied):
    """``docs/nginx/kitchen.conf``."""

    changes: dict[str, str] = {}  # noqa: RUF012  one that all share

    def command(self) -> list[str]:
        own = {
            "127.0.0.1:8000": f"127.0.0.1:{self.port}",
            "listen 443": f"listen {PROXY}:{self.tls_port}",
            "listen 80": f"listen {PROXY}:{self.plain_port}",
            "https://$host$": f"https://$host:{self.tls_port}$",
            "/etc/ssl/kitchen/fullchain.pem": str(self.certificate),
            "/etc/ssl/kitchen/privkey.pem": str(self.key),
        }
        documented = (ROOT / "docs" / "nginx" / "kitchen.conf").read_text()
        (self.folder / "documented.conf").write_text(with_own(documented, own | self.changes))
        return nginx(self.folder)


class BehindStrippingNginx(BehindNginx):
    """The same with the prefix taken off."""

    changes = {"proxy_pass http://kitchen;": "proxy_pass http://kitchen/;"}  # noqa: RUF012


class BehindCaddy(Proxied):
    """``docs/caddy/Caddyfile``."""

    handle = "handle"

    def command(self) -> list[str]:
        files = f"\tbind {PROXY}\n\ttls {self.certificate} {self.key}\n"
        own = {
            "kitchen.example.org {\n": f"https://{PROXY}:{self.tls_port} {{\n{files}",
            "127.0.0.1:8000": f"127.0.0.1:{self.port}",
            "\thandle /kitchen/*": f"\t{self.handle} /kitchen/*",
        }
        documented = with_own((ROOT / "docs" / "caddy" / "Caddyfile").read_text(), own)
        config = self.folder / "Caddyfile"
        config.write_text(CADDY.format(documented=documented))
        return [program("caddy"), "run", "--config", str(config), "--adapter", "caddyfile"]


class BehindStrippingCaddy(BehindCaddy):
    """The same with the prefix taken off."""

    handle = "handle_path"


def nginx(folder: Path) -> list[str]:
    """Starts an nginx on ``documented.conf`` that touches nothing outside ``folder``."""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, user="user root;" if os.geteuid() == 0 else ""))
    return [program("nginx"), "-e", str(folder / "error.log"), "-c", str(config)]
