"""What kind of point a run ended in, how stiff its flow is, and whether two runs found the same minimum."""

from stiffgrad.analysis.minimum import Minimum, minimum
from stiffgrad.analysis.same_minimum import SameMinimum, same_minimum
from stiffgrad.analysis.spectrum import Spectrum, spectrum
from stiffgrad.analysis.stiffness import Stiffness, stiffness, stiffness_along

__all__ = [
    "Minimum",
    "SameMinimum",
    "Spectrum",
    "Stiffness",
    "minimum",
    "same_minimum",
    "spectrum",
    "stiffness",
    "stiffness_along",
]
