"""Pairwise-emotion data distribution smoothing (PDDS) and its rivals: what mixup adds to a train part. NumPy only."""

from raysys.balance.counts import count_kinds, smoothed_counts, topped_up, wanted_counts
from raysys.balance.plan import BalancePlan, plan_balance

__all__ = [
    "BalancePlan",
    "count_kinds",
    "plan_balance",
    "smoothed_counts",
    "topped_up",
    "wanted_counts",
]
