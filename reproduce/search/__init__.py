"""The Q-learning agent: its state space, its Q-values, its replay memory and the search loop."""
