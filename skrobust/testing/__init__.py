"""Contract suites: put a threat, an attack or an estimator of your own through the same laws."""

from skrobust.testing._threat import check_threat_laws

__all__ = ["check_threat_laws"]
