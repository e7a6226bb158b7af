"""The surrogate of training, and other searchers on the same space."""
