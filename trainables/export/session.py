"""An ONNX model, ready to answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from trainables.export.needed import ExportError, first_line, needed

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Arrays = Mapping[str, npt.NDArray[np.generic]]


@final
class Session:
    """A model on ONNX Runtime's CPU with so many threads: inputs [B, ...] as tensors give the output [B, ...] in single precision.

    Raises ExportError for a model that the runtime does not take.
    """

    def __init__(self, model: bytes, *, threads: int = 1) -> None:
        needed()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what is fatal is raised as well
        try:
            self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common class of their own
            raise ExportError(f"ONNX Runtime does not take the model ({first_line(error)})") from error
        self._names = [one.name for one in self._session.get_inputs()]

    def __call__(self, *inputs: Tensor) -> Tensor:
        return torch.from_numpy(self.run(self.fed(inputs)))

    def fed(self, inputs: tuple[Tensor, ...]) -> Arrays:
        """The inputs as the runtime takes them."""
        plain = [one.detach().cpu() for one in inputs]
        floats = [one.float() if one.is_floating_point() else one for one in plain]
        return dict(zip(self._names, (one.contiguous().numpy() for one in floats), strict=True))

    def run(self, fed: Arrays) -> npt.NDArray[np.float32]:
        """The output for inputs that were prepared by ``fed``."""
        output: npt.NDArray[np.float32] = self._session.run(None, fed)[0]
        return output
