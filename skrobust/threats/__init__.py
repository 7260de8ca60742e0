"""Where may a row move? Threats and all norm arithmetic."""

from skrobust.threats._base import Region, Threat

__all__ = ["Region", "Threat"]
