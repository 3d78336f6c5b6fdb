"""The training error E(w): its terms, its parameters, and every derivative that a solver can ask for."""

from stiffgrad.objective.objective import Objective, least_squares, minimise, supervised
from stiffgrad.objective.terms import Term

__all__ = ["Objective", "Term", "least_squares", "minimise", "supervised"]
