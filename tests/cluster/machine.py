"""A machine that is up: running commands on it, and saying what they say."""

from __future__ import annotations

import os
import pwd
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import psutil

HOME = Path(pwd.getpwuid(0).pw_dir)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SPACES = ("--mount", "--net", "--pid", "--uts", "--ipc")


class RigError(Exception):
    """The machines cannot be made, or a command on one of them failed or hung."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A command that has ended, and all that it said."""

    status: int
    text: str


class Log:
    """Says what happens, on standard output and in the file that ``REGATTA_CLUSTER_LOG`` names."""

    def __init__(self) -> None:
        named = os.environ.get("REGATTA_CLUSTER_LOG")
        self._begun = time.monotonic()
        self._file: TextIO | None = Path(named).open("w") if named else None  # noqa: SIM115

    def __call__(self, who: str, text: str) -> None:
        line = f"[{time.monotonic() - self._begun:6.1f} s] {who}: {text}"
        print(line, flush=True)
        if self._file is not None:
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine that is up; ``init`` is its first process as the computer numbers it."""

    name: str
    ip: str
    init: int
    log: Log

    def run(
        self,
        command: str,
        *,
        check: bool = True,
        seconds: float = 300,
        quiet: bool = False,
        heard: Callable[[str], None] | None = None,
    ) -> Done:
        """Run a command in bash, in the home folder, and say what it says; ``heard`` gets every line as it comes.

        Raises RigError when it fails and ``check`` is set, and when it is not done in time.
        """
        if not quiet:
            self.log(self.name, f"$ {command}")
        process = subprocess.Popen(
            ["nsenter", "--target", str(self.init), *SPACES, "bash", "-c", f"cd; {command}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                "HOME": str(HOME),
                "PATH": f"{sys.prefix}/bin:{PATH}",
                "LANG": "C.UTF-8",
                "TERM": "dumb",
                "USER": "root",
            },
        )
        said: list[str] = []
        for line in lines(process, time.monotonic() + seconds):
            said.append(line)
            if not quiet:
                self.log(self.name, line)
            if heard is not None:
                heard(line)
        late = process.poll() is None
        kill(process)
        if late:
            raise RigError(f"{self.name}: {command!r} was not done in {seconds:g} s; it said\n" + "\n".join(said[-20:]))
        if check and process.returncode != 0:
            raise RigError(
                f"{self.name}: {command!r} left with {process.returncode}; it said\n" + "\n".join(said[-20:])
            )
        return Done(status=process.returncode, text="\n".join(said))


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all below it, and wait for them."""
    below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    for one in below:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.kill()
    process.wait()
    psutil.wait_procs(below, timeout=30)
    if process.stdout is not None:
        process.stdout.close()


def lines(process: subprocess.Popen[bytes], deadline: float) -> Iterator[str]:
    """The lines of a process as they come, until it ends or its time is over."""
    assert process.stdout is not None
    rest = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([process.stdout], [], [], left)[0]:
            break
        chunk = os.read(process.stdout.fileno(), 65536)
        if not chunk:
            process.wait()
            break
        *whole, rest = (rest + chunk).replace(b"\r\n", b"\n").split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
    if rest:
        yield rest.decode(errors="replace")
