"""The command as a user runs it: real processes, real Ray, real MLflow, killed and interrupted for real."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from analysis.ledger import read_ledger
from analysis.records import Stage, Status, TrialRecord

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / "tests" / "sweeps" / "small.py")


def command(*options: str, script: str = SCRIPT) -> list[str]:
    return [sys.executable, script, *options]


def environment(epoch_seconds: float = 0.0) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"},
        "EPOCH_SECONDS": str(epoch_seconds),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }


def run(
    *options: str, script: str = SCRIPT, cwd: Path = ROOT, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*options, script=script),
        capture_output=True,
        text=True,
        env=environment() | dict(variables or {}),
        cwd=cwd,
        timeout=800,
        check=False,
    )


def ended(folder: Path) -> list[TrialRecord]:
    return [record for record in read_ledger(folder) if record.status.settled]


def started(folder: Path, epoch_seconds: float, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("--runs", str(folder.parent), *options),
        env=environment(epoch_seconds),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(folder: Path, trials: int, epochs: int, process: subprocess.Popen[str]) -> None:
    """Until so many trials have ended and one under way has told so many epochs."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        done = {record.id for record in ended(folder)}
        live = folder / "live.jsonl"
        lines = live.read_text().splitlines()[:-1] if live.exists() else []
        told = Counter(entry["id"] for entry in map(json.loads, lines))
        if len(done) >= trials and any(count >= epochs for name, count in told.items() if name not in done):
            return
        time.sleep(0.02)
    raise AssertionError(f"only {len(ended(folder))} trials ended in time")


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of the trial's actors below a driver."""
    import psutil

    children = psutil.Process(process.pid).children(recursive=True)
    return [child.pid for child in children if "ImplicitFunc" in " ".join(child.cmdline())]


NOISE = "ignore:The ``noload`` loader strategy is deprecated"
"""MLflow's own use of SQLAlchemy."""


def told_once(uri: str, records: Sequence[TrialRecord]) -> None:
    """MLflow has one run a trial, one for the sweep, and none left RUNNING."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    ids = Counter(run.data.tags.get("regatta.id") for run in runs)
    ids.pop(None, None)
    assert ids == Counter(record.id for record in records)
    assert len(runs) == len(records) + 1
    assert {run.info.status for run in runs} <= {"FINISHED", "FAILED"}
    assert not any(run.data.tags.get("mlflow.parentRunId") for run in runs)


def all_there(folder: Path) -> list[TrialRecord]:
    records = read_ledger(folder)
    counts = Counter((record.stage, record.level["batch_size"]) for record in records)
    assert counts == {(Stage.HEAT, 8): 5, (Stage.HEAT, 32): 5, (Stage.FINAL, 8): 6, (Stage.FINAL, 32): 6}
    assert all(record.status.settled for record in records)
    for record in records:
        assert [row["epoch"] for row in record.history] == list(range(1, record.epochs + 1))
    return records


def endings(folder: Path) -> Counter[str]:
    lines = map(json.loads, (folder / "trials.jsonl").read_text().splitlines())
    return Counter(line["id"] for line in lines if line["status"] != "running")


@pytest.mark.slow
@pytest.mark.filterwarnings(NOISE)
def test_kill_9_and_ctrl_c_in_mid_sweep_and_the_same_command_finishes_it(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    options = ["--lane", "solo"]
    killed = started(folder, 0.04, *options)
    wait_for(folder, 4, 3, killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    after_kill = {record.id: record for record in ended(folder)}
    cut_at = time.time()

    interrupted = started(folder, 0.04, *options)
    wait_for(folder, len(after_kill) + 4, 3, interrupted)
    interrupted.send_signal(signal.SIGINT)
    said, _ = interrupted.communicate(timeout=400)
    assert interrupted.returncode == 3, said
    assert "Nothing is lost; run the same command to go on" in said
    assert "Traceback" not in said
    after_interrupt = {record.id: record for record in ended(folder)}
    assert after_kill.items() <= after_interrupt.items()

    done = run("--runs", str(tmp_path), *options)
    assert done.returncode == 0, done.stderr
    records = all_there(folder)
    assert after_interrupt.items() <= {record.id: record for record in records}.items()
    assert set(endings(folder).values()) == {1}
    # What was under way when the driver was killed went on from its checkpoint: its first epochs are older than the kill.
    resumed = [r for r in records if r.id not in after_kill and r.history[0]["time"] < cut_at]
    assert resumed
    told_once(f"sqlite:///{tmp_path / 'mlflow.db'}", records)
    assert (folder / "report.html").stat().st_size > 100_000
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["answer"] in done.stdout
    assert {level["n"] for level in verdict["levels"]} == {6}


@pytest.mark.slow
@pytest.mark.filterwarnings(NOISE)
def test_a_killed_worker_costs_nothing_and_a_second_command_runs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    process = started(folder, 0.04, "--lane", "solo")
    wait_for(folder, 2, 3, process)
    victims = workers_of(process)
    assert victims
    os.kill(victims[0], signal.SIGKILL)
    said, _ = process.communicate(timeout=800)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    records = all_there(folder)
    assert set(endings(folder).values()) == {1}
    (restarted,) = [record for record in records if "its process died" in (record.reason or "")]
    assert restarted.status in (Status.COMPLETED, Status.STOPPED)
    assert str(restarted.reason) in (folder / "report.html").read_text()

    before = (folder / "trials.jsonl").read_bytes()
    again = run("--runs", str(tmp_path), "--lane", "solo")
    assert again.returncode == 0, again.stderr
    assert "Starting Ray" not in again.stdout
    assert (folder / "trials.jsonl").read_bytes() == before
    told_once(f"sqlite:///{tmp_path / 'mlflow.db'}", records)


@pytest.mark.slow
def test_sigterm_is_heeded_as_ctrl_c_and_a_running_folder_is_not_moved_away(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    process = started(folder, 2.0, "--lane", "solo")  # longer than two further commands take
    wait_for(folder, 0, 1, process)
    for options in (["--fresh"], []):
        second = run("--runs", str(tmp_path), "--lane", "local", *options)
        assert second.returncode == 2, second.stdout
        assert "another command is at work" in second.stderr
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 3, said
    assert "run the same command to go on" in said
    assert "Traceback" not in said
    assert (folder / "trials.jsonl").exists()
    assert [path.name for path in tmp_path.iterdir() if "before" in path.name] == []


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[TrialRecord]]:
    """The same sweep, one trial at a time so that the search sees the same, on both lanes."""
    found = {}
    for lane in ("local", "solo"):
        folder = tmp_path_factory.mktemp(lane)
        done = run("--runs", str(folder), "--lane", lane)
        assert done.returncode == 0, done.stderr
        found[lane] = read_ledger(folder / "small")
    return found


@pytest.mark.slow
def test_both_lanes_give_the_same_numbers(lanes: dict[str, list[TrialRecord]]) -> None:
    """In double precision, whatever process a trial ran in."""
    local, solo = ({record.id: record for record in lanes[lane]} for lane in ("local", "solo"))
    shared = local.keys() & solo.keys()
    assert len(shared) >= 4
    for name in shared:
        mine, theirs = local[name].history, solo[name].history
        for a, b in zip(mine, theirs, strict=False):
            assert a["train/loss"] == pytest.approx(b["train/loss"], rel=1e-12)
            assert a["val/accuracy"] == b["val/accuracy"]
    assert {record.lane for record in solo.values()} == {"solo"}


def test_help_and_dry_run_start_nothing(tmp_path: Path) -> None:
    shown = run("--help")
    assert shown.returncode == 0
    options = "--dry-run --quick --fresh --runs --tracking-uri --task --data --workers --lane --trials --epochs --seeds --budget"
    assert set(re.findall(r"--[a-z-]+", shown.stdout)) == {*options.split(), "--help"}
    planned = run("--dry-run", "--runs", str(tmp_path))
    assert planned.returncode == 0, planned.stderr
    assert "10 = 2 x 5" in planned.stdout
    assert "12 = 2 x 6 seeds" in planned.stdout
    assert "about" in planned.stdout
    assert re.search(r"room +\d+ trials? at once; a trial takes 1 CPU; there", planned.stdout)
    assert "lane" not in planned.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_plan_says_how_lane_workers_and_budget_were_understood(tmp_path: Path) -> None:
    planned = run("--dry-run", "--lane", "gang", "--budget", "1.5m", "--runs", str(tmp_path))
    said = " ".join(planned.stdout.split())
    assert "lane gang, 1 worker a trial: a group of workers of its own for every trial" in said
    assert "budget 1 min 30 s of wall time" in said
    far = run("--dry-run", "--workers", "99", "--runs", str(tmp_path), variables={"RAY_ADDRESS": "10.0.0.1:6379"})
    assert far.returncode == 0, far.stderr
    said = " ".join(far.stdout.split())
    assert "lane crew, 99 workers a trial: groups of workers that are kept" in said
    assert "room not counted: the cluster at RAY_ADDRESS 10.0.0.1:6379 is asked when the sweep joins it" in said


def test_what_the_machine_lacks_is_said_before_what_the_folder_holds_and_fresh_moves_nothing(tmp_path: Path) -> None:
    options = ["--runs", str(tmp_path), "--trials", "1", "--seeds", "1"]
    first = run(*options, "--lane", "local", "--epochs", "3")
    assert first.returncode == 0, first.stderr
    before = sorted(tmp_path.rglob("*"))
    for more in ([], ["--fresh"], ["--fresh", "--dry-run"]):
        refused = run(*options, "--epochs", "4", "--workers", "99", *more)
        assert refused.returncode == 2
        assert "a trial takes 99 workers" in refused.stderr
        assert "another question" not in refused.stderr
    assert sorted(tmp_path.rglob("*")) == before
    answered = run(*options, "--epochs", "3", "--workers", "99")  # nothing is left to run
    assert answered.returncode == 0, answered.stderr
    assert "Starting Ray" not in answered.stdout


@pytest.fixture
def narrow() -> Iterator[str]:
    """The address of a cluster of one core."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made.address
    made.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_refuses_once_it_is_joined_and_leaves_every_folder_as_it_was(tmp_path: Path, narrow: str) -> None:
    options = ["--runs", str(tmp_path), "--workers", "2", "--trials", "1", "--seeds", "1"]
    refused = run(*options, variables={"RAY_ADDRESS": narrow})
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "a trial takes 2 workers x (1 CPU) = 2 CPUs; there is one machine with 1 CPU" in refused.stderr
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "notes.txt").touch()
    again = run(*options, "--fresh", variables={"RAY_ADDRESS": narrow})
    assert again.returncode == 2, again.stdout + again.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
    assert (tmp_path / "small" / "notes.txt").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bogus"], "unrecognized arguments: --bogus; --help lists the options"),
        (
            ["--dryrun", "--seed=3"],
            "unrecognized arguments: --dryrun --seed=3; did you mean --dry-run and --seeds?; --help",
        ),
        (["--seeds", "0"], "'0' is not a whole number from 1"),
        (["--budget", "soon"], "'soon' is not a time above zero with its units; write 90s, 10m or 2h30m"),
        (["--budget", "10"], "'10' has no unit; write 10s, 10m or 10h"),
        (["--lane", "fast"], "invalid choice: 'fast'"),
        (
            ["--workers", "99", "--lane", "crew"],
            "a trial takes 99 workers x (1 CPU) = 99 CPUs; there is one machine with",
        ),
        (["--workers", "99", "--lane", "crew", "--dry-run"], "99 CPUs; there is one machine with"),
        (["--workers", "2"], "lane local runs a trial in one process, resources.workers asks for 2"),
        (["--task", "nowhere:task"], "No module named 'nowhere'"),
        (
            ["--task", "trainables.tasks:nothing"],
            "trainables.tasks has no 'nothing'; its tasks: trainables.tasks:digits",
        ),
        (["--task", "trainables:Recipe"], "not a Task"),
        (["--data", "x.csv"], "add --task trainables.tasks:table"),
        (["--task", "trainables.tasks:table", "--data", "nowhere.csv"], "nowhere.csv does not exist"),
        (["--tracking-uri", "http://127.0.0.1:9"], "127.0.0.1:9"),
        (["--tracking-uri", "sqlite:////dev/null/mlflow.db"], "/dev/null"),
        (["--tracking-uri", "gopher://x"], "gopher"),
        (["--tracking-uri", "sqlite:///nosuch/folder/x.db"], "nosuch/folder does not exist"),
    ],
)
def test_a_wrong_command_is_refused_in_words_and_starts_nothing(tmp_path: Path, options: list[str], said: str) -> None:
    done = run("--runs", str(tmp_path), "--lane", "local", *options)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--quick", "--trials", "2", "--workers", "1"]])
def test_a_wrong_type_in_the_file_is_refused_in_words_and_starts_nothing(tmp_path: Path, options: list[str]) -> None:
    script = tmp_path / "wrong.py"
    script.write_text(
        "from sweeps import main\nfrom tests.sweeps.small import small\n\nmain(small(seeds='12', early_stop='asha'))\n"
    )
    done = run("--runs", str(tmp_path / "runs"), "--lane", "local", *options, script=str(script))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "seeds '12' must be a whole number from 1; write seeds=8" in done.stderr
    assert "early_stop 'asha' is a str, not a rule for early stopping" in done.stderr
    assert "Traceback" not in done.stderr
    assert "What is done is kept" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_another_question_in_the_folder_is_refused_and_fresh_keeps_it(tmp_path: Path) -> None:
    first = run("--runs", str(tmp_path), "--lane", "local", "--trials", "1", "--seeds", "1", "--epochs", "3")
    assert first.returncode == 0, first.stderr
    ledger = (tmp_path / "small" / "trials.jsonl").read_bytes()
    other = run("--runs", str(tmp_path), "--lane", "local", "--trials", "1", "--seeds", "1", "--epochs", "4")
    assert other.returncode == 2
    assert "belongs to another question: recipe.epochs was 3, is 4" in other.stderr
    assert (tmp_path / "small" / "trials.jsonl").read_bytes() == ledger
    fresh = run("--runs", str(tmp_path), "--lane", "local", "--trials", "1", "--seeds", "1", "--epochs", "4", "--fresh")
    assert fresh.returncode == 0, fresh.stderr
    (aside,) = [path for path in tmp_path.iterdir() if path.name.startswith("small-before-")]
    assert (aside / "trials.jsonl").read_bytes() == ledger
    assert "The earlier run is kept in" in fresh.stdout


def test_more_seeds_after_an_answer_are_a_look_that_is_paid_for_and_fewer_leave_nothing_out(tmp_path: Path) -> None:
    options = ["--runs", str(tmp_path), "--lane", "local", "--trials", "1"]
    for seeds, looks in (("6", [6]), ("9", [6, 9]), ("7", [6, 9])):
        done = run(*options, "--seeds", seeds)
        assert done.returncode == 0, done.stderr
        plan, _, _ = " ".join(done.stdout.split()).partition(" time ")
        assert ("look number 2: an answer from 6 seeds was seen" in plan) == (seeds == "9")
        assert ("must be so at 98.3 %, not at 95 %" in plan) == (seeds == "9")
        verdict = json.loads((tmp_path / "small" / "verdict.json").read_text())
        assert [look["seeds"] for look in verdict["looks"]] == looks
        question = json.loads((tmp_path / "small" / "sweep.json").read_text())
        assert question["looks_declared"] == (len(looks) == 1)
        assert question["seeds"] == max(looks)
        assert {level["n"] for level in verdict["levels"]} == {max(looks)}
    assert "added after an answer" in (tmp_path / "small" / "report.html").read_text()


BROKEN = '''
import torch
from dataclasses import dataclass, replace
from sweeps import main
from tests.sweeps.small import small
from trainables import SGD

@dataclass(frozen=True)
class Model:
    def build(self):
        raise ValueError("no such layer")

@dataclass(frozen=True)
class Late:
    """Works at first and fails in the second epoch, in some seeds."""
    def build(self):
        return Net()

class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(2, 3)
        self.calls = 0
    def forward(self, x):
        self.calls += self.training
        if self.calls > 9 and float(self.weight.detach().sum()) > 0:
            raise RuntimeError("a fault <script>alert(1)</script> in mid-trial")
        return super().forward(x)

class Never(Model):
    def build(self):
        return Tired()

class Tired(torch.nn.Linear):
    def __init__(self):
        super().__init__(2, 3)
    def forward(self, x):
        if self.training and len(x) > 4:
            raise RuntimeError("my bug")
        return super().forward(x)

base = small(search=None, early_stop=None, seeds=6)
recipe = replace(base.recipe, optimizer=SGD(lr=0.01), epochs=4)
if __name__ == "__main__":
    if "{model}" == "Never":
        base, recipe = small(), small().recipe
    main(replace(base, recipe=replace(recipe, model={model}())))
'''


def test_a_model_that_cannot_be_built_fails_once_before_anything_starts(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text(BROKEN.replace("{model}", "Model"))
    done = run("--runs", str(tmp_path / "runs"), script=str(script))
    assert done.returncode == 2
    assert "raises ValueError: no such layer" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_trials_that_raise_are_on_the_page_with_their_reason_and_the_status_says_so(tmp_path: Path) -> None:
    script = tmp_path / "late.py"
    script.write_text(BROKEN.replace("{model}", "Late"))
    done = run("--runs", str(tmp_path / "runs"), "--lane", "local", script=str(script))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    records = read_ledger(tmp_path / "runs" / "small")
    statuses = Counter(record.status for record in records)
    assert statuses[Status.FAILED] > 0
    assert "failed: RuntimeError: a fault" in done.stdout
    assert statuses[Status.COMPLETED] > 0
    page = (tmp_path / "runs" / "small" / "report.html").read_text()
    assert "RuntimeError: a fault &lt;script&gt;alert(1)&lt;/script&gt; in mid-trial" in page
    assert "<script>alert(1)" not in page


def test_a_sweep_all_of_whose_heats_fail_answers_with_their_reason(tmp_path: Path) -> None:
    script = tmp_path / "never.py"
    script.write_text(BROKEN.replace("{model}", "Never"))
    done = run("--runs", str(tmp_path / "runs"), "--trials", "2", "--lane", "local", script=str(script))
    assert done.returncode == 1, done.stdout + done.stderr
    line = 1 + script.read_text().splitlines().index('            raise RuntimeError("my bug")')
    reason = f"RuntimeError: my bug (never.py:{line}) (in 2 attempts)"
    answer = f"No answer: all 4 heats failed; the reason: {reason}."
    assert answer in done.stdout.splitlines()
    assert f"4 trials failed: {reason}" in done.stdout.splitlines()
    folder = tmp_path / "runs" / "small"
    assert json.loads((folder / "verdict.json").read_text())["answer"] == answer
    assert f"<title>small: {answer}</title>" in (folder / "report.html").read_text()
    assert reason in (folder / "trials.csv").read_text()


def test_where_there_is_a_gpu_packs_are_tried_beside_it_once_ray_is_up(tmp_path: Path) -> None:
    """The GPU is one in name; what is computed on it is computed on the processor."""
    variables = {"RAY_OVERRIDE_RESOURCES": '{"GPU": 1}', "XDG_CACHE_HOME": str(tmp_path / "cache")}
    options = ["--runs", str(tmp_path), "--trials", "1", "--seeds", "40", "--epochs", "2"]
    planned = run(*options, "--dry-run", variables=variables)
    assert "a trial takes 1 CPU, 1 GPU" in " ".join(planned.stdout.split())
    done = run(*options, variables=variables)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    tried = said.index("Trying packs of trials …")
    assert said.index("Starting Ray …") < tried
    taken = "so they are, as with --lane fused" in said[tried + 1]
    assert taken or "each is trained alone" in said[tried + 1]
    assert len([*(tmp_path / "cache" / "regatta" / "packs").iterdir()]) == 2  # a structure for each batch size
    records = read_ledger(tmp_path / "small")
    assert {record.status for record in records} == {Status.COMPLETED}
    assert ("fused" in {record.lane for record in records}) == taken
    for file in (tmp_path / "cache" / "regatta" / "packs").iterdir():
        file.write_text(json.dumps(json.loads(file.read_text()) | {"gains": {"4": 3.0}}))
    again = run(*options, "--fresh", variables=variables)
    assert "all trials take about" in again.stdout
    assert "so they are, as with --lane fused" in again.stdout
    shared = {row.get("shared") for record in read_ledger(tmp_path / "small") for row in record.history}
    assert shared - {None} == {4}  # members of a pack, as was chosen


def test_one_s_own_task_and_table(tmp_path: Path) -> None:
    """``--task`` and ``--data`` answer a shipped question on a file of one's own, in a folder of its own."""
    lines = [f"{i % 7},{(i * i) % 11},{'abc'[i % 3]}" for i in range(120)]
    (tmp_path / "mine.csv").write_text("x,y,kind\n" + "\n".join(lines) + "\n")
    options = ["--task", "trainables.tasks:table", "--data", "mine.csv", "--lane", "solo"]
    (tmp_path / "file").touch()
    assert run("--runs", "file", *options, cwd=tmp_path).returncode == 2
    done = run("--runs", "results", "--trials", "1", "--seeds", "1", "--epochs", "3", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    records = read_ledger(tmp_path / "results" / "small-table-mine")
    assert {record.task for record in records} == {"table"}
    assert {record.status for record in records} == {Status.COMPLETED}
    (tmp_path / "mine.csv").write_text("x,y,kind\n" + "\n".join(reversed(lines)) + "\n")
    edited = run("--runs", "results", "--trials", "1", "--seeds", "1", "--epochs", "3", *options, cwd=tmp_path)
    assert edited.returncode == 2
    assert "belongs to another question: file was" in edited.stderr


def test_the_sample_of_one_s_own_works_as_printed(tmp_path: Path) -> None:
    done = run(
        "--runs",
        str(tmp_path),
        "--quick",
        "--seeds",
        "3",
        "--lane",
        "local",
        script=str(ROOT / "examples" / "spirals.py"),
    )
    assert done.returncode == 0, done.stderr
    assert "Too few seeds to tell" in done.stdout
    assert {record.task for record in read_ledger(tmp_path / "spirals-quick")} == {"spirals"}
