"""The three tiers of tests: unit, ovs and mininet."""
