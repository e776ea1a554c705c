"""What a trained fold leaves, whole: enough to predict on new utterances without the code that trained it.

    bundle.json           version, config, task and outputs, widths, fingerprints of the encoders
    weights.safetensors   model/NAME, normaliser/MODALITY/mean and /std, readout/NAME

`raysys.load(folder)` gives a `Predictor`. Nothing is unpickled.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Int64
from safetensors import SafetensorError
from torch import Tensor, nn

from raysys.batches.batch import Part, Turns, make_part
from raysys.batches.normalise import Normaliser
from raysys.config import Config
from raysys.encoders.ragged import Ragged
from raysys.encoders.top_layers import TopRecipe
from raysys.errors import ConfigError, FeatureError, FoldFailedError, StorageError, lookup
from raysys.models.stored import VERSION, read_stored
from raysys.models.tuned import Tuned
from raysys.predictions import Predictions
from raysys.sealed import write_sealed
from raysys.settings import from_dict, replaced, to_dict, under
from raysys.storage import Folder, bytes_digest, named_folder
from raysys.tasks import TASKS
from raysys.tasks.task import Task
from raysys.training.arithmetic import settled

FILES = ("bundle.json", "weights.safetensors")
"""Files that make a bundle."""


@dataclass(frozen=True)
class Bundle:
    """A model that has been trained, and what it needs besides its weights."""

    config: Config
    task: Task
    dims: Mapping[str, int]
    """Modality -> width of its frames."""
    encoders: Mapping[str, Any]
    """Modality -> fingerprint of the encoder that made the frames."""
    model: nn.Module
    """The model on its device, with the weights that the fold keeps."""
    normalisers: Mapping[str, Normaliser]
    fitted: Mapping[str, Tensor]
    """What the task must know of the train part to read the model's logits."""
    tops: Mapping[str, TopRecipe] = field(default_factory=dict)
    """Modality -> which layers of its encoder were trained; their weights are the model's."""

    def predict(self, part: Part) -> Predictions:
        """Embeddings and outputs of every utterance of a part, in its order."""
        self.model.eval()
        pieces = []
        dialogues = self.config.model.chosen.reads_dialogues
        with torch.inference_mode():
            for batch in part.batches(self.config.training.batch_size, dialogues=dialogues):
                output = self.model(batch.modalities, batch.layout)
                read = self.task.read(output.logits, self.fitted)
                pieces.append((batch.rows, self.task.embedding(output), read))
        rows, embeddings, outputs = (
            torch.cat(column).cpu() for column in zip(*pieces, strict=True)
        )
        order = torch.argsort(rows)
        return Predictions(
            embeddings[order].float().numpy(),
            outputs[order].float().numpy(),
            self.task.truth(part),
        )


class Predictor:
    """Predicts with a bundle on features that its encoders made.

    Args:
        bundle: what was loaded.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the columns of predicted outputs are: emotions, or targets."""
        return self.bundle.task.outputs

    def predict(
        self,
        features: Mapping[str, Ragged],
        *,
        rows: Int64[np.ndarray, " row"] | None = None,
        places: Int64[np.ndarray, "utterance 3"] | None = None,
        encoders: Mapping[str, Any] | None = None,
    ) -> Predictions:
        """Embeddings and outputs of utterances, in the order of `rows`; the truth is left empty.

        Args:
            features: modality -> frames, such as `raysys.encoders.prepare_features` gives, normalised by speaker where
                the config says so (`raysys.batches.normalise.by_speaker`).
            rows: utterances to predict; all, if None.
            places: dialogue, turn and speaker of every utterance, for a model of dialogues (`Corpus.places`).
            encoders: modality -> fingerprint of what made the features; checked where given.

        Raises:
            FeatureError: a modality is missing, has another width, or was made by another encoder.
        """
        _check_features(self.bundle, features, encoders or {})
        part = unlabelled_part(self.bundle, features, rows=rows, places=places)
        with settled(self.bundle.config):
            found = self.bundle.predict(part)
        return Predictions(found.embeddings, found.outputs, found.truth[:0])


def unlabelled_part(
    bundle: Bundle,
    features: Mapping[str, Ragged],
    *,
    rows: Int64[np.ndarray, " row"] | None,
    places: Int64[np.ndarray, "utterance 3"] | None,
) -> Part:
    """Utterances as a bundle's model reads them; arguments are those of `Predictor.predict`."""
    used = {modality: features[modality] for modality in bundle.dims}
    count = len(next(iter(used.values())))
    return make_part(
        used,
        np.arange(count) if rows is None else np.asarray(rows),
        labels=np.zeros(count, dtype=np.int64),
        targets=np.zeros((count, len(bundle.task.outputs)), dtype=np.float32),
        normalisers=bundle.normalisers,
        device=_device_of(bundle.model),
        turns=None if places is None else Turns(*torch.tensor(places).unbind(dim=1)),
    )


def _device_of(model: nn.Module) -> str:
    """Device of the model's weights; a model that is fitted without epochs has only buffers."""
    return str(next(itertools.chain(model.parameters(), model.buffers())).device)


def earlier_fold(config: Config, seed: int, fold: int) -> Folder:
    """Folder of the fold of an earlier run that training goes on from.

    Args:
        config: `training.start_from` is the folder of the run.
        seed: of the training.
        fold: of the corpus.
    """
    run = Folder(config.training.start_from)
    own = run / f"seed_{seed}"
    return (own if own.exists() else run) / f"fold_{fold}"


def go_on_from(model: nn.Module, place: Folder) -> None:
    """Give a model the weights of a bundle.

    Args:
        model: of the same kind and sizes.
        place: folder of the bundle.

    Raises:
        FoldFailedError: they do not fit.
        StorageError: the bundle is missing or damaged.
    """
    _, raw = read_stored(place)
    try:
        model.load_state_dict(under("model/", safetensors.torch.load(raw)))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise FoldFailedError(f"the weights in {place.path()} do not fit: {reason}") from error


def save_bundle(folder: Folder, bundle: Bundle) -> None:
    """Write bundle.json and weights.safetensors."""
    tensors = {f"model/{name}": value for name, value in bundle.model.state_dict().items()}
    for modality, normaliser in bundle.normalisers.items():
        tensors[f"normaliser/{modality}/mean"] = torch.from_numpy(normaliser.mean)
        tensors[f"normaliser/{modality}/std"] = torch.from_numpy(normaliser.std)
    tensors |= {f"readout/{name}": value for name, value in bundle.fitted.items()}
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    weights = safetensors.torch.save(plain)
    folder.write_bytes("weights.safetensors", weights)
    content = {
        "version": VERSION,
        "task": {"name": bundle.task.name, **asdict(bundle.task)},  # type: ignore[call-overload]
        "dims": dict(bundle.dims),
        "encoders": dict(bundle.encoders),
        "config": to_dict(bundle.config),
        "tops": {modality: recipe.plain for modality, recipe in bundle.tops.items()},
        "weights": bytes_digest(weights),
    }
    write_sealed(folder, "bundle.json", content)


def load_bundle(
    place: str | Path | Folder,
    *,
    device: str = "cpu",
    encoders: Mapping[str, str] | None = None,
) -> Bundle:
    """Read what `save_bundle` wrote.

    Args:
        place: folder of a trained fold (`runs/NAME/fold_K`, or an MLflow artifact folder), as a path or URI.
        device: torch device.
        encoders: see `with_encoders`.

    Raises:
        ConfigError: see `with_encoders`.
        StorageError: there is no bundle, it is damaged, or of another version.
    """
    folder = place if isinstance(place, Folder) else named_folder(place)
    if not folder.exists("bundle.json"):
        raise StorageError(
            f"{folder.path()} holds no bundle.json: give the folder of a run, such as runs/demo, or of a trained fold, "
            "such as runs/demo/fold_0"
        )
    content, raw = read_stored(folder)
    try:
        config = from_dict(Config, content["config"])
    except (KeyError, TypeError, ConfigError) as error:
        raise _damaged(folder, error) from error
    config = with_encoders(config, encoders or {})
    try:
        tensors = safetensors.torch.load(raw)
        known = dict(content["task"])
        kind: Any = lookup(TASKS, known.pop("name"), kind="task")
        task = from_dict(kind, known)
        tops = {m: _stored_top(config, m, **plain) for m, plain in content["tops"].items()}
        model = build_model(config, dims=content["dims"], n_outputs=task.width, tops=tops)
        model.load_state_dict(under("model/", tensors))
        normalisers = _normalisers(under("normaliser/", tensors))
    except (SafetensorError, RuntimeError, KeyError, TypeError, ConfigError) as error:
        raise _damaged(folder, error) from error
    fitted = {name: value.to(device) for name, value in under("readout/", tensors).items()}
    return Bundle(
        config,
        task,
        content["dims"],
        content["encoders"],
        model.to(device).eval(),
        normalisers,
        fitted,
        tops,
    )


def _damaged(folder: Folder, error: Exception) -> StorageError:
    reason = " ".join(str(error).split())[:200]
    return StorageError(f"the bundle in {folder.path()} is damaged: {reason}")


def with_encoders(config: Config, encoders: Mapping[str, str]) -> Config:
    """The config of a run whose pretrained encoders are elsewhere now, as on another machine.

    Args:
        config: of the run.
        encoders: modality -> folder or hub name of its encoder's model. Whoever predicts compares its files with those
            that the run had.

    Raises:
        ConfigError: the run does not read a modality, or its encoder there is no model.
    """
    for modality, place in encoders.items():
        group = config.features.encoder_of(modality)
        if modality not in config.model.modalities:
            told = " and ".join(config.model.modalities)
            raise ConfigError(f"--encoder names {modality}, but the run reads {told}")
        if not hasattr(getattr(config.features, group, None), "model"):
            raise ConfigError(
                f"--encoder names {modality}, whose encoder {group} has no files that could be elsewhere: leave it out"
            )
        config = replaced(config, {f"features.{group}.model": place})
    return config


def elsewhere(error: FeatureError, modality: str) -> FeatureError:
    """The error of an encoder that cannot be loaded, with where to say that it has moved.

    Args:
        error: of loading it.
        modality: that it encodes.
    """
    return FeatureError(f"{error}; where it is elsewhere now: --encoder {modality}=FOLDER")


def build_model(
    config: Config, *, dims: Mapping[str, int], n_outputs: int, tops: Mapping[str, TopRecipe]
) -> nn.Module:
    """The untrained model of a config, above the pretrained layers that are trained with it.

    Args:
        config: everything.
        dims: modality -> width of its stored frames.
        n_outputs: width of the head.
        tops: modality -> layers of its encoder, where some are trained.
    """
    widths = {modality: dim - (modality in tops) for modality, dim in dims.items()}
    model = config.model.chosen.build(config.model.modalities, dims=widths, n_outputs=n_outputs)
    if not tops:
        return model
    built = {modality: recipe.build() for modality, recipe in tops.items()}
    for top in built.values():
        top.checkpointing = config.training.gradient_checkpointing
        top.mixed = config.training.encoder_precision == "bfloat16"
    return Tuned(model, built)


def _stored_top(
    config: Config,
    modality: str,
    *,
    lora: Mapping[str, Any] | None = None,
    base: str = "",
    **plain: Any,
) -> TopRecipe:
    """Trained layers as a bundle holds them: whole, or the adapters on weights of the encoder that it names.

    Raises:
        FeatureError: the encoder cannot be loaded.
        StorageError: it has other weights than the adapters were trained on.
    """
    if lora is None:
        return TopRecipe(**plain)
    try:
        found = config.features.encoder(modality).top()
    except FeatureError as error:
        raise elsewhere(error, modality) from error
    if found is None or found.base != base:
        group = config.features.encoder_of(modality)
        raise StorageError(
            f"its adapters were trained on other weights than features.{group}.model names: put those back there, "
            f"or name their folder with --encoder {modality}=FOLDER"
        )
    return replace(found, **plain)


def _normalisers(tensors: Mapping[str, Tensor]) -> dict[str, Normaliser]:
    modalities = {name.split("/")[0] for name in tensors}
    return {
        m: Normaliser(*(tensors[f"{m}/{part}"].numpy() for part in ("mean", "std")))
        for m in sorted(modalities)
    }


def _check_features(
    bundle: Bundle, features: Mapping[str, Ragged], encoders: Mapping[str, Any]
) -> None:
    for modality, dim in bundle.dims.items():
        if modality not in features:
            names: Sequence[str] = sorted(bundle.dims)
            raise FeatureError(f"the model reads {' and '.join(names)}: give {modality} too")
        if features[modality].dim != dim:
            raise FeatureError(
                f"{modality} features are {features[modality].dim} wide, but the model was trained on {dim}: use the "
                "encoder of its config"
            )
        known = bundle.encoders.get(modality)
        if modality in encoders and known is not None and encoders[modality] != known:
            raise FeatureError(
                f"{modality} features were made by another encoder than the model was trained on: use that of its "
                "config, with the same weights and code"
            )
