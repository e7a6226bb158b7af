"""Cases of layers for which real Caffe refuses the gradient of an input."""

from tests.conformance.layers.judge import Case


class UnforcedCase(Case):
    """A case whose gradients come from a loss and go to the parameters only."""

    @property
    def prototxt(self) -> str:
        """The net without `force_backward`."""
        return super().prototxt.replace("force_backward: true", "")

    def __post_init__(self) -> None:
        object.__setattr__(self, "fixed", tuple(self.inputs))
