"""REST as a pure function: a request value in, a response value out."""
