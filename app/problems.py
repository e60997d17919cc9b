"""Errors as RFC 9457 problems, and the same as a fragment for htmx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field of a request. ``detail`` names the field and its range."""

    field: str
    detail: str


@dataclass(eq=False)
class Problem(Exception):
    """An answer that is an error. ``code`` is for programs, ``detail`` one sentence for people."""

    status: int
    code: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The status in the words of HTTP."""
        return HTTPStatus(self.status).phrase

    def to_dict(self) -> dict[str, Any]:
        """The members of the problem document; ``type`` is about:blank, so ``title`` is the status's own phrase."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.errors:
            document["errors"] = [{"field": error.field, "detail": error.detail} for error in self.errors]
        return document


def retry_later(status: int, code: str, detail: str, seconds: float) -> Problem:
    """A problem that passes: ``Retry-After`` in whole seconds, at least one."""
    return Problem(status, code, detail, headers={"Retry-After": str(max(1, int(-(-seconds // 1))))})


def unknown_run() -> Problem:
    """The same answer for an id that never was, is gone, or is malformed."""
    return Problem(404, "unknown_run", "There is no run of that name here. It may be older than this kitchen keeps.")


def closing() -> Problem:
    """No more runs: the site is being shut down."""
    return retry_later(503, "closing", "The kitchen is closing.", 10.0)


def problem_response(problem: Problem, **members: str) -> JSONResponse:
    """The problem document, with ``members`` more that are not empty."""
    return JSONResponse(
        problem.to_dict() | {name: value for name, value in members.items() if value},
        status_code=problem.status,
        media_type="application/problem+json",
        headers={"Cache-Control": "no-store", **problem.headers},
    )
