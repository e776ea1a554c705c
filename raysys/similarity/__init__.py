"""Class similarity, in NumPy only."""

from raysys.similarity.matrix import (
    SimilaritySummary,
    average_matrix,
    class_representatives,
    cosine_matrix,
    summarise,
)
from raysys.similarity.prior import preset_similarity, read_similarity, similarity_from_record

__all__ = [
    "SimilaritySummary",
    "average_matrix",
    "class_representatives",
    "cosine_matrix",
    "preset_similarity",
    "read_similarity",
    "similarity_from_record",
    "summarise",
]
