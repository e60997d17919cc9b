"""HTML from templates, and errors as whichever of HTML and JSON the caller can use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app.api.site import site_of
from app.catalogue import translations
from app.cited import cited_facts
from app.pages.units import human_bytes, human_count, human_duration, human_figure, human_wait
from app.problems import Problem, problem_response
from app.request_log import request_id_of
from app.runs import Run
from app.settings import ROOT

_RUN_ID = re.compile(r"[A-Za-z0-9_-]{22}")
NO_STORE = {"Cache-Control": "no-store", "Vary": "Cookie, HX-Request"}


@cache
def environment(language: str = "en") -> Environment:
    """The Jinja environment of a language: everything escaped, every name known, every text through the catalogue."""
    made = Environment(
        loader=FileSystemLoader(ROOT / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.policies["ext.i18n.trimmed"] = True
    made.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined]
    made.globals["cited_facts"] = cited_facts()
    made.globals["kitchen"] = True  # what a copy as plain files does without
    made.filters["bytes"] = human_bytes
    made.filters["thousands"] = human_count
    made.filters["duration"] = human_duration
    made.filters["wait"] = human_wait
    made.filters["figure"] = human_figure
    return made


def wants_fragment(request: Request) -> bool:
    """Whether htmx asks."""
    return request.headers.get("hx-request", "").lower() == "true"


def render_fragment(request: Request, name: str, context: Mapping[str, Any], status: int = 200) -> Response:
    """One of ``templates/fragments/``."""
    html = environment().get_template(f"fragments/{name}").render(status=site_of(request).kitchen.status, **context)
    return HTMLResponse(html, status_code=status, headers=NO_STORE)


def run_context(request: Request, run: Run | None) -> dict[str, Any]:
    """What the fragments about a run want to know."""
    return {"run": run.summary if run else None, "wait": site_of(request).orders.expected_wait(run) if run else None}


def render_run(request: Request, name: str, run: Run, status: int = 200) -> Response:
    """A fragment about a run."""
    return render_fragment(request, name, run_context(request, run), status)


def render_problem(request: Request, problem: Problem) -> Response:
    """A problem document; for htmx the same as a fragment that goes next to the prompt."""
    site_of(request).metrics.refused.labels(problem.code).inc()
    if wants_fragment(request):
        response = render_fragment(request, "problem.html", {"problem": problem}, status=problem.status)
        if request.method == "POST":
            # The prompt's form aims at the run; what went wrong belongs beside the box, which keeps its text.
            response.headers["HX-Retarget"] = "#prompt-error"
            response.headers["HX-Reswap"] = "innerHTML"
        elif request.method in ("PATCH", "DELETE") and _RUN_ID.fullmatch(
            run_id := request.path_params.get("run_id", "")
        ):
            # In a list of runs, beside the one that was to change: its card stays.
            response.headers["HX-Retarget"] = f"#run-{run_id} .card-problem"
            response.headers["HX-Reswap"] = "innerHTML"
        response.headers.update(problem.headers)
        return response
    return problem_response(problem, request_id=request_id_of(request))
