"""Proofs: what no attack within a radius can break."""
