"""``openkitchen``: every option is also an ``OPENKITCHEN_*`` variable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from app.settings import Settings

app = typer.Typer(
    name="openkitchen",
    help="A web page on which a reader watches a language model serve a request.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)

Host = Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one.", show_default="8000")]
Model = Annotated[str | None, typer.Option(help="Name, path, .gguf file or hub id.", show_default="smollm2-135m")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or auto.", show_default="auto")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or auto.", show_default="auto")]
Drafter = Annotated[str | None, typer.Option(help="A drafter for speculation.", show_default="none")]
DataDir = Annotated[Path | None, typer.Option(help="Where runs and converted models are kept.", show_default="data")]
RootPath = Annotated[str | None, typer.Option(help="Prefix under which a proxy serves the site.", show_default="/")]


@app.callback()
def openkitchen() -> None:
    """Open Kitchen."""


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    model: Model = None,
    device: Device = None,
    dtype: Dtype = None,
    drafter: Drafter = None,
    data_dir: DataDir = None,
    root_path: RootPath = None,
) -> None:
    """Serve the page. It is up at once; the engine warms behind it."""
    # Imported here so that --help and the other commands do not wait for the web.
    from app.log_setup import set_up_logging
    from app.main import create_app
    from app.server import PortTaken, bind, make_server

    settings = settings_from(
        host=host,
        port=port,
        model=model,
        device=device,
        dtype=dtype,
        drafter=drafter,
        data_dir=data_dir,
        root_path=root_path,
    )
    set_up_logging(settings.log_level, as_json=settings.log_json)
    try:
        listener = bind(settings.host, settings.port)
    except PortTaken as error:
        fail(str(error))
    bound_port = listener.getsockname()[1]
    shown_host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{shown_host}:{bound_port}{settings.root_path}/"
    server = make_server(create_app(settings), settings, lambda: typer.echo(f"Open Kitchen is served at {url}"))
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    if not server.started:
        fail("The kitchen could not open; the lines above say why.")


def settings_from(**given: object) -> Settings:
    """Settings with what the command line gave; exits with the reason where a value is no good."""
    from pydantic import ValidationError

    from app.settings import Settings

    try:
        return Settings.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        for item in error.errors(include_url=False):
            typer.echo(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}", err=True)
        raise typer.Exit(2) from None


def fail(message: str) -> NoReturn:
    """End with a sentence instead of a traceback."""
    typer.echo(message, err=True)
    raise typer.Exit(1)


def main() -> None:
    """The ``openkitchen`` program."""
    app()


if __name__ == "__main__":
    main()
