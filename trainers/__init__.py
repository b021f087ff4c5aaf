"""Trainer classes for nnU-Net, in the folder that `nnunet_phys trainers` prints for nnUNet_extTrainer."""
