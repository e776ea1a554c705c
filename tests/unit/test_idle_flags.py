"""Flags that do nothing as the other settings stand are told, not swallowed."""

import pytest

from raysys.commandline import parse


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--balance.top_up", "{happiness: 60}"], "'balance.top_up' does nothing while"),
        (["--training.plateau_patience=3"], "'training.plateau_patience' does nothing while"),
        (
            ["--training.share_of", "speakers"],
            "'training.share_of' does nothing while training.share",
        ),
        (["--model.mat.hidden", "32"], "does nothing while model.name is 'cltnet'"),
        (
            ["--features.transformers.max_tokens", "64"],
            "does nothing while features.text is hashed: set --features.text transformers too",
        ),
        (
            ["--model.modalities", "[text]", "--features.logmel.n_mels", "40"],
            "does nothing while the model reads no audio: set --model.modalities too",
        ),
        (["--features.logmel.n_mels", "40"], ""),
        (
            ["--folds.n_splits", "4", "--folds.method", "leave_one_group_out"],
            "'folds.n_splits' does nothing while folds.method is 'leave_one_group_out'",
        ),
        (["--folds.n_splits", "4", "--folds.method", "stratified_group"], ""),
        (["--balance.method", "pdds", "--balance.top_up", "{happiness: 60}"], ""),
        (["--loss.mu1", "0.2", "--search.space", "{loss.mu1: {low: 0, high: 0.3}}"], ""),
    ],
)
def test_an_idle_flag_is_told(flags: list, told: str, capsys: pytest.CaptureFixture[str]):
    parse(["configs/demo.yaml", *flags], program="test", about="Does something.")
    printed = capsys.readouterr().out
    assert ("note         " in printed) == bool(told)
    assert told in printed
