"""The kitchen of a replica that has no engine: what the others' engines say of themselves."""

from __future__ import annotations

from app.kitchen import EngineStatus, Kitchen, Listener
from inference.messages import Command, Ready

NONE_HERE = "This replica has no engine of its own (OPENKITCHEN_ENGINE=none), and no other has one just now."


class KitchenElsewhere(Kitchen):
    """Nothing is started here and nothing is sent. Its state is that of the best engine among the other replicas."""

    def __init__(self) -> None:
        super().__init__([])
        self.status = EngineStatus("no_model", NONE_HERE)

    def start(self, listener: Listener) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to end."""
        self.status = EngineStatus("stopped", "The kitchen is closing.")

    def _send(self, command: Command) -> None:
        """Nobody is there."""

    def hear(self, status: EngineStatus | None, ready: Ready | None) -> None:
        """How the best engine elsewhere is; None where there is none."""
        if self.status.state != "stopped":
            self.status = status or EngineStatus("no_model", NONE_HERE)
            self.ready = ready
