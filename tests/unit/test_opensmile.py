"""openSMILE's features are openSMILE's, to the bit; its licence is told, and its absence answered with the remedy."""

import sys
from pathlib import Path

import numpy as np
import opensmile
import pytest
import soundfile

from raysys.corpus.table import Utterance
from raysys.encoders import FeaturesConfig
from raysys.encoders.extraction import encode_rows
from raysys.encoders.opensmile import OpensmileConfig
from raysys.errors import ConfigError, FeatureError

SETS = {
    ("egemaps", "functionals"): ("eGeMAPSv02", "Functionals", 88),
    ("egemaps", "lld"): ("eGeMAPSv02", "LowLevelDescriptors", 25),
    ("compare", "functionals"): ("ComParE_2016", "Functionals", 6373),
    ("compare", "lld"): ("ComParE_2016", "LowLevelDescriptors", 65),
    ("compare", "lld_deltas"): ("ComParE_2016", "LowLevelDescriptors_Deltas", 65),
}


@pytest.mark.parametrize("kind", SETS, ids="-".join)
def test_features_are_those_of_opensmile_to_the_bit(kind: tuple[str, str], tmp_path: Path):
    name, level, width = SETS[kind]
    time = np.arange(16000) / 16000
    voice = 0.3 * np.sin(2 * np.pi * 150 * time * (1 + 0.1 * time)).astype(np.float32)
    soundfile.write(tmp_path / "voice.wav", voice, 16000, subtype="FLOAT")
    config = FeaturesConfig(
        audio="opensmile", opensmile=OpensmileConfig(features=kind[0], level=kind[1])
    )
    row = Utterance("u", audio="voice.wav")
    (frames,) = encode_rows(config.build("audio"), [row], tmp_path)
    smile = opensmile.Smile(opensmile.FeatureSet[name], opensmile.FeatureLevel[level])
    theirs = smile.process_file(str(tmp_path / "voice.wav")).to_numpy()
    assert frames.dtype == np.float32
    assert frames.shape[1] == width
    np.testing.assert_array_equal(frames, theirs)


def test_the_licence_is_told_and_a_missing_package_is_answered(monkeypatch: pytest.MonkeyPatch):
    config = FeaturesConfig(audio="opensmile")
    told = [one.message for one in config.findings(("audio",), "demo") if one.kind == "licence"]
    assert "free for research and education, not for products" in told[0]
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(FeatureError, match=r"pip install 'raysys\[opensmile\]'"):
        config.build("audio")


def test_deltas_of_egemaps_are_refused():
    with pytest.raises(ConfigError, match=r"features\.opensmile\.level"):
        OpensmileConfig(level="lld_deltas")
