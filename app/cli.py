"""``openkitchen``: every option is also an ``OPENKITCHEN_*`` variable."""

from __future__ import annotations

import sys
from importlib.util import find_spec
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
Drafter = Annotated[str | None, typer.Option(help="eagle, ngram, mismatched or model:MODEL.", show_default="none")]
EngineHere = Annotated[str | None, typer.Option(help="own, or none: pages and readers only.", show_default="own")]
DataDir = Annotated[Path | None, typer.Option(help="Where runs are kept.", show_default="data")]
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
    engine: EngineHere = None,
    data_dir: DataDir = None,
    root_path: RootPath = None,
) -> None:
    """Serve the page. It is up at once; the engine warms behind it."""
    # Imported here so that --help and the other commands do not wait for the web.
    import structlog

    from app.data_dir import DataDirUnusable
    from app.host_check import addresses
    from app.log_setup import set_up_logging
    from app.main import create_app
    from app.server import SPARE_FILES, PortTaken, allow_open_files, bind, make_server

    settings = settings_from(
        host=host,
        port=port,
        model=model,
        device=device,
        dtype=dtype,
        drafter=drafter,
        engine=engine,
        data_dir=data_dir,
        root_path=root_path,
    )
    if settings.redis_url and find_spec("redis") is None:
        fail("OPENKITCHEN_REDIS_URL is set, but Python has no redis package: pip install 'openkitchen[cluster]'")
    set_up_logging(settings.log_level, as_json=settings.log_json)
    try:
        listener = bind(settings.host, settings.port)
    except PortTaken as error:
        fail(str(error))
    bound_port = listener.getsockname()[1]
    shown_host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{shown_host}:{bound_port}{settings.root_path}/"
    try:
        site = create_app(settings)
    except DataDirUnusable as error:
        fail(str(error))
    for finding in addresses(settings):
        # (A proxy that is never believed shows nowhere else: the site is served all the same.)
        structlog.get_logger(__name__).warning(f"settings.{finding.topic}", found=finding.value, advice=finding.advice)
    allow_open_files(settings.max_readers + SPARE_FILES)
    server = make_server(site, settings, lambda: typer.echo(f"Open Kitchen is served at {url}"))
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    if not server.started:
        fail("The kitchen could not open; the lines above say why.")


@app.command()
def record(
    prompt: Annotated[
        str | None, typer.Option(help="What to ask the model.", envvar="OPENKITCHEN_RECORD_PROMPT")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Instead of a prompt: one of the recordings that the article opens with, by name, or all of them.",
            envvar="OPENKITCHEN_RECORD_RECIPE",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The file to write, NAME.jsonl.gz; of all recipes, the folder.",
            show_default="of recipes: where the article looks for them",
            envvar="OPENKITCHEN_RECORD_OUTPUT",
        ),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Most tokens of the answer.", envvar="OPENKITCHEN_RECORD_MAX_TOKENS")
    ] = 200,
    temperature: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="0 is greedy.", envvar="OPENKITCHEN_RECORD_TEMPERATURE")
    ] = 0.6,
    top_p: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Draw among the likeliest with this much of it.", envvar="OPENKITCHEN_RECORD_TOP_P"
        ),
    ] = 0.9,
    repetition_penalty: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=2.0,
            help="Over 1: what was said is less likely.",
            envvar="OPENKITCHEN_RECORD_REPETITION_PENALTY",
        ),
    ] = 1.1,
    seed: Annotated[
        int,
        typer.Option(help="The same seed, model and machine draw the same tokens.", envvar="OPENKITCHEN_RECORD_SEED"),
    ] = 0,
    model: Model = None,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Run one prompt on the real engine and keep its log as NAME.jsonl.gz; or, by --recipe, make one or all of the
    recordings that the article opens with. A recipe brings its own prompt and parameters, and fails unless its
    recording shows what its room is about."""
    if (prompt is None) == (recipe is None):
        fail("Say what to record: --prompt TEXT or --recipe NAME.")
    settings = settings_from(model=model, device=device, dtype=dtype)
    if recipe is not None:
        _record_recipes(recipe, output, settings)
        return
    assert prompt is not None
    if output is None:
        fail("Name the file to write with -o NAME.jsonl.gz.")
    _check_recording(output)
    from app.record import CannotRecord
    from app.record import record as make
    from inference.models import ModelNotFound
    from inference.sequence import SamplingParams

    params = SamplingParams(
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
    )

    progress = Progress()
    try:
        answer = make(prompt, params, output, settings, progress.show)
    except (CannotRecord, ModelNotFound, ValueError, OSError) as error:
        progress.clear()
        fail(f"Nothing was recorded: {error}")
    progress.clear()
    typer.echo(answer)
    typer.echo(f"{output}: {output.stat().st_size / 1000:.0f} kB", err=True)


def _record_recipes(name: str, output: Path | None, settings: Settings) -> None:
    """``record --recipe``."""
    from app.recipes import RECIPES, ShowsNothing
    from app.record import CannotRecord
    from app.recording import record_recipes
    from inference.models import ModelNotFound

    if name != "all" and name not in RECIPES:
        fail(f"There is no recipe {name!r}; there are {', '.join(RECIPES)}, and all.")
    if output is not None and name != "all":
        _check_recording(output)
    elif output is not None and not output.is_dir():
        fail(f"There is no folder {output}. Make it first, or name another with -o.")
    progress = Progress()
    try:
        for file in record_recipes(list(RECIPES) if name == "all" else [name], output, settings, progress.show):
            progress.clear()
            typer.echo(f"{file}: {file.stat().st_size / 1000:.0f} kB", err=True)
    except (CannotRecord, ShowsNothing, ModelNotFound, ValueError, RuntimeError, OSError) as error:
        progress.clear()
        fail(f"Stopped: {error}")


def _check_recording(output: Path) -> None:
    if not output.parent.is_dir():
        fail(f"There is no folder {output.parent}. Make it first, or name another file with -o.")
    if not output.name.endswith(".jsonl.gz"):
        fail(f"A recording is called NAME.jsonl.gz, not {output.name}.")


@app.command()
def export(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to write it.", envvar="OPENKITCHEN_EXPORT_FOLDER")
    ],
    run: Annotated[
        list[str] | None,
        typer.Option(
            help="A finished run to take along, by its id; as often as you like.", envvar="OPENKITCHEN_EXPORT_RUN"
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Though DIR holds other files; they stay.", envvar="OPENKITCHEN_EXPORT_FORCE"),
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Write the article, its rooms for frames and its recordings as plain files: any web server serves them, under any
    path, with no kitchen behind them."""
    from app.export import CannotExport
    from app.export import export as write

    try:
        files = write(folder, settings_from(data_dir=data_dir), run or [], force=force)
    except (CannotExport, OSError) as error:
        fail(f"Nothing was exported: {error}")
    size = sum((folder / name).stat().st_size for name in files)
    typer.echo(f"{folder}: {len(files)} files, {size / 1e6:.1f} MB. To look at it: python3 -m http.server -d {folder}")


@app.command()
def bench(
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures there too.", envvar="OPENKITCHEN_BENCH_JSON")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            help="engine, quantization, speculation, sockets, readers, cluster, page, rooms, embeds or lighthouse; "
            "all when not given.",
            envvar="OPENKITCHEN_BENCH_ONLY",
        ),
    ] = None,
) -> None:
    """Measure the engine and the page on this machine. Exits with 1 when a bound is not met."""
    from benchmarks import suite

    if only is not None and only not in suite.PARTS:
        fail(f"There is no part {only!r}; there are {', '.join(suite.PARTS)}.")
    if not suite.run([only] if only else suite.PARTS, json_file=json_file):
        raise typer.Exit(1)


@app.command()
def doctor(
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the report there too.", envvar="OPENKITCHEN_DOCTOR_JSON")
    ] = None,
    model: Model = None,
    device: Device = None,
    dtype: Dtype = None,
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    root_path: RootPath = None,
) -> None:
    """Say what this machine has, what would be used, what is missing and how to get it. On a GPU, check the kernels
    and measure them. Exits with 1 when something needed is missing, or a kernel is wrong."""
    if json_file is not None and not json_file.absolute().parent.is_dir():
        fail(f"There is no folder {json_file.parent}. Make it first, or name another file with --json.")
    import msgspec

    from app.doctor import examine

    settings = settings_from(
        model=model, device=device, dtype=dtype, data_dir=data_dir, host=host, port=port, root_path=root_path
    )
    report = examine(settings, typer.echo)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    if not report.healthy:
        raise typer.Exit(1)


class Progress:
    """How far a command is, on standard error: one line that changes on a terminal, else a line for each stage."""

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._stage = ""

    def show(self, stage: str, fraction: float | None) -> None:
        """``fraction`` is of the stage, None where nobody knows."""
        if self._on_terminal:
            typer.echo(f"\r\033[K{stage}{'' if fraction is None else f' {fraction:.0%}'}", err=True, nl=False)
        elif stage != self._stage:
            typer.echo(stage, err=True)
        self._stage = stage

    def clear(self) -> None:
        """What follows begins on a line of its own."""
        if self._on_terminal:
            typer.echo("\r\033[K", err=True, nl=False)


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
