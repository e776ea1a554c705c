"""Models, in torch only."""

from collections.abc import Mapping

from raysys.models.cltnet import Cltnet
from raysys.models.multiemo import Multiemo
from raysys.models.output import ModelBuilder

MODELS: Mapping[str, ModelBuilder] = {"cltnet": Cltnet, "multiemo": Multiemo}
"""Model name -> class. A new model is one module and one line here."""
