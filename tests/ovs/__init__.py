"""The switch tier: a private Open vSwitch with dummy ports; needs no root."""
