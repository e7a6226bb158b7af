"""Forgetting what a process has computed once, where a test changes what it follows from."""

from reproduce.results import costs


def forget_costs() -> None:
    """The costs of the paper's experiments: from their files, and from nets sampled."""
    for cached in (costs._counts, costs.search_cost, costs._typical, costs._papers):
        cached.cache_clear()
