"""Pictures in the layouts of Hugging Face's datasets: inside tables, and beside them."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from raysys.corpus import CorpusConfig, read_corpus
from raysys.corpus.pictures import read_picture
from raysys.errors import CorpusError
from raysys.storage import Folder
from raysys.tasks.classification import Classification

EMOTIONS = ("angry", "calm", "sad")
Row = dict[str, Any]


def picture(number: int, kind: str = "png") -> bytes:
    from PIL import Image

    random = np.random.default_rng(number)
    pixels = random.integers(0, 255, (12 + number, 10, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=kind)
    return file.getvalue()


def pictures() -> list[Row]:
    """Six of them; every other one is a JPEG."""
    kinds = [("jpeg", "png")[k % 2] for k in range(6)]
    return [
        {"image": {"bytes": picture(k, kind), "path": f"p{k}.{kind}"}, "label": k % 3}
        for k, kind in enumerate(kinds)
    ]


def as_pictures(rows: Sequence[Row]) -> datasets.Dataset:
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(EMOTIONS))}
    return datasets.Dataset.from_list(list(rows), features=datasets.Features(kinds))


def pictures_in_parquet(folder: Path) -> None:
    folder.mkdir(parents=True)
    as_pictures(pictures()).to_parquet(str(folder / "train-00000-of-00001.parquet"))


def pictures_of_plain_bytes(folder: Path) -> None:
    folder.mkdir(parents=True)
    cells = [
        {"image": one["image"]["bytes"], "label": EMOTIONS[one["label"]]} for one in pictures()
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(cells), folder / "train.parquet")


def pictures_saved(folder: Path) -> None:
    datasets.DatasetDict({"train": as_pictures(pictures())}).save_to_disk(str(folder))


def imagefolder(folder: Path) -> None:
    for one in pictures():
        place = folder / "train" / EMOTIONS[one["label"]] / one["image"]["path"]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(one["image"]["bytes"])


def imagefolder_with_metadata(folder: Path) -> None:
    (folder / "train").mkdir(parents=True)
    lines = ["file_name,label"]
    for one in pictures():
        (folder / "train" / one["image"]["path"]).write_bytes(one["image"]["bytes"])
        lines.append(f"{one['image']['path']},{EMOTIONS[one['label']]}")
    (folder / "train/metadata.csv").write_text("\n".join(lines))


@pytest.mark.parametrize(
    "layout",
    [
        pictures_in_parquet,
        pictures_of_plain_bytes,
        pictures_saved,
        imagefolder,
        imagefolder_with_metadata,
    ],
)
def test_pictures_are_read_from_every_layout(layout: Callable[[Path], None], tmp_path: Path):
    layout(tmp_path / "corpus")
    config = CorpusConfig(name="huggingface", root=str(tmp_path / "corpus"))
    folder = Folder(str(tmp_path / "cache"))
    corpus = read_corpus(config, Classification, modalities=("image",), cache=folder)
    assert corpus.emotions == EMOTIONS
    assert {row.split for row in corpus.utterances} == {"train"}
    found = {
        (row.label, read_picture(corpus.root / row.image, "").tobytes())
        for row in corpus.utterances
    }
    assert found == {
        (EMOTIONS[one["label"]], pixels_of(one["image"]["bytes"])) for one in pictures()
    }


def pixels_of(content: bytes) -> bytes:
    from PIL import Image

    return np.array(Image.open(io.BytesIO(content)).convert("RGB"), dtype=np.uint8).tobytes()


def test_a_picture_in_a_table_that_is_damaged_is_named(tmp_path: Path):
    pictures_of_plain_bytes(tmp_path / "corpus")
    path = tmp_path / "corpus/train.parquet"
    cells = pyarrow.parquet.read_table(path).to_pylist()
    cells[2]["image"] = cells[2]["image"][:60]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(cells), path)
    config = CorpusConfig(name="huggingface", root=str(tmp_path / "corpus"))
    folder = Folder(str(tmp_path / "cache"))
    with pytest.raises(CorpusError, match=r"row 2: image .*#image:2 cannot be read"):
        read_corpus(config, Classification, modalities=("image",), cache=folder)
