"""Holds the package `caffe`, which `caffe-torch python` alone makes importable by that name."""
