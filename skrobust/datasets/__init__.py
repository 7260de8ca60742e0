"""Real data that is already on the machine, or fetched as scikit-learn does; nothing is bundled."""

from skrobust.datasets._digits import load_digits_images
from skrobust.datasets._fashion_mnist import fashion_mnist_available, load_fashion_mnist

__all__ = ["fashion_mnist_available", "load_digits_images", "load_fashion_mnist"]
