"""Transformers that are one matrix: PCA and other projections."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn import decomposition, neighbors, random_projection
from torch import nn

from skrobust.bridge._as_torch import TRANSFORM, register
from skrobust.bridge._views import Affine, Chain, Shift


def _matrix(estimator) -> np.ndarray:
    found = estimator.components_
    return found.toarray() if sparse.issparse(found) else np.asarray(found)


@register(decomposition.PCA, decomposition.IncrementalPCA, role=TRANSFORM)
def principal(estimator) -> nn.Module:
    scale = None
    if estimator.whiten:
        scale = np.sqrt(estimator.explained_variance_)
        scale = np.maximum(scale, np.finfo(scale.dtype).eps)
    return Chain(Shift(estimator.mean_), Affine(_matrix(estimator)), Shift(scale=scale))


@register(
    decomposition.TruncatedSVD,
    neighbors.NeighborhoodComponentsAnalysis,
    random_projection.GaussianRandomProjection,
    random_projection.SparseRandomProjection,
    role=TRANSFORM,
)
def projection(estimator) -> nn.Module:
    return Affine(_matrix(estimator))


@register(decomposition.FastICA, role=TRANSFORM)
def independent(estimator) -> nn.Module:
    mean = estimator.mean_ if estimator.whiten else None
    return Chain(Shift(mean), Affine(_matrix(estimator)))


@register(decomposition.FactorAnalysis, role=TRANSFORM)
def factors(estimator) -> nn.Module:
    loadings = _matrix(estimator)
    weighted = loadings / estimator.noise_variance_
    spread = np.linalg.inv(np.eye(len(loadings)) + weighted @ loadings.T)
    return Chain(Shift(estimator.mean_), Affine(spread @ weighted))
