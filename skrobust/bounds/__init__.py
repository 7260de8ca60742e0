"""What encloses all places where a row may go, instead of searching one: bounds of networks."""

from skrobust.bounds import _curves as curves
from skrobust.bounds._affine import Add, Affine, Cat, Conv, Dense, Rearrange, Scale
from skrobust.bounds._base import Bounder, least_margin, pairs
from skrobust.bounds._crown import Crown
from skrobust.bounds._curves import Curve, Fill, Hinge, Staircase
from skrobust.bounds._graph import Box, Graph, Op
from skrobust.bounds._interval import Interval
from skrobust.bounds._layers import register_layer, supported_layers, unsupported_layer
from skrobust.bounds._lipschitz import Lipschitz
from skrobust.bounds._support import Room
from skrobust.bounds._trace import chain, follow, trace
from skrobust.bounds._training import IntervalTraining

__all__ = [
    "Add",
    "Affine",
    "Bounder",
    "Box",
    "Cat",
    "Conv",
    "Crown",
    "Curve",
    "Dense",
    "Fill",
    "Graph",
    "Hinge",
    "Interval",
    "IntervalTraining",
    "Lipschitz",
    "Op",
    "Rearrange",
    "Room",
    "Scale",
    "Staircase",
    "chain",
    "curves",
    "follow",
    "least_margin",
    "pairs",
    "register_layer",
    "supported_layers",
    "trace",
    "unsupported_layer",
]
