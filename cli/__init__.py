"""The command line: one lazily loaded click group."""
