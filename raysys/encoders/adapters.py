"""LoRA: small matrices beside the frozen weights of an encoder's top layers, which are trained in their place.

    W x  ->  W x + (alpha / rank) B A x        A [rank, in] random, B [out, rank] zero at first

W stays as pretrained, so that a fold's checkpoint and its bundle hold A and B alone. The adapters are PEFT's; Hu et al.
2022, "LoRA: low-rank adaptation of large language models", ICLR, section 4.1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from raysys.errors import ConfigError, FeatureError
from raysys.settings import require

_ATTENTION = {"query", "value", "q", "v", "q_proj", "v_proj", "query_proj", "value_proj", "in_proj"}
"""What transformers calls the projections to queries and values; DeBERTa's in_proj makes keys as well."""
_AROUND = {"wavlm"}
"""Types whose attention takes the weights out of its projections and so passes an adapter by."""
Targets = Literal["attention", "feed_forward", "all"]


@dataclass(frozen=True)
class LoraConfig:
    """LoRA adapters in the layers that are trained; needs the extra raysys[lora]."""

    idle: ClassVar[Mapping[str, Mapping[str, tuple[Any, ...]]]] = {
        name: {"rank": (0,)} for name in ("alpha", "dropout", "targets")
    }
    rank: int = 0
    """Rank of adapters that are trained while the layers' own weights stay as pretrained; 0 trains the layers whole."""
    alpha: int = 16
    """Adapters count alpha / rank."""
    dropout: float = 0.0
    """Share of an adapter's inputs that is dropped in training."""
    targets: Targets = "attention"
    """Where adapters are: attention (queries and values), feed_forward, or all."""


def check_lora(group: str, lora: LoraConfig, finetune_layers: int) -> None:
    """Refuse adapters that cannot be, and those where no layer is trained.

    Args:
        group: of the encoder's settings.
        lora: its adapters.
        finetune_layers: its layers that are trained.

    Raises:
        ConfigError: see above.
    """
    name = f"features.{group}.lora"
    require(0 <= lora.rank <= 1024, f"{name}.rank", lora.rank, "0 to 1024")
    require(lora.alpha >= 1, f"{name}.alpha", lora.alpha, "1 or more")
    require(0 <= lora.dropout < 1, f"{name}.dropout", lora.dropout, "0 or more, below 1")
    if lora.rank and not finetune_layers:
        raise ConfigError(
            f"features.{group}.lora.rank is {lora.rank}, but no layer is trained: set "
            f"--features.{group}.finetune_layers to how many top layers get adapters"
        )


def check_targets(group: str, kind: str, lora: LoraConfig) -> None:
    """Refuse adapters that a type of models would pass by.

    Args:
        group: of the encoder's settings.
        kind: type of the model, as its config.json says.
        lora: its adapters.

    Raises:
        FeatureError: it would.
    """
    if lora.rank and lora.targets != "feed_forward" and kind in _AROUND:
        raise FeatureError(
            f"the attention of a {kind} model passes adapters by: set --features.{group}.lora.targets feed_forward"
        )


def add_adapters(module: nn.Module, lora: LoraConfig, *, hidden: int, inner: int) -> None:
    """Freeze a module and put adapters into its linear layers.

    Args:
        module: layers of an encoder; it is changed.
        lora: which adapters.
        hidden: width of the layers' states.
        inner: width within their feed-forward part.

    Raises:
        FeatureError: PEFT is not installed, or there is nothing to adapt.
    """
    try:
        import peft  # takes seconds
    except ImportError as error:
        raise FeatureError(
            "LoRA adapters need PEFT: pip install 'raysys[lora]', or set --features.*.lora.rank 0"
        ) from error
    found = [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) and _is_target(name, part, lora.targets, {hidden, inner})
    ]
    if not found:
        raise FeatureError(f"there are no linear layers for lora.targets {lora.targets} in it")
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=found,
    )
    peft.inject_adapter_in_model(config, module)


def keep_adapters_alone(top: nn.Module, layers: str) -> None:
    """From now on, the state of a module leaves out what is frozen in some of its layers, and is loaded without it.

    Args:
        top: the module.
        layers: name of the part of it that has adapters.
    """
    frozen = [f"{layers}.{name}" for name in _frozen(getattr(top, layers))]

    def leave_out(module: nn.Module, state: dict[str, Tensor], prefix: str, _: Any) -> None:
        for name in frozen:
            del state[prefix + name]

    def fill_in(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
        own = dict(module.named_parameters()) | dict(module.named_buffers())
        for name in frozen:
            state.setdefault(prefix + name, own[name].detach())

    top.register_state_dict_post_hook(leave_out)
    top.register_load_state_dict_pre_hook(fill_in)


def _frozen(layers: nn.Module) -> Sequence[str]:
    trained = {name for name, weights in layers.named_parameters() if weights.requires_grad}
    return [name for name in layers.state_dict() if name not in trained]


def _is_target(name: str, part: nn.Linear, targets: Targets, widths: set[int]) -> bool:
    attends = name.rsplit(".", 1)[-1] in _ATTENTION
    feeds = (
        part.in_features != part.out_features and {part.in_features, part.out_features} == widths
    )
    chosen = {"attention": attends, "feed_forward": feeds, "all": attends or feeds}
    return chosen[targets]
