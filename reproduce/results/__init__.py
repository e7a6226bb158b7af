"""From the replay memory to numbers beside the published ones: table, figure, report."""
