"""Three machines and a laptop on one computer: namespaces joined by a bridge, each with a home of its own, the machines with sshd.

The PID namespace keeps ``ray stop``, which ``ray up`` runs, from every other Ray on the computer. All of a machine hangs on the
process that made it: the kernel ends its processes when that one ends, also after SIGKILL, and with them go its mounts and its
network. Only folders can be left over; the next rig removes them.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.cluster.machine import HOME, PATH, SPACES, Log, Machine, RigError, kill, lines

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("unshare", "nsenter", "setpriv", "mount", "ip", "ss", "sshd", "ssh", "ssh-keygen", "rsync", "curl", "bash")
PREFIX, MADE = "regatta-cluster-", "mount-point"

HEAD = ("regatta-head", "10.77.0.1")
WORKERS = (("regatta-one", "10.77.0.2"), ("regatta-two", "10.77.0.3"))
LAPTOP = ("regatta-laptop", "10.77.0.4")

SSHD = """\
HostKey /run/image/host_key
AuthorizedKeysFile /run/image/key.pub
PasswordAuthentication no
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
PidFile none
MaxStartups 100
"""

# The first process of a machine also buries what loses its parent.
BOOT = """
set -eu
{mounts}
hostname {name}
{service}
echo ready
while :; do sleep 3600 & wait; done
"""


@dataclass(frozen=True, kw_only=True)
class Rig:
    """A laptop, which has the project and a key, and a head and workers, which have sshd and the libraries.

    ``shared`` is the shared storage as the computer sees it. ``~/.ssh/regatta`` on the laptop opens the machines.
    """

    laptop: Machine
    head: Machine
    workers: Sequence[Machine]
    shared: Path
    log: Log

    @property
    def nodes(self) -> Sequence[Machine]:
        """Head and workers."""
        return (self.head, *self.workers)


def absent() -> list[str]:
    """Programs that the machines need and that are not installed here."""
    return [tool for tool in TOOLS if shutil.which(tool, path=PATH) is None]


def forbidden() -> str | None:
    """Why no machines may be made here, or None."""
    if os.geteuid() != 0:
        return "it needs root"
    for command in (
        ["unshare", *SPACES, "--fork", "--mount-proc", "true"],
        [
            "unshare",
            "--net",
            "bash",
            "-c",
            "ip link add switch type bridge && ip link add port type veth peer name eth7",
        ],
    ):
        if shutil.which(command[0], path=PATH) is None:
            continue
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
        if tried.returncode != 0:
            return f"namespaces are not allowed here: {tried.stderr.strip() or shlex.join(command)}"
    return None


@contextmanager
def rig(*, mount_point: Path, venv: str) -> Iterator[Rig]:
    """Make the machines, and take all of it down at the end, however that comes.

    ``mount_point`` is where head and workers see the shared storage; ``venv`` is the folder in their homes that holds an
    environment with the libraries, but without the project.
    """
    with ExitStack() as stack:
        log = Log()
        stack.callback(log.close)
        stack.enter_context(_turn())
        _sweep_up(log)
        work = stack.enter_context(_folder())
        _image(work, venv)
        if not mount_point.exists():
            (work / MADE).write_text(str(mount_point))
            mount_point.mkdir()
            stack.callback(mount_point.rmdir)
        switch = stack.enter_context(_process(["unshare", "--net", "sleep", "infinity"]))
        _until(lambda: Path(f"/proc/{switch}/ns/net").readlink() != Path("/proc/self/ns/net").readlink())
        _in(switch, "ip link add bridge type bridge && ip link set bridge up")

        def machine(name: str, ip: str, *, node: bool) -> Machine:
            own = work / name
            (own / "tmp").mkdir(parents=True)
            if node:
                shutil.copytree(work / "home", own / "home", symlinks=True)
            else:
                (own / "home").mkdir()
            (own / "tmp").chmod(0o1777)
            mounts = _mounts(work, own, mount_point if node else None)
            service = f"{shutil.which('sshd', path=PATH)} -f /run/image/sshd_config" if node else ""
            script = BOOT.format(mounts="\n".join(mounts), name=name, service=service)
            # Neither may outlive the process that asked for it.
            started = stack.enter_context(
                _process(
                    ["unshare", *SPACES, "--fork", "--kill-child", "--mount-proc", "bash", "-c", script], ready=True
                )
            )
            init = psutil.Process(started).children()[0].pid
            _plug(switch, init, ip)
            made = Machine(name=name, ip=ip, init=init, log=log)
            log("rig", f"{name} is up at {ip}")
            return made

        built = Rig(
            laptop=machine(*LAPTOP, node=False),
            head=machine(*HEAD, node=True),
            workers=[machine(*worker, node=True) for worker in WORKERS],
            shared=work / "shared",
            log=log,
        )
        built.laptop.run("mkdir -m 700 .ssh && cp /run/image/key .ssh/regatta && chmod 600 .ssh/regatta", quiet=True)
        yield built
        log("rig", "taking it down")


def _mounts(work: Path, own: Path, mount_point: Path | None) -> list[str]:
    """The mounts of a machine: its own home and temporary folder, and the interpreter that they would hide."""
    kept = [Path(sys.base_prefix), Path(sys.prefix), *([] if mount_point else [ROOT])]
    lines = ["mount -t tmpfs tmpfs /run", "mkdir -p /run/sshd /run/image", f"cp -r {_q(work / 'image')}/. /run/image/"]
    lines += ["mount --bind /run/image/shadow /etc/shadow", "mount --bind /run/image/hosts /etc/hosts"]
    lines += ["mount -t tmpfs -o mode=1777 tmpfs /dev/shm"]
    for number, path in enumerate(kept):
        lines += [f"mkdir -p /run/kept/{number}", f"mount --rbind {_q(path)} /run/kept/{number}"]
    if mount_point is not None:
        # The project is there only as the launcher brings it.
        lines += [f"mount --bind {_q(work / 'shared')} {_q(mount_point)}", f"mount -t tmpfs tmpfs {_q(ROOT)}"]
    lines += [f"mount --bind {_q(own / 'home')} {_q(HOME)}", f"mount --bind {_q(own / 'tmp')} /tmp"]
    for number, path in enumerate(kept):
        lines += [f"mkdir -p {_q(path)}", f"mount --rbind /run/kept/{number} {_q(path)}"]
    return lines


def _environment(home: Path, venv: str) -> None:
    """Make a virtual environment that sees the libraries of this one; the project, installed here, is not seen from there.

    A line of a ``.pth`` file adds a folder, and the ``.pth`` files in that folder, which name the project, are not read. pip and
    setuptools are among the libraries.
    """
    folder, lies = home / venv, HOME / venv
    subprocess.run([Path(sys.executable).resolve(), "-m", "venv", "--without-pip", folder], check=True)
    libraries = next(path for path in sys.path if path.startswith(sys.prefix) and path.endswith("site-packages"))
    site = folder / Path(libraries).relative_to(sys.prefix)
    (site / "libraries.pth").write_text(f"{libraries}\n")
    for script in (Path(sys.prefix) / "bin").iterdir():
        with script.open("rb") as file:
            first = file.readline(200)
            if first.startswith(f"#!{sys.prefix}/bin/python".encode()):
                (folder / "bin" / script.name).write_bytes(f"#!{lies}/bin/python\n".encode() + file.read())
                (folder / "bin" / script.name).chmod(0o755)


def _image(work: Path, venv: str) -> None:
    """What the machines are made from: a key, the settings of sshd, names, and the home of a machine with sshd."""
    image, home = work / "image", work / "home"
    image.mkdir()
    (work / "shared").mkdir()
    (home / ".config" / "pip").mkdir(parents=True)
    # There is no internet: what is there must do.
    (home / ".config" / "pip" / "pip.conf").write_text("[global]\nno-index = true\nno-build-isolation = false\n")
    (home / ".profile").write_text(f"export PATH={sys.base_prefix}/bin:$PATH\n")
    (home / ".bashrc").touch()
    _environment(home, venv)
    for name in ("key", "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "regatta", "-f", image / name], check=True)
    (image / "sshd_config").write_text(SSHD)
    machines = "".join(f"{ip} {name}\n" for name, ip in (HEAD, *WORKERS, LAPTOP))
    (image / "hosts").write_text(f"127.0.0.1 localhost\n{machines}")
    # Without PAM, sshd refuses an account that is locked.
    (image / "shadow").write_text("root:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n")


def _plug(switch: int, init: int, ip: str) -> None:
    """A cable from a machine to the bridge."""
    port = f"port{ip.rpartition('.')[2]}"
    _in(switch, f"ip link add {port} type veth peer name eth0 netns {init}")
    _in(switch, f"ip link set {port} master bridge up")
    # The default route leads nowhere; Ray asks it for the machine's own address.
    _in(init, f"ip addr add {ip}/24 dev eth0; ip link set eth0 up; ip link set lo up; ip route add default dev eth0")


def _in(process: int, command: str) -> None:
    """Run a command in the network of a process."""
    subprocess.run(["nsenter", "--target", str(process), "--net", "bash", "-ec", command], check=True)


@contextmanager
def _process(command: Sequence[str], *, ready: bool = False) -> Iterator[int]:
    """A process that ends with this one; with ``ready`` it is waited for until it says so."""
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is for the test, which takes all of it down
    )
    try:
        said: list[str] = []
        if ready:
            for line in lines(process, time.monotonic() + 60):
                said.append(line)
                if line == "ready":
                    break
            else:
                raise RigError("a machine did not start: " + "\n".join(said))
        yield process.pid
    finally:
        kill(process)


@contextmanager
def _turn() -> Iterator[None]:
    """Waits for another rig on this computer to be taken down: both would use one mount point."""
    folder = os.open(tempfile.gettempdir(), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep_up(log: Log) -> None:
    """Remove what rigs that were killed have left: their folders, and mount points that they had made."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if (folder / MADE).exists():
            mount_point = Path((folder / MADE).read_text())
            if mount_point.is_dir() and not any(mount_point.iterdir()):
                mount_point.rmdir()
        shutil.rmtree(folder)
        log("rig", f"removed {folder}, which an earlier run had left")


def _until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RigError(f"a namespace was not there in {seconds:g} s")
        time.sleep(0.01)


def _q(path: Path) -> str:
    return shlex.quote(str(path))
