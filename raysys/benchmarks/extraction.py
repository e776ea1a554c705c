"""What the feature store costs compared with a loop that somebody would write by hand, on the same corpus and model.

    loop      one process, all cores: sorted by length, batched, states as float16 in memory   (text)
              one process, all cores: batches of exactly one length, nothing padded            (Whisper)
    here      raysys in one process, all cores: shards on disk
    workers   raysys on Ray Data, one core a worker: shards on disk; Ray runs already, as it does before a fold pool

Every one of them starts without anything imported or loaded, in a process of its own.
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from raysys.cluster.extraction import on_workers
from raysys.cluster.session import ray_session
from raysys.config import Config
from raysys.corpus.table import Corpus
from raysys.encoders import FeaturesConfig
from raysys.encoders.extraction import here
from raysys.encoders.pretrained import PretrainedModel
from raysys.encoders.store import extract_store
from raysys.errors import ConfigError
from raysys.running.plan import prepare_corpus
from raysys.storage import Folder

_BATCH = 64
_GROUPS = {"text": "transformers", "audio": "audio_transformers"}


def measure(config: Config, console: Console, folder: Folder) -> dict[str, Any]:
    """Time a corpus' extraction by each of them.

    Args:
        config: corpus and one modality, encoded by `transformers` or by a Whisper.
        console: for progress.
        folder: for the stores.

    Returns:
        Seconds of each, and each one's speed as a share of the loop's.

    Raises:
        ConfigError: another encoder.
        FeatureError: the model cannot be used.
    """
    (modality, *more) = config.model.modalities
    chosen = str(getattr(config.features, modality))
    compared = not more and _GROUPS.get(modality) == chosen
    if not compared or (modality == "audio" and _files(chosen, config.features).kind != "whisper"):
        raise ConfigError(
            "this benchmark is of one modality, encoded by a text model or a Whisper: try configs/meld_text.yaml or "
            "configs/emodb_whisper.yaml"
        )
    corpus, _ = prepare_corpus(config)
    features = config.features
    loop = _loop_of_texts if modality == "text" else _loop_of_whisper
    found = {"loop": alone(loop, features, corpus)}
    console.print(f"loop {found['loop']:.1f} s")
    found["here"] = alone(_here, features, modality, corpus, folder / "here")
    console.print(f"here {found['here']:.1f} s")
    for workers in (1, 2):
        name = f"workers_{workers}"
        cluster = replace(config.cluster, workers=workers)
        with ray_session(cluster):
            started = time.perf_counter()
            encoder = features.build(modality)

            def through(encoder: Any, portions: Any, root: Path) -> Any:
                return on_workers(features, cluster, modality, encoder, portions, root)  # noqa: B023

            extract_store(corpus, modality, encoder, folder / name, through=through)
            found[name] = time.perf_counter() - started
        console.print(f"{workers} workers {found[name]:.1f} s")
    ratios = {f"{name}_to_loop": found["loop"] / found[name] for name in list(found)[1:]}
    return {"utterances": len(corpus), "seconds": found, **ratios}


def alone(work: Callable[..., None], *arguments: Any) -> float:
    """Seconds of work in a fresh process, its imports included, its start not.

    Args:
        work: a function of a module.
        arguments: that can be pickled.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        process.submit(time.perf_counter).result()
        started = time.perf_counter()
        process.submit(work, *arguments).result()
        return time.perf_counter() - started


def _here(features: FeaturesConfig, modality: str, corpus: Corpus, folder: Folder) -> None:
    extract_store(corpus, modality, features.build(modality), folder, through=here)


def _loop_of_texts(features: FeaturesConfig, corpus: Corpus) -> None:
    text_states(features, [row.text for row in corpus.utterances])


def text_states(
    features: FeaturesConfig, texts: Sequence[str], *, device: str = "cpu"
) -> list[np.ndarray]:
    """States of one layer, by a loop over batches of texts of similar length.

    Args:
        features: of the encoder `transformers`.
        texts: what is encoded.
        device: cpu or cuda.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder, layer = _model("transformers", features)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval().to(device)
    order = np.argsort([len(text) for text in texts])
    states: dict[int, np.ndarray] = {}
    with torch.inference_mode():
        for first in range(0, len(texts), _BATCH):
            rows = order[first : first + _BATCH].tolist()
            batch = tokenizer([texts[k] for k in rows], padding=True, return_tensors="pt")
            sent = batch.to(device)
            hidden = model(**sent, output_hidden_states=True).hidden_states[layer]
            masks = batch["attention_mask"].bool().cpu().numpy()
            for k, one, mask in zip(rows, hidden.half().cpu().numpy(), masks, strict=True):
                states[k] = one[mask]
    return [states[place] for place in range(len(texts))]


def _loop_of_whisper(features: FeaturesConfig, corpus: Corpus) -> None:
    whisper_states(features, [corpus.root / row.audio for row in corpus.utterances])


def whisper_states(
    features: FeaturesConfig, files: Sequence[Path], *, device: str = "cpu"
) -> list[np.ndarray]:
    """States of one layer, by a loop over batches of one length.

    Args:
        features: of the encoder `audio_transformers`.
        files: recordings.
        device: cpu or cuda.
    """
    import soundfile
    import torch
    import torchaudio
    from transformers import AutoFeatureExtractor, WhisperModel

    folder, layer = _model("audio_transformers", features)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    encoder = WhisperModel.from_pretrained(folder, dtype=torch.float32).encoder.eval().to(device)
    by_length: dict[int, list[tuple[int, torch.Tensor]]] = {}
    states: dict[int, np.ndarray] = {}
    with torch.inference_mode():
        for place, file in enumerate(files):
            samples, rate = soundfile.read(file, dtype="float32")
            heard = torchaudio.functional.resample(torch.from_numpy(samples), rate, 16000)
            heard = heard[: len(heard) // 320 * 320].numpy()
            mel = extractor(
                heard,
                sampling_rate=16000,
                padding="longest",
                truncation=False,
                return_tensors="pt",
            ).input_features
            by_length.setdefault(mel.shape[2], []).append((place, mel))
        for alike in by_length.values():
            for first in range(0, len(alike), 32):
                some = alike[first : first + 32]
                x = torch.cat([mel for _, mel in some]).to(device)
                x = torch.nn.functional.gelu(encoder.conv1(x))
                x = torch.nn.functional.gelu(encoder.conv2(x)).transpose(1, 2)
                x = x + encoder.embed_positions.weight[: x.shape[1]]
                for block in encoder.layers[:layer]:
                    x = block(x, None)
                for (place, _), one in zip(some, x.half().cpu().numpy(), strict=True):
                    states[place] = one
    return [states[place] for place in range(len(files))]


def _model(group: str, features: FeaturesConfig) -> tuple[str, int]:
    """Folder and layer of the encoder's settings."""
    files, layers = _files(group, features), getattr(features, group).layers
    return str(files.folder), layers[0]


def _files(group: str, features: FeaturesConfig) -> PretrainedModel:
    settings: Any = getattr(features, group)
    return PretrainedModel(group, settings.model, revision=settings.revision, device="cpu")
