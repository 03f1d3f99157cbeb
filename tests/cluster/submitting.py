"""The shipped cluster file on three machines: up, submit, fetch, down, as a user types it.

It needs root, and is run by ``make test-cluster``, not with the other tests, which its name keeps it out of. The tests are steps of
one afternoon and run in order.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from analysis.ledger import read_ledger
from sweeps.engine.machine import source_hash
from tests.cluster.machine import HOME, Done, Machine
from tests.cluster.rig import HEAD, ROOT, WORKERS, Rig, absent, forbidden, rig

SHARED, VENV = Path("/shared"), "regatta-venv"
"""What the shipped file takes for granted."""

FILE = "~/cluster.yaml"
OPTIONS = "--quick --trials 2 --seeds 2 --epochs 60"
"""Long enough that the machine whose worker starts last is there before all is done."""

NAME = "batch_size-quick"

CPUS = 1
"""Of each machine: fewer than trials, so that none is left out, and than workers of a trial, so that they need two."""

CALLS = (
    "ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "ray.rpc.NodeManagerService/GetSystemConfig",
    "ray.rpc.ObjectManagerService/Pull",
    "ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "ray.rpc.RayletDriver/ClusterInfo",
)
"""A question for each kind of Ray's servers."""

UNIMPLEMENTED, UNAUTHENTICATED = 12, 16
"""What gRPC says to a question for another kind of server, and to one without the token."""


@dataclass(frozen=True, kw_only=True)
class Lab:
    """The machines, with a cluster file and a token on the laptop."""

    rig: Rig
    runs: Path

    def ray(
        self, command: str, *, check: bool = True, seconds: float = 600, heard: Callable[[str], None] | None = None
    ) -> Done:
        """One of Ray's commands on the laptop, in the root of the project, said as in a terminal."""
        verb, rest = command.split(maxsplit=1)
        return self.rig.laptop.run(
            f"cd {shlex.quote(str(ROOT))} && ray {verb} --log-style pretty --log-color false {rest}",
            check=check,
            seconds=seconds,
            heard=heard,
        )


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The cluster, up."""
    _able()
    cluster = yaml.safe_load((ROOT / "cluster-local.yaml").read_text())
    cluster["provider"] |= {"head_ip": HEAD[1], "worker_ips": [ip for _, ip in WORKERS]}
    cluster["auth"] |= {"ssh_user": "root"}
    # Each would count all of the computer's processors as its own.
    for part in ("head_start_ray_commands", "worker_start_ray_commands"):
        cluster[part] = [line.replace("ray start", f"ray start --num-cpus={CPUS}") for line in cluster[part]]
    with rig(mount_point=SHARED, venv=VENV) as machines:
        made = Lab(rig=machines, runs=machines.shared / "runs")
        machines.laptop.run(f"printf %s {shlex.quote(yaml.safe_dump(cluster))} > {FILE}", quiet=True)
        machines.laptop.run("ray get-auth-token --generate > /dev/null; chmod 600 ~/.ray/auth_token")
        made.ray(f"up -y {FILE}")
        yield made


def _able() -> None:
    """Skip, in words that cannot be overlooked, where machines cannot be made; for CI a program that is missing is a failure."""
    reason, tools = forbidden(), absent()
    if reason is None and tools and os.environ.get("CI"):
        pytest.fail(f"{', '.join(tools)} not found; install openssh-server, iproute2, rsync, curl and util-linux")
    if reason is None and tools:
        reason = f"{', '.join(tools)} not found: apt-get install openssh-server iproute2 rsync curl util-linux"
    if reason is not None:
        print(f"\n*** cluster test NOT run: {reason} ***", flush=True)
        pytest.skip(f"cluster test NOT run: {reason}")


@pytest.fixture(scope="module")
def answered_then(lab: Lab) -> bool:
    """Submits the sweep, and says whether its answer was there when its first lines came."""
    there: list[bool] = []

    def heard(line: str) -> None:
        if "Starting Ray" in line:
            there.append((lab.runs / NAME / "verdict.json").exists())

    # The workers are still joining: the sweep waits for them.
    said = lab.ray(f"submit {FILE} sweeps/batch_size.py -- {OPTIONS}", seconds=900, heard=heard)
    assert "Too few seeds to tell" in said.text
    return there[0]


@pytest.fixture(scope="module")
def fetched(lab: Lab, answered_then: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """The results, fetched to the laptop, and from there to where a test can read them."""
    lab.ray(f"rsync-down {FILE} {SHARED}/runs/ ~/fetched/")
    folder = tmp_path_factory.mktemp("laptop") / "fetched"
    shutil.copytree(f"/proc/{lab.rig.laptop.init}/root{HOME}/fetched", folder)
    return folder


def test_the_code_is_what_the_launcher_brought(lab: Lab, answered_then: bool) -> None:  # noqa: ARG001
    find = "import importlib.util as i; print(*{i.find_spec(name).origin for name in %r})"
    for node in lab.rig.nodes:
        names = ("analysis", "reports", "sweeps", "trainables")
        said = _login(node, f'python -c "{find % (names,)}"').text.split()
        assert sorted(said) == [f"{HOME}/regatta/{name}/__init__.py" for name in names]


def test_what_is_said_comes_while_it_runs(answered_then: bool) -> None:
    assert not answered_then


def test_all_nodes_took_trials(fetched: Path) -> None:
    records = read_ledger(fetched / NAME)
    assert Counter(record.stage for record in records) == {"heat": 12, "final": 12}
    assert {record.status for record in records} <= {"completed", "stopped"}
    assert {record.node for record in records} == {HEAD[0], *(name for name, _ in WORKERS)}


def test_the_results_are_whole(fetched: Path) -> None:
    folder = fetched / NAME
    assert "<html" in (folder / "report.html").read_text()[:500]
    assert json.loads((folder / "verdict.json").read_text())["answer"].startswith("Too few seeds")
    question = json.loads((folder / "sweep.json").read_text())
    assert question["command"] == f"python {HOME}/batch_size.py {OPTIONS}"
    assert len(list(folder.glob("checkpoints/*/best.safetensors"))) == 12
    assert not (folder / ".tune").exists()
    with sqlite3.connect(fetched / "mlflow.db") as database:
        runs = Counter(status for (status,) in database.execute("select status from runs"))
    database.close()
    assert set(runs) == {"FINISHED"}
    assert runs["FINISHED"] >= 24


def test_the_workers_of_a_trial_train_together_across_machines(lab: Lab) -> None:
    name, workers = "spanning", CPUS + 1
    options = f"--quick --trials 1 --seeds 1 --epochs 2 --workers {workers} --runs {SHARED}/{name}"
    lab.ray(f"submit {FILE} sweeps/batch_size.py -- {options}", seconds=900)
    records = read_ledger(lab.rig.shared / name / NAME)
    assert Counter(record.status for record in records) == {"completed": 2 * 6}
    assert {record.lane for record in records} == {"crew"}
    # What two machines have between them, one has not: `capacity` would have refused it, and Ray Train waited for ever.
    assert json.loads((lab.rig.shared / name / NAME / "sweep.json").read_text())["resources"]["workers"] == workers


def test_nothing_answers_without_the_token(lab: Lab) -> None:
    asked = f"ray status --address={HEAD[1]}:6379"
    laptop = lab.rig.laptop
    assert "3 local.cluster.node" in laptop.run(f"RAY_AUTH_MODE=token {asked}").text
    for shell in ("env HOME=/tmp RAY_AUTH_MODE=disabled", f"env RAY_AUTH_MODE=token RAY_AUTH_TOKEN={'0' * 64}"):
        refused = laptop.run(f"{shell} {asked}", check=False)
        assert refused.status != 0
        assert "InvalidAuthToken" in refused.text
        assert "local.cluster.node" not in refused.text
    token = laptop.run("cat ~/.ray/auth_token", quiet=True).text
    ports = [(node, *port) for node in lab.rig.nodes for port in _listening(node)]
    assert {program for _, program, _ in ports} >= {"gcs_server", "raylet"}
    for node, program, port in ports:
        place = f"http://{node.ip}:{port}"
        said = _answers(laptop, place, None), _answers(laptop, place, token)
        lab.rig.log("test", f"{program} on {node.name}, port {port}: without the token {said[0]}, with it {said[1]}")
        assert said[0] in ({UNAUTHENTICATED}, {401})
        # The one that speaks HTTP has nothing at its root, and Ray Client's wants to know which client asks.
        assert said[1]
        assert not said[1] & {UNAUTHENTICATED, 401}


def test_nodes_that_differ_are_refused(lab: Lab) -> None:
    one, two = lab.rig.workers
    name = f"{HOME}/regatta/trainables/losses/loss.py"
    two.run(f"echo '# of last week' >> {name}")
    one.run(f"mount -t tmpfs tmpfs {SHARED}")  # its shared storage is gone
    before = (lab.runs / NAME / "trials.jsonl").read_bytes()
    said = lab.ray(f"submit {FILE} sweeps/batch_size.py -- {OPTIONS} --seeds 3", check=False)
    one.run(f"umount {SHARED}")
    assert said.status != 0
    assert "nothing was started" in said.text
    words = " ".join(said.text.split())
    assert f"{two.name} ({two.ip}) has source " in words
    assert f"{lab.rig.head.name}, where this command runs, has {source_hash(None)}: run `ray up`" in words
    assert f"{one.name} ({one.ip}) does not see {SHARED}/runs/{NAME} of {lab.rig.head.name}" in words
    assert (lab.runs / NAME / "trials.jsonl").read_bytes() == before
    # The way out that it names.
    lab.ray(f"up -y {FILE}")
    right, deadline = (ROOT / "trainables" / "losses" / "loss.py").read_text().strip(), time.monotonic() + 300
    while two.run(f"cat {name}", quiet=True).text.strip() != right:
        assert time.monotonic() < deadline, "`ray up` did not bring the code back"
        time.sleep(1)
    lab.rig.log("test", f"{two.name} has the code again")


def test_down_ends_ray_on_the_head(lab: Lab) -> None:
    lab.ray(f"down -y {FILE}")
    # On the others Ray leaves by itself, a minute or two after it has last heard from the head.
    assert not _listening(lab.rig.head)


def _login(node: Machine, command: str) -> Done:
    """Run a command as the launcher does."""
    return node.run(f"bash --login -c {shlex.quote(f'source ~/.bashrc; {command}')}")


def _listening(node: Machine) -> list[tuple[str, int]]:
    """Programs that listen on the network, and their ports; sshd is the machine's own, and loopback is not the network."""
    found = []
    for line in node.run("ss -Hltnp", quiet=True).text.splitlines():
        _, _, _, local, _, program = line.split(maxsplit=5)
        address, _, port = local.rpartition(":")
        name = program.partition('"')[2].partition('"')[0]
        if name != "sshd" and not address.startswith(("127.", "[::1]")):
            found.append((name, int(port)))
    return found


def _answers(laptop: Machine, place: str, token: str | None) -> set[int]:
    """What a server says to all questions but those that are not for it: statuses of gRPC, else those of HTTP."""
    identity = f"-H 'authorization: Bearer {token}'" if token else ""
    found = set()
    for call in CALLS:
        said = laptop.run(
            f"printf '\\0\\0\\0\\0\\0' | curl -s -m 20 --http2-prior-knowledge -D - -o /dev/null {identity} "
            f"-H 'content-type: application/grpc' -H 'te: trailers' --data-binary @- {place}/{call}",
            quiet=True,
            check=False,
        )
        found |= {int(line.partition(":")[2]) for line in said.text.splitlines() if line.startswith("grpc-status:")}
    if found:
        return found - {UNIMPLEMENTED}
    return {int(laptop.run(f"curl -s -m 20 -o /dev/null -w '%{{http_code}}' {identity} {place}/", quiet=True).text)}
