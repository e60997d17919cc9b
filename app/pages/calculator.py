"""The hall's calculator: ``inference/costs.py`` in HTML. No formula lives here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.pages.templates import render_fragment
from app.problems import FieldError, Problem
from inference.costs import BITS, KINDS, PRESETS, Calculation, calculate

CONTEXTS = tuple(2**power for power in range(10, 21))
BATCHES = tuple(2**power for power in range(11))
FIELDS = ("model", "context", "batch", "precision", "kind")
"""Of its form."""
BAR_WIDTH = 300.0
"""Of the longest bar, in the drawing's own units."""

router = APIRouter()


def calculation_of(query: Mapping[str, str]) -> Calculation:
    """What a form asks for; a model's own attention unless another is named. Raises 422 with the field's range."""
    numbers: dict[str, int] = {}
    for name, default in (("context", 4_096), ("batch", 1)):
        text = query.get(name, "") or str(default)
        numbers[name] = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1
    try:
        return calculate(
            query.get("model") or "llama-3.1-8b",
            numbers["context"],
            numbers["batch"],
            query.get("precision") or "bf16",
            kind=query.get("kind") or None,
        )
    except ValueError as error:
        detail = f"{str(error)[:300]}."
        raise Problem(422, "invalid", detail, (FieldError(detail.split(" ", 1)[0], detail),)) from error


def calculator_context(query: Mapping[str, str], *, lenient: bool = False) -> dict[str, Any]:
    """What ``fragments/calculator.html`` needs. ``lenient``: nonsense gives the first calculation, not an error."""
    try:
        calculation = calculation_of(query)
    except Problem:
        if not lenient:
            raise
        calculation = calculation_of({})
    longest = max(cost.total_bytes for cost in calculation.kinds)
    return {
        "calculation": calculation,
        "presets": PRESETS,
        "contexts": with_chosen(CONTEXTS, calculation.context),
        "batches": with_chosen(BATCHES, calculation.batch),
        "precisions": tuple(BITS),
        "kinds": KINDS,
        "bytes_per_value": f"{BITS[calculation.precision] / 8:g}",
        "bars": [(cost, BAR_WIDTH * cost.total_bytes / longest) for cost in calculation.kinds],
    }


def with_chosen(offered: tuple[int, ...], chosen: int) -> list[int]:
    """The offered values, and the chosen one in its place among them."""
    return sorted({*offered, chosen})


@router.api_route("/fragments/calculator/result", methods=["GET", "HEAD"])
async def show_result(request: Request) -> Response:
    """The result alone: the form stays as it is, with the focus where it was."""
    return render_fragment(request, "calculation.html", calculator_context(request.query_params))
