"""CUDA graphs for the GPU by name: what was done while one was captured is done again, in the same memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainables.fused.recorder import _as_many_as_there_are

capturing = [False]


class Graph:
    """Torch's ``CUDAGraph``: a capture only writes down, so that nothing holds values before it is replayed."""

    def __init__(self) -> None:
        self._mode = _Capture()

    def capture_begin(self, *_: Any, **__: Any) -> None:
        capturing[0] = True
        self._mode.__enter__()  # type: ignore[no-untyped-call]

    def capture_end(self) -> None:
        capturing[0] = False
        self._mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self._mode.undo()

    def replay(self) -> None:
        for operation in self._mode.done:
            operation.again()

    def pool(self) -> tuple[int, int]:
        return 0, 1


class _Operation:
    """One that was captured, with the very tensors that it was given and has given."""

    def __init__(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._call: Callable[[], Any] = partial(func, *args, **kwargs)
        given = [tensor for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)]
        named = dict(zip([argument.name for argument in func._schema.arguments], args, strict=False)) | {**kwargs}
        changed = [its.name for its in func._schema.arguments if its.alias_info is not None and its.alias_info.is_write]
        written = tree_leaves([named[name] for name in changed if name in named])
        self._before = [(tensor, tensor.clone()) for tensor in written if isinstance(tensor, Tensor)]
        self._memory = {tensor.untyped_storage().data_ptr() for tensor in given}
        self.found = self._call()

    def again(self) -> None:
        for own, new in zip(tree_leaves(self.found), tree_leaves(self._call()), strict=True):
            if self._is_new(own):
                own.copy_(new)

    def undo(self) -> None:
        """What a kernel that has not run would have left."""
        for tensor, before in self._before:
            tensor.copy_(before)
        for tensor in filter(self._is_new, tree_leaves(self.found)):
            tensor.fill_(float("nan") if tensor.is_floating_point() else 0)

    def _is_new(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.untyped_storage().data_ptr() not in self._memory


class _Capture(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down what is done on the GPU, and refuses what has to wait for it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.done: list[_Operation] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        operation = _Operation(func, args, kwargs or {})
        leaves = [value for value in tree_leaves((args, operation.found)) if isinstance(value, Tensor)]
        waits = isinstance(operation.found, (bool, int, float)) or _as_many_as_there_are(func, args)
        crosses = any(value.dim() for value in leaves if not value.is_cuda) and any(value.is_cuda for value in leaves)
        if waits or crosses:
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({func})")
        self.done.append(operation)
        return operation.found

    def undo(self) -> None:
        for operation in reversed(self.done):
            operation.undo()
