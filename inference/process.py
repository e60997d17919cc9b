"""What the engine wants of its process: to end with its parent, and to hold no more memory than it needs."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading

logger = logging.getLogger("inference.worker")

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask Linux for a SIGTERM when the parent dies. Elsewhere the loop looks for itself."""
    if sys.platform == "linux":
        try:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        except (OSError, AttributeError):
            logger.debug("no prctl here")


def give_way() -> None:
    """Let this thread, and no other of the process, run when the rest of the machine leaves it time. (On Linux a thread
    has a niceness of its own: sched(7).)"""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def trim_memory() -> None:
    """Hand what the C library holds of freed memory back to the system, where it is glibc (``malloc_trim(3)``)."""
    if sys.platform == "linux":
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except (OSError, AttributeError):
            logger.debug("no malloc_trim here")


def bound_shape_caches() -> None:
    """Keep the routines of the last 128 shapes alone. oneDNN and PyTorch's layer over it each keep 1,024 of a matrix
    product's, some 100 KB apiece, and every number of tokens in a step is a shape of its own: an engine that had seen
    a few thousand prompts was 250 MB larger for it and no faster. (Read when torch is imported.)"""
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, "128")
