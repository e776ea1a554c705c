"""Models, in torch only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from raysys.corpus.formats import PERSPECTIVE
from raysys.encoders.encoder import STREAMS
from raysys.errors import ConfigError, lookup, nearest
from raysys.models.bimodal_attention import BimodalAttentionConfig
from raysys.models.cltnet import CltnetConfig
from raysys.models.logistic import LogisticConfig
from raysys.models.mat import MatConfig
from raysys.models.mcsan import McsanConfig
from raysys.models.multiemo import MultiemoConfig
from raysys.models.multiway import MultiwayConfig
from raysys.models.output import ModelSettings
from raysys.models.probe import ProbeConfig
from raysys.models.speechtext import SpeechtextConfig
from raysys.models.svm import SvmConfig
from raysys.plugins import PlugIns, configured
from raysys.settings import groups_with, require

_FORMAT_NAME = "FORMAT or FORMAT@PERSPECTIVE (letters, digits and _), and no method's of ModuleDict"


@dataclass(frozen=True)
class ModelConfig:
    """Which model, on which modalities."""

    name: str = "cltnet"
    """Model: one of the groups below, or your own, package.module:Class (raysys/PLUGINS.md); multiemo reads whole
    dialogues, the others each utterance by itself."""
    modalities: tuple[str, ...] = ("audio", "text")
    """Input streams that the model sees: audio, text, video, image; a model of labels reads corpus.ratings.tables."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of a model of your own."""
    # A new model is one module and one line here: the field's name is the model's.
    cltnet: CltnetConfig = field(default_factory=CltnetConfig)
    """Sizes of CLTNet."""
    multiemo: MultiemoConfig = field(default_factory=MultiemoConfig)
    """Sizes of MultiEMO."""
    bimodal_attention: BimodalAttentionConfig = field(default_factory=BimodalAttentionConfig)
    """Sizes and parts of BimodalAttention, for BERT and AST."""
    speechtext: SpeechtextConfig = field(default_factory=SpeechtextConfig)
    """Sizes of SpeechText."""
    mat: MatConfig = field(default_factory=MatConfig)
    """Sizes of MAT, and of MNT."""
    mcsan: McsanConfig = field(default_factory=McsanConfig)
    """Sizes of MCSAN."""
    svm: SvmConfig = field(default_factory=SvmConfig)
    """Kernel, C and statistics over time of the support vector machine."""
    logistic: LogisticConfig = field(default_factory=LogisticConfig)
    """C and statistics over time of logistic regression."""
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    """Layers of the encoder that the linear probe weighs."""
    multiway: MultiwayConfig = field(default_factory=MultiwayConfig)
    """Sizes of the multi-way mapping model, which reads label formats."""

    def __post_init__(self) -> None:
        distinct = len(self.modalities) == len(set(self.modalities)) > 0
        require(distinct, "model.modalities", self.modalities, "one or more, each once")
        kind = model_names().get(self.name)  # an unknown name is answered where it is looked up
        if kind is None:
            return
        if self.is_plugin:
            _ = self.chosen  # options that it has not are refused here
        if kind.reads_formats:
            for name in self.modalities:
                parts = name.split(PERSPECTIVE, maxsplit=1)
                plain = all(map(str.isidentifier, parts)) and not hasattr(nn.ModuleDict, name)
                require(plain, "model.modalities", name, _FORMAT_NAME)
            return
        for name in self.modalities:
            if name not in STREAMS:
                raise ConfigError(
                    f"model.modalities cannot have '{name}': {nearest(name, STREAMS)}"
                )
        if unread := [m for m in self.modalities if m not in kind.reads]:
            able = [name for name, one in model_names().items() if set(unread) <= set(one.reads)]
            other = f", or a --model.name among {', '.join(able)}" if able else ""
            raise ConfigError(
                f"model.name is '{self.name}', which reads {' and '.join(kind.reads)}, not {' or '.join(unread)}: set "
                f"--model.modalities{other}"
            )

    @property
    def is_plugin(self) -> bool:
        """Whether its model is one of a user's own."""
        return self.name not in groups_with(ModelConfig, "build")

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
        kind = lookup(model_names(), self.name, kind="model")
        own: ModelSettings | None = getattr(self, self.name, None)
        return configured(kind, self.options, "model.options") if own is None else own


def model_names() -> Mapping[str, type[ModelSettings]]:
    """Model name -> settings class; plug-ins are found, but not listed."""
    return PlugIns(groups_with(ModelConfig, "build"), "raysys.models", ModelSettings)
