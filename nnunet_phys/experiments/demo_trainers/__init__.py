"""Trainers of the demo, in a folder of their own for nnUNet_extTrainer."""
