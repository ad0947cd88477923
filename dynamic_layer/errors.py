"""What can go wrong with data that the dynamic layer is given."""


class CorruptExamples(ValueError):
    """Bytes that should hold an example batch do not."""


class CorruptBundle(ValueError):
    """A folder that should hold a dynamic bundle does not."""


class CorruptDemand(ValueError):
    """Bytes are not a record of demand that this version can read."""


class CorruptCheckpoint(ValueError):
    """A trainer's checkpoint is torn, or of another form of trainer."""


class CorruptRows(ValueError):
    """Bytes are not changed rows that this version can read."""


class MissingRows(ValueError):
    """Changed rows do not follow those that are known."""
