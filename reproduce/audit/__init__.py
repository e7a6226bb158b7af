"""The audit: the paper's checkable claims as data, checks that compute, a verdict for each."""
