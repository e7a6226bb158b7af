"""Experiments as TOML files, and their validated types.

`NAME.toml` describes one data set's experiment with the paper's values; its `[budget.*]` tables
name what a budget scales.
"""
