"""Evaluation: metrics, how sure they are, what validation rows may decide, and what the files alone tell."""
