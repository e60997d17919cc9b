"""One replica of the kitchen in a process of its own, with the scripted engine or none: it says its port on one line.

python -m tests.app.replica DATA_DIR      (settings from OPENKITCHEN_* variables)
"""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from app.log_setup import set_up_logging
from app.main import create_app
from app.server import bind, make_server
from app.settings import Settings

WORKER = (sys.executable, "-m", "tests.app.fake_worker")


def main() -> None:
    settings = Settings(data_dir=Path(sys.argv[1]), port=0)
    set_up_logging("info", as_json=True)
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    app = create_app(settings, worker=WORKER)
    make_server(app, settings, lambda: typer.echo(f"port {port}")).run(sockets=[listener])


if __name__ == "__main__":
    main()
