"""Rightsize: which small language model, quantization and runtime to use on a machine, and why."""
