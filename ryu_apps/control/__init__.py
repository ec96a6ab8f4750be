"""The core: one object that turns events into effects."""
