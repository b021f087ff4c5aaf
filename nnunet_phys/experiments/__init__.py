"""Experiments on digital hearts and small trainings, shared by the commands and the benchmarks."""
