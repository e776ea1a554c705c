"""Models, in torch only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from raysys.errors import lookup
from raysys.models.cltnet import CltnetConfig
from raysys.models.multiemo import MultiemoConfig
from raysys.models.output import ModelSettings
from raysys.settings import groups_with, require


@dataclass(frozen=True)
class ModelConfig:
    """Which model, on which modalities."""

    name: str = "cltnet"
    """Model: cltnet (each utterance by itself) or multiemo (whole dialogues)."""
    modalities: tuple[Literal["audio", "text", "video"], ...] = ("audio", "text")
    """Input streams that the model sees."""
    # A new model is one module and one line here: the field's name is the model's.
    cltnet: CltnetConfig = field(default_factory=CltnetConfig)
    """Sizes of CLTNet."""
    multiemo: MultiemoConfig = field(default_factory=MultiemoConfig)
    """Sizes of MultiEMO."""

    def __post_init__(self) -> None:
        distinct = len(self.modalities) == len(set(self.modalities)) > 0
        require(distinct, "model.modalities", list(self.modalities), "one or more, each once")

    @property
    def title(self) -> str:
        """For people: name and modalities."""
        return f"{self.name} ({' + '.join(self.modalities)})"

    @property
    def chosen(self) -> ModelSettings:
        """Settings of the model that `name` names.

        Raises:
            ConfigError: there is none of that name.
        """
        lookup(model_names(), self.name, kind="model")
        settings: ModelSettings = getattr(self, self.name)
        return settings


def model_names() -> Mapping[str, type[ModelSettings]]:
    """Model name -> settings class."""
    return groups_with(ModelConfig, "build")
