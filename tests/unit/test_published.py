"""Presets of published systems against a table of what papers and the authors' code say, number by number."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from raysys.commandline import parse
from raysys.settings import value_of

CONFIGS = Path(__file__).parents[2] / "configs"
Facts = Mapping[str, Any]

MULTIEMO: Facts = {  # TaoShi1998/MultiEMO: Train/TrainMultiEMO.py, its defaults and get_optimizer
    "loss.targets": "label",
    "loss.mode": "official",
    "model.name": "multiemo",
    "model.multiemo.dim": 256,
    "model.multiemo.state": 256,
    "model.multiemo.heads": 4,
    "model.multiemo.feedforward": 1024,
    "model.multiemo.dropout": 0.0,
    "model.multiemo.residual": False,
    "model.multiemo.fusion": True,
    "training.learning_rate": 1e-4,
    "training.weight_decay": 1e-5,
    "training.lr_schedule": "plateau",
    "training.plateau_factor": 0.95,
    "training.plateau_patience": 10,
    "training.gradient_clip": 0.0,
    "training.label_smoothing": 0.0,
    "balance.method": "off",
}
MULTIEMO_IEMOCAP: Facts = (
    MULTIEMO
    | {  # Train/TrainMultiEMO_IEMOCAP.sh, Model/MultiEMO_Model.py, DialogueRNN.py
        "corpus.name": "iemocap",
        "folds.method": "leave_one_group_out",
        "folds.groups": "session",
        "model.multiemo.layers": 6,
        "model.multiemo.hidden": 256,
        "model.multiemo.context": ("audio", "text", "video"),
        "model.multiemo.bidirectional": True,
        "model.multiemo.project": True,
        "loss.mu1": 0.4,
        "loss.mu2": 0.4,
        "loss.tau": 0.8,
        "loss.gamma": 2.4,
        "loss.alpha": 1.1,
        "training.batch_size": 64,
        "training.max_epochs": 100,
        "training.patience": 100,
    }
)
MULTIEMO_MELD: Facts = (
    MULTIEMO
    | {  # Train/TrainMultiEMO_MELD.sh, Model/MultiEMO_Model.py, DialogueRNN.py
        "corpus.name": "meld",
        "folds.method": "official",
        "model.multiemo.layers": 2,
        "model.multiemo.hidden": 512,
        "model.multiemo.context": ("audio", "video"),
        "model.multiemo.bidirectional": False,
        "model.multiemo.project": False,
        "loss.mu1": 0.3,
        "loss.mu2": 0.3,
        "loss.tau": 1.4,
        "loss.gamma": 2.0,
        "loss.alpha": 1.2,
        "training.batch_size": 100,
        "training.max_epochs": 15,
        "training.patience": 15,
    }
)
TABLE: Facts = {"ablation.selected_on": "test", "model.modalities": ("audio", "text", "video")}
SESSION_5: Facts = {"ablation.published_on": "iemocap", "ablation.published_test": "5"}
PDDS: Facts = {  # Liang et al. 2023, arXiv:2302.08650, sections 2.1, 2.2, 3.1 and 3.2
    "corpus.name": "iemocap",
    "corpus.iemocap.classes": "six",
    "features.audio": "audio_transformers",
    "features.audio_transformers.model": "facebook/data2vec-audio-base",
    "features.audio_transformers.output": "convolutions",
    "features.text": "transformers",
    "features.transformers.model": "bert-base-uncased",
    "folds.method": "leave_one_group_out",
    "folds.groups": "session",
    "folds.tested": (5,),
    "model.name": "cltnet",
    "model.cltnet.channels": 300,
    "model.cltnet.text_dim": 100,
    "model.cltnet.dim": 100,
    "model.cltnet.layers": 5,
    "model.cltnet.heads": 5,
    "loss.targets": "votes",
    "balance.sigma": 1.0,
    "balance.p": 0.8,
    "balance.pairs": "all",
    "balance.n": 400,
    "balance.top_up": {"happiness": 215},
    "training.max_epochs": 30,
    "training.patience": 10,
    "training.select": "loss",
    "training.batch_size": 64,
    "training.learning_rate": 1e-3,
    "training.weight_decay": 1e-5,
    "training.lr_schedule": "constant",
    "training.gradient_clip": 0.0,
}
BERT_AST: Facts = {  # Elabd & Jaf 2024, arXiv:2407.00134
    "features.audio": "audio_transformers",
    "features.audio_transformers.model": "MIT/ast-finetuned-audioset-10-10-0.4593",
    "features.text": "transformers",
    "features.transformers.model": "bert-base-uncased",
    "model.name": "bimodal_attention",
    "model.bimodal_attention.fusion": "cross_attention",
    "loss.targets": "label",
}
EMOTION_SPACE: Facts = {  # JULIELab/emotion-embeddings: experiments/mapping/multitask.py, src/models.py
    "model.name": "multiway",
    "model.multiway.dim": 100,
    "model.multiway.hidden": 128,
    "model.multiway.hidden_layers": 2,
    "model.multiway.dropout": 0.2,
    "loss.mapping": 1.0,
    "loss.autoencoding": 1.0,
    "loss.closeness": 1.0,
    "loss.sharing": 1.0,
    "training.batch_size": 32,
    "training.learning_rate": 1e-3,
    "training.lr_schedule": "constant",
    "training.weight_decay": 0.0,
    "training.gradient_clip": 0.0,
}
PUBLISHED: Mapping[str, Facts] = {
    "iemocap.yaml": MULTIEMO_IEMOCAP,
    "meld.yaml": MULTIEMO_MELD,
    "tables/multiemo_table1.yaml": MULTIEMO_IEMOCAP | TABLE | SESSION_5 | {"folds.tested": ()},
    "tables/multiemo_table2.yaml": MULTIEMO_MELD | TABLE | {"ablation.published_on": "meld"},
    "tables/multiemo_table3.yaml": MULTIEMO_IEMOCAP | TABLE | SESSION_5 | {"folds.tested": ()},
    "tables/multiemo_table3_meld.yaml": MULTIEMO_MELD | TABLE | {"ablation.published_on": "meld"},
    "tables/pdds_iemocap.yaml": PDDS,
    "tables/pdds_table1.yaml": PDDS | SESSION_5,
    "tables/pdds_table2.yaml": PDDS | SESSION_5,
    "tables/pdds_fig6.yaml": PDDS | {"balance.method": "pdds"},
    "meld_bert_ast.yaml": BERT_AST | {"corpus.name": "meld", "folds.method": "official"},
    "iemocap_bert_ast.yaml": BERT_AST | {"corpus.name": "iemocap"},
    "ablations/bert_ast.yaml": BERT_AST | {"corpus.name": "meld"},
    "labels/words_published.yaml": EMOTION_SPACE,
    "labels/words.yaml": {
        **{
            name: value
            for name, value in EMOTION_SPACE.items()
            if name.startswith("model.multiway")
        },
        "model.multiway.hidden_layers": 1,
        "loss.sharing": 0.1,  # the paper's text
    },
}
"""Preset -> dotted name of a setting -> its value."""


@pytest.mark.parametrize("preset", PUBLISHED)
def test_a_preset_is_what_was_published(preset: str):
    config = parse([str(CONFIGS / preset)], program="test")[0]
    found = {name: value_of(config, name) for name in PUBLISHED[preset]}
    assert found == dict(PUBLISHED[preset])


@pytest.mark.parametrize("preset", PUBLISHED)
def test_its_head_says_what_is_as_published_and_what_is_not(preset: str):
    text = (CONFIGS / preset).read_text(encoding="utf-8")
    for label in ("Source:", "Published:", "Differs:"):
        line = next(one for one in text.splitlines() if one.startswith(f"# {label}"))
        assert len(line.removeprefix(f"# {label}").strip()) > 20


def test_every_preset_of_a_published_system_is_in_the_table():
    named = {
        str(file.relative_to(CONFIGS))
        for file in CONFIGS.rglob("*.yaml")
        if "\n# Published:" in file.read_text(encoding="utf-8")
    }
    assert named == set(PUBLISHED)
    tables = {f"tables/{file.name}" for file in (CONFIGS / "tables").glob("*.yaml")}
    assert all("on_demo" in name for name in tables - named)


def test_table_2_of_pdds_adds_what_the_paper_added():
    config = parse([str(CONFIGS / "tables/pdds_table2.yaml")], program="test")[0]
    settings = {name: dict(one.settings) for name, one in config.ablation.variants.items()}
    assert settings == {
        "original data": {},
        "only happiness": {"balance.method": "smallest"},
        "uniform, 400": {"balance.method": "uniform", "balance.n": 400},
        "PDDS": {"balance.method": "pdds"},
    }
