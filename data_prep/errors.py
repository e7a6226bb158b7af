"""The one error of this package."""


class DataError(Exception):
    """A data set cannot be prepared; the message is one line: what, where, what to do."""
