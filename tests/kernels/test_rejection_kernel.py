"""The rejection sampler's kernel against its torch reference: the same draws, the same tokens."""

from __future__ import annotations

import pytest
import torch

from inference.kernel_check import REJECTION_CASES, RejectionCase, rejection_differences, rejection_inputs
from inference.speculation.triton_rejection import judge_batch

CPU = torch.device("cpu")


@pytest.mark.parametrize("case", REJECTION_CASES, ids=str)
def test_the_kernel_judges_as_the_reference(case: RejectionCase) -> None:
    assert rejection_differences(case, CPU) == 0


def test_the_cases_hold_every_outcome() -> None:
    """Else equality would say little: none kept, some kept, all kept."""
    kept = {int(n) for n in judge_batch(*rejection_inputs(RejectionCase(24, 4, 1500), CPU))[0]}
    assert kept == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("uniform", [0.0, 0.25, 0.5, 0.75, 1 - 2**-53])
def test_a_draw_at_an_edge_takes_a_token_that_can_be(uniform: float) -> None:
    p = torch.tensor([[[0.0, 0.25, 0.25, 0.0, 0.5, 0.0]]])
    draws = torch.tensor([[uniform]], dtype=torch.float64)
    _, token = judge_batch(p, p[:, :0].contiguous(), torch.empty(1, 0, dtype=torch.long), draws)
    assert token.item() == {0.0: 1, 0.25: 2, 0.5: 4, 0.75: 4}.get(uniform, 4)
