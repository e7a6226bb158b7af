"""The paper's figures, one module each: pure functions from plain data to a matplotlib figure."""
