"""What a finished command says: the content of result.json, and the tables in the terminal.

Test predictions of a cross-validation are scored here, once, after all training is over.
"""

from raysys.report.ablation import compare_variants, print_ablation
from raysys.report.breakdown import break_down, confusion_counts
from raysys.report.result import build_result, mean_and_std, paired_difference, test_share
from raysys.report.seconds import Seconds, account_seconds, best_makespan
from raysys.report.terminal import (
    TITLES,
    percent,
    print_audit,
    print_breakdown,
    print_result,
    val_metric,
)

__all__ = [
    "TITLES",
    "Seconds",
    "account_seconds",
    "best_makespan",
    "break_down",
    "build_result",
    "compare_variants",
    "confusion_counts",
    "mean_and_std",
    "paired_difference",
    "percent",
    "print_ablation",
    "print_audit",
    "print_breakdown",
    "print_result",
    "test_share",
    "val_metric",
]
