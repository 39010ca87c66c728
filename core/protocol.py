"""The version of everything that processes of different releases share while one of them replaces the other.

That is: the keys in Redis and what is in them, the contracts of the scripts, the fields of a task, and the meaning of
the tables. What only adds (a field that others keep, a key that others do not touch, a column with a default, another
script) changes no number. What a process of the release before would misread raises PROTOCOL, and OLDEST to the same
number where the new release cannot work beside the old one either; a migration that the old one would break on says so
in its header (store/migrate.py).
"""

PROTOCOL = 2  #: what this release speaks
OLDEST = 2  #: the oldest one beside which it can work


def is_incompatible(protocol: int, oldest: int) -> bool:
    """Can a process that publishes these two not work beside us? Each side asks, so the newer one decides for both."""
    return oldest > PROTOCOL or protocol < OLDEST
