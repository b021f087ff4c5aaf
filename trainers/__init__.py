"""Trainer classes for nnU-Net. Point the variable nnUNet_extTrainer at this folder (`nnunet_phys trainers`)."""
