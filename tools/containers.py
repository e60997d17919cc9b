"""Containers of an image, by Docker or Podman where there is one; else by Linux, from files that buildah unpacks.

Each has no network but its loopback, a read-only root with a tmpfs on /tmp, no capabilities, and volumes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, Protocol

OWNER = 10001
"""The image's user, who must own what is mounted as a volume."""


class Container(Protocol):
    """One that was started."""

    began: float
    """On the monotonic clock."""

    def execute(self, words: list[str]) -> subprocess.CompletedProcess[bytes]:
        """Run a program in it."""

    def runs(self) -> bool:
        """It has not ended."""

    def stop(self, seconds: float) -> int:
        """SIGTERM, after ``seconds`` SIGKILL; the exit status."""

    def words(self) -> str:
        """What it printed."""

    def remove(self) -> None:
        """End it, and leave nothing of it."""


class Engine(Protocol):
    """Who starts containers."""

    def config(self, image: str) -> dict[str, Any]:
        """The image's configuration, in the spelling of the OCI."""

    def start(self, image: str, volumes: dict[str, Path], env: dict[str, str]) -> Container:
        """A container of ``image``."""

    def close(self) -> None:
        """Leave nothing behind."""


def engine_named(name: str | None) -> Engine:
    """The engine of that name, or the first that is here."""
    found = name or next((name for name in ("docker", "podman", "buildah") if shutil.which(name)), None)
    if found is None or not shutil.which(found):
        raise SystemExit(f"There is no {found or 'docker, podman or buildah'} here.")
    if found != "buildah":
        return Command(found)
    if os.getuid() != 0:
        raise SystemExit("With buildah alone this must be run as root: it makes namespaces and mounts.")
    return Namespaces()


def make_volumes(volumes: dict[str, Path]) -> None:
    for folder in volumes.values():
        folder.mkdir(exist_ok=True)
        os.chown(folder, OWNER, OWNER)


def output(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


# ---- Docker, Podman --------------------------------------------------------------------------------------------------


class Command:
    """The command line that Docker and Podman share."""

    def __init__(self, program: str) -> None:
        self.program = program

    def config(self, image: str) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(output(self.program, "image", "inspect", image))[0]["Config"]
        return config

    def start(self, image: str, volumes: dict[str, Path], env: dict[str, str]) -> Container:
        make_volumes(volumes)
        name = f"check-image-{uuid.uuid4().hex[:12]}"
        walls = ["--network=none", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
        mounts = [f"--volume={folder}:{place}" for place, folder in volumes.items()]
        values = [f"--env={key}={value}" for key, value in env.items()]
        output(self.program, "create", f"--name={name}", *walls, *mounts, *values, image)
        return CommandContainer(self.program, name)

    def close(self) -> None:
        """Each container was removed by itself."""


class CommandContainer:
    """A container by its name."""

    def __init__(self, program: str, name: str) -> None:
        self.program = program
        self.name = name
        self.began = time.monotonic()
        output(program, "start", name)

    def execute(self, words: list[str]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([self.program, "exec", self.name, *words], capture_output=True, check=False)

    def _state(self, field: str) -> str:
        return output(self.program, "inspect", "--format", f"{{{{.State.{field}}}}}", self.name).strip()

    def runs(self) -> bool:
        return self._state("Running") == "true"

    def stop(self, seconds: float) -> int:
        output(self.program, "stop", "--time", str(round(seconds)), self.name)
        return int(self._state("ExitCode"))

    def words(self) -> str:
        ran = subprocess.run([self.program, "logs", self.name], capture_output=True, text=True, check=False)
        return ran.stdout + ran.stderr

    def remove(self) -> None:
        output(self.program, "rm", "--force", self.name)


# ---- namespaces ------------------------------------------------------------------------------------------------------

BUILDAH = ("buildah", "--storage-driver", "vfs")

ENTER = """
set -e
ip link set lo up
root=$1; user=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,ro,bind "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do mount --bind "$2" "$root$1"; shift 2; done
shift
exec setpriv --no-new-privs chroot --userspec="$user" --groups= "$root" /usr/bin/env -i "$@"
"""
"""In namespaces of its own (mounts, processes, network): a root that cannot be written, then the program as process 1
and as the image's user, with no capability left."""


class Namespaces:
    """No engine at all: buildah's files under Linux's own walls. They are unpacked once: nothing is written to them."""

    def __init__(self) -> None:
        self._unpacked: dict[str, tuple[str, str]] = {}

    def config(self, image: str) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(output(*BUILDAH, "inspect", "--type", "image", image))["OCIv1"]["config"]
        return config

    def start(self, image: str, volumes: dict[str, Path], env: dict[str, str]) -> Container:
        make_volumes(volumes)
        config = self.config(image)
        root = self._root(image)
        values = [*config["Env"], *(f"{key}={value}" for key, value in env.items())]
        mounts = [word for place, folder in volumes.items() for word in (place, str(folder))]
        program = [*config["Entrypoint"], *config.get("Cmd", [])]
        walls = ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"]
        said = tempfile.TemporaryFile()  # noqa: SIM115  the container's, as long as it lasts
        process = subprocess.Popen(
            [*walls, "sh", "-c", ENTER, "sh", root, config["User"], *mounts, "--", *values, *program],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd="/",
        )
        return NamespacesContainer(process, config["User"], values, said)

    def _root(self, image: str) -> str:
        if image not in self._unpacked:
            name = output(*BUILDAH, "from", "--pull-never", image).strip()
            self._unpacked[image] = (name, output(*BUILDAH, "mount", name).strip())
        return self._unpacked[image][1]

    def close(self) -> None:
        """Remove what was unpacked."""
        for name, _ in self._unpacked.values():
            output(*BUILDAH, "rm", name)


class NamespacesContainer:
    """The namespaces of a process."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        user: str,
        values: list[str],
        said: Any,  # noqa: ANN401
    ) -> None:
        self.began = time.monotonic()
        self._process = process
        self._user = user
        self._values = values
        self._said = said

    @property
    def _first(self) -> str:
        """The container's process 1, by the number that it has here; empty when there is none (yet)."""
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        try:
            return path.read_text().strip()
        except OSError:
            return ""

    def execute(self, words: list[str]) -> subprocess.CompletedProcess[bytes]:
        uid, _, gid = self._user.partition(":")
        inside = ["nsenter", "--target", self._first or "0", "--mount", "--pid", "--net", "--root", "--wd"]
        user = ["--setuid", uid, "--setgid", gid or uid]
        return subprocess.run(
            [*inside, *user, "/usr/bin/env", "-i", *self._values, *words], capture_output=True, check=False
        )

    def runs(self) -> bool:
        return self._process.poll() is None

    def stop(self, seconds: float) -> int:
        subprocess.run(["kill", "-TERM", self._first], check=True)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._kill()
            return 137

    def _kill(self) -> None:
        """Process 1 first, and with it all the others: it changed its user, and so does not end with its parent."""
        if first := self._first:
            subprocess.run(["kill", "-KILL", first], check=False)
        self._process.wait()

    def words(self) -> str:
        self._said.seek(0)
        return str(self._said.read().decode(errors="replace"))

    def remove(self) -> None:
        self._kill()
        self._said.close()
