"""What encloses all places where a row may go, instead of searching one: bounds of networks."""

from skrobust.bounds._affine import Add, Affine, Cat, Conv, Dense, Rearrange, Scale
from skrobust.bounds._base import Bounder
from skrobust.bounds._crown import Crown
from skrobust.bounds._curves import Curve, Fill, Hinge, Staircase
from skrobust.bounds._graph import Box, Graph, Op
from skrobust.bounds._interval import Interval
from skrobust.bounds._trace import chain, register_layer, supported_layers, trace

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
    "Op",
    "Rearrange",
    "Scale",
    "Staircase",
    "chain",
    "register_layer",
    "supported_layers",
    "trace",
]
