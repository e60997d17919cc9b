"""One rank of ``test_sharding.py``, under torchrun: does the job, and keeps its logits and PyTorch's own count."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import errors
from torch.distributed.tensor.debug import CommDebugMode

from inference.events import Event, encode
from inference.sharding import JOB, Job, load_shard, run_rank


@errors.record
def main(folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    job = msgspec.json.decode((folder / JOB).read_bytes(), type=Job)
    module = load_shard(job.path)
    said: list[Event] = []
    torch.save(run_rank(module, job, said.append), folder / f"logits-{rank}.pt")
    (folder / f"rank-{rank}.jsonl").write_bytes(b"\n".join(encode(event) for event in said))
    with CommDebugMode() as counter, torch.no_grad():
        module(torch.tensor([job.token_ids]), logits_to_keep=1)
    counts = {str(operation): count for operation, count in counter.get_comm_counts().items()}
    held = sum((p.to_local() if hasattr(p, "to_local") else p).numel() for p in module.parameters())
    (folder / f"counts-{rank}.json").write_bytes(msgspec.json.encode({"counts": counts, "held": held}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
