"""Encoders, and the store that keeps what they computed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from raysys.corpus.finding import Finding
from raysys.corpus.table import Corpus, Utterance
from raysys.encoders.audio_transformers import AudioTransformersConfig
from raysys.encoders.augmentation import AugmentConfig, Augmented, Noise
from raysys.encoders.encoder import FRAMED, STREAMS, TIMED, Encoder, EncoderConfig
from raysys.encoders.extraction import Through, here
from raysys.encoders.frames import FramesConfig
from raysys.encoders.hashed import HashedConfig
from raysys.encoders.image_transformers import ImageTransformersConfig
from raysys.encoders.logmel import LogmelConfig
from raysys.encoders.opensmile import OpensmileConfig
from raysys.encoders.plugged import Plugged
from raysys.encoders.pooled import Pooled
from raysys.encoders.precomputed import PrecomputedConfig
from raysys.encoders.progress import extraction_shown
from raysys.encoders.ragged import Ragged
from raysys.encoders.ratings import RatingsEncoderConfig
from raysys.encoders.store import FeatureStore, extract_store, open_store
from raysys.encoders.top_layers import TopRecipe
from raysys.encoders.training_data import trained_on
from raysys.encoders.transformers import TransformersConfig
from raysys.encoders.visextnet import VisextnetConfig
from raysys.errors import ConfigError, DamagedError, lookup, nearest
from raysys.plugins import PlugIns, configured
from raysys.settings import digest, groups_with, require
from raysys.storage import Folder


@dataclass(frozen=True)
class FeaturesConfig:
    """Which encoder turns each modality into frames or tokens, and how frames are normalised."""

    audio: str = "logmel"
    """Audio encoder: logmel, audio_transformers (Whisper, wav2vec 2.0, HuBERT, WavLM, data2vec, AST),
    opensmile (eGeMAPS, ComParE) or precomputed."""
    text: str = "hashed"
    """Text encoder: hashed, transformers (BERT, RoBERTa, MiniLM, ...) or precomputed."""
    video: str = "precomputed"
    """Video encoder: visextnet (faces in films), frames (whole frames of films) or precomputed."""
    image: str = "image_transformers"
    """Image encoder: image_transformers (ViT, DINOv2, CLIP's vision part, ResNet) or precomputed."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    """Modality -> settings of its encoder, where that is one of your own, package.module:Class (raysys/PLUGINS.md)."""
    normalise: Literal["train", "speaker", "none"] = "train"
    """Mean and variance of audio, video and image columns: train (from the fold's train part), speaker (each speaker's
    own frames, unlabelled, also those of test speakers: named in the report) or none."""
    pool_frames: int = 1
    """Audio and video frames that are averaged into one before they are stored; 1 keeps all."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Changed copies of the train parts' audio."""
    # A new encoder is one module and one line here: the field's name is the encoder's.
    logmel: LogmelConfig = field(default_factory=LogmelConfig)
    """Settings of the logmel encoder."""
    audio_transformers: AudioTransformersConfig = field(default_factory=AudioTransformersConfig)
    """Settings of the audio_transformers encoder."""
    opensmile: OpensmileConfig = field(default_factory=OpensmileConfig)
    """Settings of the opensmile encoder."""
    hashed: HashedConfig = field(default_factory=HashedConfig)
    """Settings of the hashed encoder."""
    transformers: TransformersConfig = field(default_factory=TransformersConfig)
    """Settings of the transformers encoder."""
    visextnet: VisextnetConfig = field(default_factory=VisextnetConfig)
    """Settings of the visextnet encoder."""
    frames: FramesConfig = field(default_factory=FramesConfig)
    """Settings of the frames encoder."""
    image_transformers: ImageTransformersConfig = field(default_factory=ImageTransformersConfig)
    """Settings of the image_transformers encoder."""
    precomputed: PrecomputedConfig = field(default_factory=PrecomputedConfig)
    """Files of the precomputed encoder."""
    trained_on: tuple[str, ...] = ()
    """PART=CORPUS: models whose name holds the part were trained on the corpus; for the audit, in addition to those
    that it knows."""

    def __post_init__(self) -> None:
        for entry in self.trained_on:
            part, _, corpus = entry.partition("=")
            require(bool(part and corpus), "features.trained_on", entry, "PART_OF_A_NAME=CORPUS")
        pool = self.pool_frames
        require(1 <= pool <= 1000, "features.pool_frames", pool, "1 to 1000")
        if self.audio == "audio_transformers" and self.audio_transformers.finetune_layers:
            rule = "1 where layers of the audio encoder are trained"
            require(pool == 1, "features.pool_frames", pool, rule)
            rule = "train or none where layers of the audio encoder are trained"
            require(self.normalise != "speaker", "features.normalise", self.normalise, rule)
        if unknown := [name for name in self.options if name not in STREAMS]:
            raise ConfigError(
                f"features.options has '{unknown[0]}': {nearest(unknown[0], STREAMS)}"
            )
        for modality in ("audio", "text", "image"):
            file, encoder = getattr(self.precomputed, modality), getattr(self, modality)
            rule = (
                f"set where features.{modality} is precomputed and nowhere else (it is {encoder})"
            )
            given = bool(file) == (encoder == "precomputed")
            require(given, f"features.precomputed.{modality}", file, rule)

    def encoder_of(self, modality: str) -> str:
        """Name of the encoder of a modality; whatever is no stream is a label format, whose ratings are read."""
        return str(getattr(self, modality)) if modality in STREAMS else "ratings"

    def comes_from_file(self, modality: str) -> bool:
        """Whether a modality is read from a file of features instead of the corpus."""
        chosen = self.encoder_of(modality) == "precomputed"
        return chosen and bool(getattr(self.precomputed, modality))

    def encoder(self, modality: str) -> EncoderConfig:
        """Settings of the encoder that is chosen for a modality.

        Raises:
            ConfigError: there is none of that name.
        """
        if modality not in STREAMS:
            return RatingsEncoderConfig()
        name = self.encoder_of(modality)
        kind = lookup(encoder_names(modality), name, kind=f"{modality} encoder")
        own: EncoderConfig | None = getattr(self, name, None)
        if own is not None:
            return own
        able = getattr(kind, "modalities", ())
        if not isinstance(able, tuple) or modality not in able:
            told = " and ".join(able) if isinstance(able, tuple) and able else repr(able)
            raise ConfigError(
                f"features.{modality} is {name}, which encodes {told}: choose another, or give its class `modalities` "
                f"with '{modality}'"
            )
        return configured(kind, self.options.get(modality, {}), f"features.options.{modality}")

    def build(
        self, modality: str, *, change: AugmentConfig | Noise | None = None, copy: int = 1
    ) -> Encoder:
        """The encoder that is chosen for a modality; nothing large is loaded yet.

        Args:
            modality: audio, text, video or image.
            change: what is done to audio before it is encoded.
            copy: number of the changed copy.

        Raises:
            ConfigError: there is none of that name.
            FeatureError: its model or file cannot be used.
        """
        config = self.encoder(modality)
        own = modality not in STREAMS or hasattr(self, self.encoder_of(modality))
        encoder = config.build(modality) if own else Plugged(config, modality)
        if change is not None:
            encoder = Augmented(encoder, change, copy=copy)
        pools = self.pool_frames > 1 and modality in TIMED
        return Pooled(encoder, self.pool_frames) if pools else encoder

    def tops(self, modalities: Sequence[str]) -> dict[str, TopRecipe]:
        """Modality -> the layers of its encoder that are trained with the model, where there are such.

        Raises:
            FeatureError: a model cannot be loaded.
        """
        found = {modality: self.encoder(modality).top() for modality in modalities}
        return {modality: top for modality, top in found.items() if top is not None}

    def findings(self, modalities: Sequence[str], corpus: str) -> list[Finding]:
        """What the audit must know of normalisation and encoders.

        Args:
            modalities: that the model reads.
            corpus: name of the corpus.
        """
        found = []
        framed = [modality for modality in modalities if modality in FRAMED]
        if self.normalise == "speaker" and framed:
            message = (
                f"{' and '.join(framed)} is normalised per speaker on the speaker's own unlabelled frames, test "
                "speakers included: the score is for speakers of whom such frames are at hand"
            )
            found.append(Finding("note", "speaker_normalisation", message))
        if self.augment.copies and "audio" in modalities:
            message = (
                f"train parts hold {self.augment.copies} changed copies of every utterance's audio "
                f"({', '.join(self.augment.kinds)}); val, test and baselines use it as recorded"
            )
            found.append(Finding("note", "augmentation", message))
        by_encoder: dict[str, list[str]] = {}
        for modality in modalities:
            by_encoder.setdefault(self.encoder_of(modality), []).append(modality)
        for served in by_encoder.values():
            encoder = self.encoder(served[0])
            if model := getattr(encoder, "model", ""):
                added: dict[str, list[str]] = {}
                for part, _, one in (entry.partition("=") for entry in self.trained_on):
                    added.setdefault(part, []).append(one)
                found += trained_on(model, corpus, added)
            found += encoder.findings(served, corpus)
        return found


def seen_in(
    store: FeatureStore, config: FeaturesConfig, rows: Sequence[Utterance]
) -> list[Finding]:
    """What the audit must know of the features themselves, such as how many utterances show no face."""
    found = [
        Finding("note", "encoded_again", f"{damage}: it was encoded again")
        for ragged in store.modalities.values()
        for damage in ragged.redone
    ]
    for modality, ragged in store.modalities.items():
        each = (ragged[k] for k in range(len(ragged)))
        found += config.encoder(modality).seen(each, rows)
    return found


def encoder_names(modality: str) -> Mapping[str, type[EncoderConfig]]:
    """Encoder name -> settings class, of those that encode a modality; plug-ins are found, but not listed."""
    known = groups_with(FeaturesConfig, "modalities")
    able = {name: kind for name, kind in known.items() if modality in kind.modalities}
    return PlugIns(able, "raysys.encoders", EncoderConfig)


def prepare_features(
    corpus: Corpus,
    config: FeaturesConfig,
    modalities: Sequence[str],
    *,
    cache: Folder,
    skip_bad: bool = False,
    through: Callable[[str], Through] = lambda modality: here,
    change: AugmentConfig | Noise | None = None,
    copy: int = 1,
) -> FeatureStore:
    """Open the features of some modalities, extracting those that are missing.

    Args:
        corpus: checked corpus.
        config: encoders.
        modalities: that the model reads.
        cache: where stores are.
        skip_bad: go on without utterances that cannot be read: `FeatureStore.failed` names them.
        through: modality -> who does the work.
        change: what is done to audio before it is encoded; `modalities` is audio alone then.
        copy: number of the changed copy.

    Raises:
        ConfigError: unknown encoder.
        FeatureError: damaged store, unusable model or utterance.
    """
    found: dict[str, Ragged] = {}
    encoders = {m: config.build(m, change=change, copy=copy) for m in modalities}
    for modality, encoder in encoders.items():
        damage = ""
        try:
            stored = open_store(corpus, modality, encoder, cache)
        except DamagedError as error:
            stored, damage = None, str(error)
        if stored is None or (stored.failed and not skip_bad):
            title = f"{modality} features ({config.encoder_of(modality)}{_told(change, copy)})"
            with extraction_shown(title, len(corpus)) as bar:
                stored = extract_store(
                    corpus,
                    modality,
                    encoder,
                    cache,
                    through=through(modality),
                    skip_bad=skip_bad,
                    advance=bar,
                )
        found[modality] = replace(stored, redone=(damage,)) if damage else stored
    fingerprints = {modality: encoder.fingerprint() for modality, encoder in encoders.items()}
    return FeatureStore(found, fingerprints, digest(corpus.digest, fingerprints))


def _told(change: AugmentConfig | Noise | None, copy: int) -> str:
    if isinstance(change, Noise):
        return f", noise at {change.snr_db:g} dB"
    return f", copy {copy}" if change else ""
