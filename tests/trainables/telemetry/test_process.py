"""Memory and CPUs as Linux writes them down, in both versions of its control groups, on planted files."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainables.telemetry.process import Group, Process, cpus


def planted(folder: Path, files: dict[str, object]) -> tuple[Path, Path]:
    """``proc`` and ``cgroups`` below a folder, with these files."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return folder / "proc", folder / "cgroups"


def status(now: int, peak: int) -> str:
    return f"Name:\tpython\nVmPeak:\t  999999 kB\nVmHWM:\t  {peak} kB\nVmRSS:\t  {now} kB\nThreads:\t3"


def test_the_peak_is_the_kernel_s_since_it_was_begun_anew(tmp_path: Path) -> None:
    proc, cgroups = planted(tmp_path, {"proc/self/status": status(200, 900)})
    process = Process(proc, cgroups)
    assert (proc / "self" / "clear_refs").read_text() == "5"
    planted(tmp_path, {"proc/self/status": status(210, 450)})
    held = process.held()
    assert (held.now, held.most) == (210 * 1024, 450 * 1024)


def test_where_the_kernel_refuses_an_older_peak_is_not_this_run_s(tmp_path: Path) -> None:
    proc, cgroups = planted(tmp_path, {"proc/self/status": status(200, 900), "proc/self/clear_refs/as": "a folder"})
    process = Process(proc, cgroups)
    for now, peak, most in ((300, 900, 300), (250, 900, 300), (260, 950, 950)):
        planted(tmp_path, {"proc/self/status": status(now, peak)})
        assert process.held().most == most * 1024


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    process = Process(tmp_path / "proc", tmp_path / "cgroups")
    held = process.held()
    assert (held.now, held.most, process.group) == (None, None, None)
    assert process.cpus >= 1


SECOND = {
    "proc/self/cgroup": "0::/pods/mine",
    "cgroups/pods/mine/memory.current": 700,
    "cgroups/pods/mine/memory.max": "max",
    "cgroups/pods/memory.current": 1500,
    "cgroups/pods/memory.max": 4000,
}
FIRST = {
    "proc/self/cgroup": "5:cpu,cpuacct:/pods/mine\n4:memory:/pods/mine\n0::/",
    "cgroups/memory/pods/mine/memory.usage_in_bytes": 700,
    "cgroups/memory/pods/mine/memory.limit_in_bytes": 2000,
    "cgroups/memory/memory.usage_in_bytes": 9000,
    "cgroups/memory/memory.limit_in_bytes": 9223372036854771712,
}


@pytest.mark.parametrize(
    ("files", "held", "limit"),
    [
        (SECOND, 1500, 4000),  # the tightest limit is one level up
        ({**SECOND, "cgroups/pods/mine/memory.max": 1000}, 700, 1000),
        ({**SECOND, "cgroups/pods/memory.max": "max"}, 700, None),
        ({"proc/self/cgroup": "0::/../..", "cgroups/memory.current": 12, "cgroups/memory.max": 30}, 12, 30),
        ({"proc/self/cgroup": "0::/", "cgroups/cgroup.procs": 1}, None, None),
        (FIRST, 700, 2000),
        ({**FIRST, "cgroups/memory/pods/mine/memory.limit_in_bytes": 9223372036854771712}, 700, None),
        # In a container the path is the host's.
        ({name: text for name, text in FIRST.items() if "memory/pods" not in name}, 9000, None),
    ],
    ids=["above", "own", "no limit", "outside", "root", "v1", "v1, no limit", "v1, in a container"],
)
def test_the_control_group_that_bounds(
    tmp_path: Path, files: dict[str, object], held: int | None, limit: int | None
) -> None:
    group = Group.of(*planted(tmp_path, files))
    found = (group.held(), group.limit) if group is not None else (None, None)
    assert found == (held, limit)


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({"proc/self/cgroup": "0::/a", "cgroups/a/cpu.max": "50000 100000", "cgroups/cpu.max": "max 100000"}, 0.5),
        (
            {"proc/self/cgroup": "0::/a/b", "cgroups/a/b/cpu.max": "max 100000", "cgroups/a/cpu.max": "25000 100000"},
            0.25,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/a",
                "cgroups/cpu,cpuacct/a/cpu.cfs_quota_us": 75000,
                "cgroups/cpu,cpuacct/a/cpu.cfs_period_us": 100000,
            },
            0.75,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu:/a",
                "cgroups/cpu/a/cpu.cfs_quota_us": -1,
                "cgroups/cpu/a/cpu.cfs_period_us": 100000,
            },
            None,
        ),
    ],
    ids=["v2", "v2, above", "v1", "v1, no quota"],
)
def test_a_quota_bounds_the_cpus(tmp_path: Path, files: dict[str, object], most: float | None) -> None:
    free = cpus(tmp_path / "nowhere", tmp_path / "nowhere")
    assert free == int(free) >= 1
    assert cpus(*planted(tmp_path, files)) == (free if most is None else most)
