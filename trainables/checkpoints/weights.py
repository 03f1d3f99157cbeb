"""Weights on disk: safetensors, which hold tensors and text alone and are read by many other programs."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.checkpoints.files import DamagedError, damage, whole
from trainables.keep import FORMAT

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ABOUT = "regatta"
"""The entry of a file's metadata that holds version, epoch, checksum and what is no tensor, as JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """What a module held at the end of an ``epoch``: ``module`` is for its ``load_state_dict``."""

    epoch: int
    module: dict[str, Any]


def save_weights(path: Path, weights: Weights) -> int:
    """Write weights on the CPU; the bytes written come back.

    What a module holds beside tensors (``get_extra_state``) goes along as JSON. The same weights give the same file.

    Raises ValueError for what cannot be written so, and OSError, naming path and way out.
    """
    import torch
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, value in weights.module.items():
        if isinstance(value, torch.Tensor):
            # Tied weights are written as often as they have a name: the format has no tensor in two places.
            tensors[name] = value.contiguous() if value.data_ptr() not in places else value.clone()
            places.add(value.data_ptr())
    rest = {name: value for name, value in weights.module.items() if name not in tensors}
    try:
        facts = {"version": FORMAT, "epoch": weights.epoch, "rest": rest}
        # One entry: several would come in another order each time, and the same weights would not give the same file.
        data = save(tensors, {ABOUT: json.dumps(facts | {"crc32": _checksum(tensors, facts)})})
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path} cannot be written: safetensors has no place for {error}; keep it out of the module's state_dict()"
        ) from error
    with whole(path) as temporary:
        temporary.write_bytes(data)
    return len(data)


def load_weights(path: str | Path, device: str | torch.device = "cpu") -> Weights | None:
    """The weights on a device, or None when there is no such file.

    Raises ValueError, naming the file, when it is damaged (DamagedError) or of another version, and OSError when it may not be
    read.
    """
    from safetensors import safe_open

    path = Path(path)
    if not path.exists():
        return None
    try:
        # On the CPU first, where the checksum is taken.
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get(ABOUT, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        crc32, version = facts.pop("crc32", None), facts.get("version")
    except Exception as error:
        if not damage(error):
            raise
        raise DamagedError(f"{path} is damaged ({type(error).__name__}: {error})") from error
    if version is None:
        raise ValueError(
            f"{path} was not written here: it has no {ABOUT!r} among its metadata; read it by safetensors itself"
        )
    if version != FORMAT:
        raise ValueError(
            f"{path} has version {version}, this one reads {FORMAT}; train anew, or read it by safetensors itself"
        )
    if crc32 != _checksum(tensors, facts):
        raise DamagedError(f"{path} is damaged (its checksum is wrong)")
    moved = {name: tensor.to(device) for name, tensor in tensors.items()}
    return Weights(epoch=facts["epoch"], module=moved | facts["rest"])


def _checksum(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """CRC-32 of names, types, shapes and values, and of the facts beside them."""
    import torch

    found = zlib.crc32(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        found = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), found)
        found = zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data, found)
    return f"{found:08x}"
