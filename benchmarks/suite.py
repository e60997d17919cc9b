"""What `openkitchen bench` runs, and how it prints and keeps the figures."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterable
from pathlib import Path

PARTS = {
    "engine": "the engine against transformers.generate, and what events cost",
    "quantization": "8 and 4 bits: bytes, speed at batch 1, and what they cost in quality",
    "speculation": "drafters at batch 1: acceptance, what a verification costs, and what comes of it",
    "sockets": "what a socket reader costs a step",
    "readers": "a thousand socket readers of one run while a hundred are queued: delivery, processor time, memory",
    "cluster": "a thousand readers at two replicas over Redis (needs redis-server)",
    "recovery": "the engine killed in the middle of a run: seconds to the closed log, and to the next prompt",
    "visit": "a first visit to the article, with single modules and with a bundle (needs Chromium and Node)",
    "page": "from Enter to paint, page weight, frames (needs Chromium)",
    "rooms": "a walk through all rooms while a run streams: frames, layout, memory, weight (needs Chromium)",
    "embeds": "ten rooms in frames on another origin's page, scrolled past (needs Chromium)",
    "lighthouse": "what Lighthouse says of the served page (needs Chromium and Node)",
}


def run(parts: Iterable[str] = PARTS, *, json_file: Path | None = None) -> bool:
    """Measure the named parts one after the other; prints a line a figure. True when every bound is met."""
    figures = []
    for part in parts:
        print(f"# {part}: {PARTS[part]}", flush=True)
        for figure in importlib.import_module(f"benchmarks.{part}").run():
            print(figure.line(), flush=True)
            figures.append(figure)
    if json_file is not None:
        import torch

        from inference.roofline import processor_name

        report = {
            "measured_at": time.time(),
            "machine": processor_name(torch.device("cpu")),
            "figures": [figure.as_dict() for figure in figures],
        }
        json_file.write_text(json.dumps(report, indent=2) + "\n")
    return all(figure.met is not False for figure in figures)
