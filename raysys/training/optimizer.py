"""Adam with torch's arithmetic and without torch's `Optimizer`, whose construction loads torch's compiler.

That costs every worker seconds of CPU and 157 MB before its first step, for a compiler that nobody calls here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

BETAS = (0.9, 0.999)
EPS = 1e-8
KEYS = ("step", "exp_avg", "exp_avg_sq")
"""Keys of a parameter's state, as `torch.optim.Adam` names them."""


@dataclass
class Group:
    """Parameters that are trained at one rate."""

    parameters: Sequence[nn.Parameter]
    learning_rate: float


@dataclass
class Adam:
    """Kingma & Ba 2015, "Adam: a method for stochastic optimization", arXiv:1412.6980, Algorithm 1.

        g <- g + weight_decay w;  m <- beta_1 m + (1 - beta_1) g;  v <- beta_2 v + (1 - beta_2) g^2
        w <- w - learning_rate m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + eps)

    The arithmetic is that of `torch.optim.Adam`, to the bit: its functional form is what that class calls. As there,
    weight decay is an L2 penalty (not decoupled), betas are 0.9 and 0.999, eps is 1e-8, and a parameter without a
    gradient is left as it is.
    """

    groups: Sequence[Group]
    weight_decay: float
    state: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    """Number of a parameter, counted through the groups -> its step, m and v; empty before its first step."""

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for group in self.groups:
            for weights in group.parameters:
                weights.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters by their gradients."""
        first = 0
        for group in self.groups:
            numbered = [
                (number, weights)
                for number, weights in enumerate(group.parameters, first)
                if weights.grad is not None
            ]
            first += len(group.parameters)
            states = [self._state(number, weights) for number, weights in numbered]
            steps, means, squares = ([state[key] for state in states] for key in KEYS)
            adam(
                [weights for _, weights in numbered],
                [weights.grad for _, weights in numbered if weights.grad is not None],
                means,
                squares,
                [],
                steps,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=group.learning_rate,
                weight_decay=self.weight_decay,
                eps=EPS,
                maximize=False,
            )

    def load(self, state: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Go on from the state of another one.

        Raises:
            KeyError: the state lacks a key.
            ValueError: it is of other parameters.
        """
        weights = [one for group in self.groups for one in group.parameters]
        loaded = {}
        for number, values in state.items():
            if number >= len(weights) or values["exp_avg"].shape != weights[number].shape:
                raise ValueError(f"optimizer state {number} belongs to another model")
            device = weights[number].device
            loaded[number] = {
                key: values[key].clone() if key == "step" else values[key].to(device)
                for key in KEYS
            }
        self.state = loaded

    def _state(self, number: int, weights: Tensor) -> dict[str, Tensor]:
        if number not in self.state:
            self.state[number] = {
                "step": torch.tensor(0.0, dtype=torch.float32),
                "exp_avg": torch.zeros_like(weights, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(weights, memory_format=torch.preserve_format),
            }
        return self.state[number]
