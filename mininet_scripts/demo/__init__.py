"""The parts of the quickstart: its policy, its checks and its report."""
