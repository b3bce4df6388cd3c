"""Commands of `textrnn`, one module per command."""
