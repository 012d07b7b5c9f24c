"""Live sources that raise the shipped catalog: each asks one place and gives what it found as entries."""
