"""Examples of events: in columns, remembered for replay, their targets ranked."""
