"""The commands of `metaqnn`, by what they do: run, read, exchange with other programs."""
