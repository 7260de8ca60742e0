"""Contract suites: put a threat, an attack or an estimator of your own through the same laws."""

from skrobust.testing._attack import LinearOracle, check_attack_laws
from skrobust.testing._threat import check_threat_laws

__all__ = ["LinearOracle", "check_attack_laws", "check_threat_laws"]
