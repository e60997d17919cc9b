"""``python -m app.healthcheck``: whether the kitchen of this container answers; its image has no curl to ask with.
Only the standard library, so that a look every half minute costs next to nothing."""

from __future__ import annotations

import http.client
import os
import sys

SECONDS = 4.0


def problem(port: int) -> str:
    """Why the site on ``port`` of this machine is not alive; empty when it is. (An engine that warms up or is started
    again is no reason to end the container: ``/healthz`` is asked, not ``/readyz``.)"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"nobody answers on port {port}: {error}"
    finally:
        connection.close()
    return "" if status == 200 else f"/healthz answers {status}"


if __name__ == "__main__":
    words = problem(int(os.environ.get("OPENKITCHEN_PORT") or 8000))
    if words:
        sys.exit(words)
