"""Pairwise-emotion data distribution smoothing (PDDS) and its rivals: what mixup adds to a train part. NumPy only."""

from raysys.balance.counts import (
    BalanceConfig,
    count_kinds,
    smoothed_counts,
    topped_up,
    wanted_counts,
)
from raysys.balance.plan import BalancePlan, plan_balance

__all__ = [
    "BalanceConfig",
    "BalancePlan",
    "count_kinds",
    "plan_balance",
    "smoothed_counts",
    "topped_up",
    "wanted_counts",
]
