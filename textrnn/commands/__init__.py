"""What each command of `textrnn` does, a module a command."""
