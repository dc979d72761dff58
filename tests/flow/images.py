"""Images built by buildah and run by podman, on a base that debootstrap made; no registry needed.

`UNDERSTUDY_TEST_BASE` names another base that podman has, where debootstrap cannot be had.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.flow.servers import NotThere

CACHE = Path.home() / ".cache" / "understudy"
BASE = CACHE / "base-bookworm-1.tar"
WHEELS = CACHE / "wheels"
NAME = "localhost/understudy-test-base"
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
MIRROR = "http://deb.debian.org/debian"
NOT_OF_A_BASE = (
    "var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man",
    "usr/share/locale", "var/log",
)  # fmt: skip


def said(*command: str) -> str:
    """What a command writes on stdout. Raises NotThere with the end of what it said if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    if done.returncode:
        told = f"{done.stdout}\n{done.stderr}".strip() or "no reason given"
        raise NotThere(f"`{' '.join(command[:3])}` failed: {told[-2000:]}")
    return done.stdout.strip()


def base() -> str:
    """A base image with Python and pip, by its digest, that podman can run. Raises NotThere."""
    for program in ("buildah", "podman"):
        if shutil.which(program) is None:
            raise NotThere(f"{program} is not installed")
    name = os.environ.get("UNDERSTUDY_TEST_BASE") or _made()
    said(*_podman(), "run", "--rm", *_limits(), name, "true")
    if "@" in name:
        return name
    return f"{name}@{said('podman', 'image', 'inspect', '--format', '{{.Digest}}', name)}"


def _made() -> str:
    if sys.version_info[:2] != (3, 11):
        raise NotThere("the base has Python 3.11, and the model is made by another one here")
    if not BASE.exists():
        if os.geteuid() != 0 or shutil.which("debootstrap") is None:
            raise NotThere("debootstrap, run by root, makes the base image; one of them is missing")
        _bootstrap()
    if subprocess.run(["podman", "image", "exists", NAME]).returncode:
        said("podman", "import", str(BASE), NAME)
    return NAME


def _bootstrap() -> None:
    """A small Debian in which `python` and `pip` work as they do in the usual Python images."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        include = f"--include={PACKAGES}"
        said("debootstrap", "--variant=minbase", include, "bookworm", str(root), MIRROR)
        for name in NOT_OF_A_BASE:
            shutil.rmtree(root / name)
            (root / name).mkdir()
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        next(root.glob("usr/lib/python3.*/EXTERNALLY-MANAGED")).unlink()
        part = BASE.with_suffix(f".{os.getpid()}")
        said("tar", "-C", str(root), "-cf", str(part), ".")
        part.rename(BASE)


@contextmanager
def built(context: Path, *, knows_secrets: bool = True) -> Iterator[str]:
    """An image of a context for as long as it is needed. Raises NotThere.

    Its wheels are fetched here, by pip as it is set up on this machine, and are kept for the next
    time. They reach the build with the secret `pip`, or with a file where it knows of none.
    """
    tag = f"localhost/understudy-test-{uuid.uuid4().hex[:12]}"
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder) / "pip.conf"
        conf.write_text(_pip(context / "requirements.txt"))
        volumes = (
            "--volume",
            f"{WHEELS}:/wheels:ro",
            "--volume",
            "/etc/ssl/certs:/etc/ssl/certs:ro",
        )
        secret = ("--secret", f"id=pip,src={conf}")
        mounted = ("--volume", f"{conf}:/etc/pip.conf:ro")
        said(
            "buildah", "bud", "--isolation", "chroot", "--format", "docker", "--quiet",
            *(secret if knows_secrets else mounted), *volumes, "--tag", tag, str(context),
        )  # fmt: skip
    try:
        yield tag
    finally:
        subprocess.run(["podman", "rmi", "--force", tag], capture_output=True)


def _pip(requirements: Path) -> str:
    """A pip.conf with which a build finds the wheels of a lock, which are here now."""
    WHEELS.mkdir(parents=True, exist_ok=True)
    pip = (sys.executable, "-m", "pip")
    if requirements.exists():
        wanted = ("--require-hashes", "--no-deps", "--requirement", str(requirements))
        said(*pip, "download", "--quiet", "--dest", str(WHEELS), *wanted)
    lines = ["[global]", "find-links = /wheels"]
    for line in said(*pip, "config", "list").splitlines():
        key, _, value = line.partition("=")
        if (name := key.rpartition(".")[2]) in ("cert", "index-url"):
            lines.append(f"{name} = {value.strip(chr(39))}")
    return "\n".join(dict.fromkeys(lines)) + "\n"


CONFINED = (
    "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp",  # noqa: S108
    "--cap-drop", "all", "--security-opt", "no-new-privileges",
)  # fmt: skip
"""A read-only file system and no privilege at all."""


@contextmanager
def running(image: str, *options: str, confined: bool = True) -> Iterator[str]:
    """A container on this machine's network."""
    name = f"understudy-test-{uuid.uuid4().hex[:12]}"
    said(
        *_podman(), "run", "--detach", "--name", name, "--network", "host", *_limits(),
        *(CONFINED if confined else ()), *options, image,
    )  # fmt: skip
    try:
        yield name
    finally:
        # Where there is no systemd, podman stumbles over the timer of a health check once, and
        # forgets the container only when it is asked again.
        for command in (("stop", "--time", "2"), ("rm", "--force"), ("rm", "--force", "--ignore")):
            with contextlib.suppress(subprocess.TimeoutExpired):
                podman(*command, name)


def inside(container: str, *command: str) -> subprocess.CompletedProcess[str]:
    """What a command in a container ends with."""
    whole = [*_podman(), "exec", container, *command]
    return subprocess.run(whole, capture_output=True, text=True, timeout=60)


def podman(*command: str) -> subprocess.CompletedProcess[str]:
    """What a command of podman ends with."""
    return subprocess.run([*_podman(), *command], capture_output=True, text=True, timeout=120)


def size(image: str) -> int:
    """Bytes of an image, unpacked."""
    return int(said("podman", "image", "inspect", "--format", "{{.Size}}", image))


def _podman() -> list[str]:
    # crun does not run where two versions of cgroups are mounted; runc does.
    return ["podman", "--runtime", "runc"] if shutil.which("runc") else ["podman"]


def _limits() -> list[str]:
    """No more than this process may have, which podman would otherwise try to raise."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return ["--ulimit", f"nofile={files}:{files}", "--ulimit", "nproc=4096:4096"]
