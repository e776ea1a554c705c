"""Class similarity, in NumPy only."""

from raysys.similarity.matrix import (
    SimilarityConfig,
    SimilaritySummary,
    average_matrix,
    class_representatives,
    cosine_matrix,
    summarise,
)
from raysys.similarity.prior import (
    Origin,
    preset_similarity,
    read_similarity,
    similarity_from_record,
    similarity_record,
)

__all__ = [
    "Origin",
    "SimilarityConfig",
    "SimilaritySummary",
    "average_matrix",
    "class_representatives",
    "cosine_matrix",
    "preset_similarity",
    "read_similarity",
    "similarity_from_record",
    "similarity_record",
    "summarise",
]
