"""What a finished command says: typed results, tables and pictures; and what a running one shows."""

from raysys.report.ablation import compare_variants
from raysys.report.results import (
    AblationResult,
    Result,
    StudyResult,
    TrialResult,
    read_result,
    write_result,
)
from raysys.report.seconds import account_seconds
from raysys.report.statistics import mean_and_std, paired_difference, test_share
from raysys.report.terminal import print_audit, print_result
from raysys.report.view import TrialsView

__all__ = [
    "AblationResult",
    "Result",
    "StudyResult",
    "TrialResult",
    "TrialsView",
    "account_seconds",
    "compare_variants",
    "mean_and_std",
    "paired_difference",
    "print_audit",
    "print_result",
    "read_result",
    "test_share",
    "write_result",
]
