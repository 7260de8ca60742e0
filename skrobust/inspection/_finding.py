"""What a diagnostic says."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TITLES", "Finding"]

TITLES = {
    "D1": "Two calls agree",
    "D2": "Outputs are logits",
    "D3": "Gradients are not zero",
    "D4": "The loss is not saturated",
    "D5": "One step does less than twenty",
    "D6": "Twice the steps find no more",
    "D7": "Five restarts find no more",
    "D8": "A huge radius leaves chance",
    "D9": "A black box finds no more",
    "D10": "Gradients beat noise",
    "D11": "The last step is as bad as any",
    "D12": "Moved rows are valid rows",
}


@dataclass(frozen=True)
class Finding:
    """One check of whether a robust score can be trusted.

    Attributes
    ----------
    code : str
        ``"D1"`` to ``"D12"``.
    ok : bool or None
        True: passed. False: read ``advice`` before you trust the score. None: the check does not
        apply to this model; ``advice`` says why.
    value : float or None
        What was measured; ``advice`` says in which unit.
    advice : str
        What was seen and, where the check failed, what to do.
    title : str
        What is true when the check passes, in a few words.
    estimator : str
        The name of the model, where several were examined.

    Examples
    --------
    >>> from skrobust.inspection import Finding
    >>> print(Finding("D2", False, 1.0, "Return logits.", "Outputs are logits"))
    D2  FAILED  Outputs are logits: Return logits.
    """

    code: str
    ok: bool | None
    value: float | None
    advice: str
    title: str = ""
    estimator: str = ""

    @property
    def verdict(self) -> str:
        """``"passed"``, ``"FAILED"`` or ``"does not apply"``."""
        return {True: "passed", False: "FAILED", None: "does not apply"}[self.ok]

    def __str__(self) -> str:
        whose = f"[{self.estimator}] " if self.estimator else ""
        return f"{whose}{self.code}  {self.verdict}  {self.title}: {self.advice}"
