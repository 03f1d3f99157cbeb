"""The reliability diagram."""

from __future__ import annotations

from pathlib import Path

from reports.reliability_chart import Point, drawn, write

GROUPS = {
    "one member": [Point(confidence=0.35, accuracy=0.5, low=0.31, high=0.7, count=12)],
    "together": [Point(confidence=0.97, accuracy=0.99, low=0.95, high=1.0, count=300)],
}


def test_every_group_is_drawn_in_its_colour_with_its_interval() -> None:
    whole = drawn(GROUPS)
    rows = whole["datasets"]["rows"]
    assert [(row["level"], row["confidence"], row["low"], row["high"]) for row in rows] == [
        ("one member", 0.35, 0.31, 0.7),
        ("together", 0.97, 0.95, 1.0),
    ]
    # The axes begin at a round value below all that is shown, and both are alike: the diagonal is one.
    assert [row["confidence"] for row in whole["datasets"]["diagonal"]] == [0.3, 1.0]
    layers = whole["layer"]
    scales = [layer["encoding"][axis]["scale"]["domain"] for layer in layers for axis in ("x", "y")]
    assert scales == [[0.3, 1.0]] * len(scales)
    assert len(layers) == 1 + 2 * len(GROUPS)


def test_it_is_a_picture(tmp_path: Path) -> None:
    write(tmp_path / "reliability.png", GROUPS)
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")
